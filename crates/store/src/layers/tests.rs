//! Chains: sealed layers stay as they are, and every change is made as a whole or not at all.

use super::*;
use crate::yard::{Yard, template_layer};
use crate::{ClaimError, NewExec, Origin, SnapshotName, WorkspaceClaim};

fn snapshot(name: &str, layer: &LayerId) -> NewSnapshot {
    let name = SnapshotName::parse(name).unwrap();
    NewSnapshot { name, layer: layer.clone(), has_memory: false, entries: 7, bytes: 4096 }
}

/// A workspace with a history.
fn used(yard: &Yard) -> WorkspaceClaim {
    let claim = yard.ready();
    let exec =
        NewExec { command: vec!["x".to_owned()], directory: String::new(), user: None, detached: false };
    yard.store.begin_exec(&claim.id, &exec).unwrap();
    yard.store.touch_changed(&claim.id).unwrap();
    yard.store.set_taken(&claim.id).unwrap();
    claim
}

/// A disk is all of its layers, the lowest first, and each new one is on top of the one that was written.
#[test]
fn chains_grow_at_the_head() {
    let yard = Yard::new();
    let id = yard.ready().id;
    let first = yard.record(&id).head;
    let (second, third) = (yard.file(), yard.file());
    assert_eq!(yard.store.extend(&id, &second, &Sealing::None).unwrap(), first);
    let sealing = Sealing::Snapshot(snapshot("a", &second));
    assert_eq!(yard.store.extend(&id, &third, &sealing).unwrap(), second);
    let record = yard.record(&id);
    assert_eq!((&record.head, record.baseline), (&third, Some(template_layer())));
    assert_eq!(
        yard.store.chain(&third).unwrap(),
        [template_layer(), first.clone(), second.clone(), third.clone()]
    );
    assert_eq!(yard.store.chain(&second).unwrap().len(), 3);
    let found = yard.store.snapshot(&id, &SnapshotName::parse("a").unwrap()).unwrap().unwrap();
    assert_eq!((found.layer, found.entries, found.bytes, found.is_baseline), (second, 7, 4096, false));
}

/// A seeded workspace's baseline is what was seeded, from the moment on at which that is sealed.
#[test]
fn seeds_are_sealed() {
    let yard = Yard::new();
    let seed = crate::Seed { kind: crate::SeedKind::Directory, path: "/a".into() };
    let new = crate::NewWorkspace { seed: Some(seed), ..yard.new_workspace(None) };
    let claim = yard.create(&new).unwrap();
    assert_eq!(yard.record(&new.id).baseline, None);
    assert_eq!(
        yard.store.extend(&new.id, &yard.file(), &Sealing::Baseline { entries: 7, bytes: 4096 }).unwrap(),
        new.head
    );
    assert!(yard.store.set_ready(&new.id, None).unwrap());
    let baseline = yard.store.snapshot(&new.id, &SnapshotName::baseline()).unwrap().unwrap();
    assert_eq!((&baseline.layer, baseline.is_baseline), (&new.head, true));
    assert_eq!((baseline.entries, baseline.bytes), (7, 4096));
    // Nothing that happens later makes it another.
    yard.store.extend(&new.id, &yard.file(), &Sealing::None).unwrap();
    assert_eq!(yard.record(&new.id).baseline, Some(new.head.clone()));
    // A copy of it stands on it and is not seeded again.
    let copy = yard.ready_on(Origin::Layer(new.head.clone()));
    assert_eq!(yard.record(&copy.id).baseline, Some(new.head));
    let copied = yard.store.snapshot(&copy.id, &SnapshotName::baseline()).unwrap().unwrap();
    assert_eq!((copied.entries, copied.bytes), (7, 4096));
    drop((claim, copy));
}

/// What cannot be done leaves everything as it was.
#[test]
fn refusals_change_nothing() {
    let yard = Yard::new();
    let id = yard.ready().id;
    let head = yard.record(&id).head;
    let sealed = yard.file();
    yard.store.extend(&id, &sealed, &Sealing::Snapshot(snapshot("a", &head))).unwrap();
    let (before, rows) = (yard.record(&id), yard.rows());
    let new = yard.file();
    let extend = |sealing: Sealing| yard.store.extend(&id, &new, &sealing).unwrap_err();
    let taken = extend(Sealing::Snapshot(snapshot("a", &sealed)));
    assert!(matches!(taken, RecordError::SnapshotTaken(name) if name.as_str() == "a"));
    let reserved = extend(Sealing::Snapshot(snapshot("baseline", &sealed)));
    assert!(matches!(reserved, RecordError::SnapshotReserved(_)));
    let other = extend(Sealing::Snapshot(snapshot("b", &head)));
    assert!(matches!(other, RecordError::LayerUnknown(layer) if layer == head));
    let gone = yard.store.extend(&WorkspaceId::random().unwrap(), &new, &Sealing::None).unwrap_err();
    assert!(matches!(gone, RecordError::Gone(_)));
    let unknown = yard.store.reset(&id, &new, &LayerId::random().unwrap()).unwrap_err();
    assert!(matches!(unknown, RecordError::LayerUnknown(_)));
    let written = yard.store.reset(&id, &new, &sealed).unwrap_err();
    assert!(matches!(written, RecordError::LayerWritten(layer) if layer == sealed));
    assert!(yard.store.extend(&id, &sealed, &Sealing::None).is_err(), "a layer is on top of one other, once");
    assert!(yard.store.set_paused(&id, Some(&new)).is_err());
    assert_eq!((yard.record(&id), yard.rows()), (before, rows));
    yard.store.mark_deleting(&id).unwrap();
    assert!(matches!(extend(Sealing::None), RecordError::Gone(_)));
    assert!(matches!(yard.store.reset(&id, &new, &head).unwrap_err(), RecordError::Gone(_)));
}

/// A reset is the snapshot's disk with nothing of what came behind it: no history, no memory to go on from.
#[test]
fn resets_begin_anew() {
    let yard = Yard::new();
    let claim = used(&yard);
    let id = claim.id.clone();
    let first = yard.record(&id).head;
    let second = yard.file();
    yard.store.extend(&id, &second, &Sealing::Snapshot(snapshot("a", &first))).unwrap();
    let third = yard.file();
    yard.store.extend(&id, &third, &Sealing::None).unwrap();
    assert!(yard.store.set_paused(&id, Some(&second)).unwrap());
    assert_eq!(yard.record(&id).paused, Some(second.clone()));
    let before = yard.record(&id);
    let fourth = yard.file();
    yard.store.reset(&id, &fourth, &first).unwrap();
    let after = yard.record(&id);
    assert_eq!((&after.head, &after.paused, after.reset_count), (&fourth, &None, 1));
    assert_eq!((after.next_sequence, after.changed.is_some(), after.taken), (1, true, None));
    assert!(yard.store.execs(&id, 0, 10).unwrap().is_empty());
    assert_eq!(yard.store.chain(&fourth).unwrap(), [template_layer(), first, fourth]);
    assert_eq!((after.baseline, after.created), (before.baseline, before.created));
    assert_eq!(after.workspace.labels, before.workspace.labels);
    assert_eq!(yard.store.snapshots(&id).unwrap().len(), 1);
    // What was written since is nobody's.
    let collected = yard.store.collect_layers(&yard.directories).unwrap();
    assert_eq!(collected.layers, 2);
    assert!(!yard.directories.layer(&second).exists() && !yard.directories.layer(&third).exists());
    assert!(yard.store.set_paused(&id, None).unwrap());
}

/// A copy shares what it was made from, and neither writes what the other reads.
#[test]
fn copies_share_layers() {
    let yard = Yard::new();
    let source = yard.ready();
    let head = yard.record(&source.id).head;
    let written = yard.create(&crate::NewWorkspace {
        origin: Origin::Layer(head.clone()),
        ..yard.new_workspace(Some("copy"))
    });
    let refused = |result| match result {
        Err(ClaimError::Record(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(written), RecordError::LayerWritten(layer) if layer == head));
    yard.store.extend(&source.id, &yard.file(), &Sealing::None).unwrap();
    let copies = [yard.ready_on(Origin::Layer(head.clone())), yard.ready_on(Origin::Layer(head.clone()))];
    for copy in &copies {
        let record = yard.record(&copy.id);
        assert_eq!(record.baseline, Some(head.clone()));
        assert_eq!(yard.store.chain(&record.head).unwrap(), [template_layer(), head.clone(), record.head]);
    }
    // It outlives what it was made from.
    yard.store.remove_workspace(source).unwrap();
    assert!(yard.directories.layer(&head).exists() && yard.files().len() == 4);
    let unknown = LayerId::random().unwrap();
    let gone = yard.create(&crate::NewWorkspace {
        origin: Origin::Layer(unknown.clone()),
        ..yard.new_workspace(Some("copy"))
    });
    assert!(matches!(refused(gone), RecordError::LayerUnknown(layer) if layer == unknown));
    for copy in copies {
        yard.store.remove_workspace(copy).unwrap();
    }
    assert!(yard.files().is_empty() && yard.rows().is_empty());
}

/// A disk has a bounded number of layers; one that would have more is as it was.
#[test]
fn chains_are_bounded() {
    let yard = Yard::new();
    let id = yard.ready().id;
    for _ in 2..LAYERS_CHAIN_MAX {
        yard.store.extend(&id, &yard.file(), &Sealing::None).unwrap();
    }
    let head = yard.record(&id).head;
    assert_eq!(yard.store.chain(&head).unwrap().len(), LAYERS_CHAIN_MAX);
    let error = yard.store.extend(&id, &yard.file(), &Sealing::None).unwrap_err();
    assert!(matches!(error, RecordError::LayersTooMany(layer) if layer == head));
    assert_eq!(yard.record(&id).head, head);
    let lowest = yard.store.chain(&head).unwrap().swap_remove(1);
    yard.store.reset(&id, &yard.file(), &lowest).unwrap();
}

/// Records that do not lead to the ground are an error of that disk alone, and never a loop.
#[test]
fn broken_chains_are_errors() {
    let yard = Yard::new();
    let (whole, broken) = (yard.ready().id, yard.ready().id);
    let head = yard.record(&broken).head;
    let connection = &yard.store.connection;
    let is_broken =
        || matches!(yard.store.chain(&head), Err(StoreError::LayersBroken(layer)) if layer == head);
    connection.execute("UPDATE layers SET parent = id WHERE id = ?1", [head.as_str()]).unwrap();
    assert!(is_broken());
    assert!(yard.store.extend(&broken, &yard.file(), &Sealing::None).is_err());
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection.execute("UPDATE layers SET parent = 'eeeeeeeeeeee' WHERE id = ?1", [head.as_str()]).unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    assert!(is_broken());
    assert!(yard.store.chain(&LayerId::random().unwrap()).is_err());
    assert_eq!(yard.store.chain(&yard.record(&whole).head).unwrap().len(), 2);
    yard.reconcile();
    assert!(yard.directories.layer(&head).exists());
}

/// Only what is just what a workspace's changes are counted from has none: all else is work that somebody may want.
#[test]
fn untaken_work_is_known() {
    let yard = Yard::new();
    let claim = used(&yard);
    let changed = |id: &WorkspaceId| yard.record(id).changed.is_some() && yard.record(id).taken.is_none();
    let first = yard.record(&claim.id).head;
    yard.store.extend(&claim.id, &yard.file(), &Sealing::Snapshot(snapshot("a", &first))).unwrap();
    yard.store.reset(&claim.id, &yard.file(), &first).unwrap();
    assert!(changed(&claim.id), "a snapshot is work");
    yard.store.reset(&claim.id, &yard.file(), &template_layer()).unwrap();
    assert!(!changed(&claim.id), "its baseline is none");
    let (of_snapshot, of_baseline) =
        (yard.ready_on(Origin::Layer(first.clone())), yard.ready_on(Origin::Layer(template_layer())));
    assert!(changed(&of_snapshot.id) && !changed(&of_baseline.id));
    // The baseline of a copy is its source's work; and so it is for a copy of the copy.
    yard.store.reset(&of_snapshot.id, &yard.file(), &first).unwrap();
    assert!(changed(&of_snapshot.id));
    assert!(changed(&yard.ready_on(Origin::Layer(first)).id));
    yard.store.reset(&of_baseline.id, &yard.file(), &template_layer()).unwrap();
    assert!(!changed(&of_baseline.id));
}
