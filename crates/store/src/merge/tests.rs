//! Mergers: only of what nobody knows by its id, and either wholly or not at all.

use std::fs;

use super::*;
use crate::yard::{Yard, template_layer};
use crate::{NewSnapshot, Origin, Sealing, SnapshotName, WorkspaceId};

fn name(text: &str) -> SnapshotName {
    SnapshotName::parse(text).unwrap()
}

fn snapshot(text: &str, layer: &LayerId) -> NewSnapshot {
    NewSnapshot { name: name(text), layer: layer.clone(), has_memory: false, entries: 0, bytes: 0 }
}

/// A workspace with snapshots `a`, `b` and `c`, each a layer.
fn with_snapshots(yard: &Yard) -> (WorkspaceId, [LayerId; 3]) {
    let id = yard.ready().id;
    let layers = ["a", "b", "c"].map(|text| {
        let sealing = Sealing::Snapshot(snapshot(text, &yard.record(&id).head));
        yard.store.extend(&id, &yard.file(), &sealing).unwrap()
    });
    (id, layers)
}

fn replace(yard: &Yard, lower: &LayerId, upper: &LayerId, merged: &LayerId) -> bool {
    yard.store.replace_layers(&yard.directories, lower, upper, merged).unwrap() == Replaced::Done
}

/// The layer of a deleted snapshot becomes one with the next, and everything that knew that one knows the merged.
#[test]
fn space_in_the_middle_returns() {
    let yard = Yard::new();
    let (id, [a, b, c]) = with_snapshots(&yard);
    let head = yard.record(&id).head;
    assert!(yard.store.mergeable().unwrap().is_empty());
    yard.store.delete_snapshot(&id, &name("b")).unwrap();
    assert_eq!(yard.store.mergeable().unwrap(), [(b.clone(), c.clone())]);
    let copy = yard.ready_on(Origin::Layer(c.clone())); // its baseline
    yard.store.set_paused(&id, Some(&c)).unwrap();
    let merged = yard.file();
    assert!(replace(&yard, &b, &c, &merged));
    assert_eq!(yard.store.chain(&head).unwrap(), [template_layer(), a.clone(), merged.clone(), head]);
    assert_eq!(yard.store.snapshot(&id, &name("c")).unwrap().unwrap().layer, merged);
    assert_eq!(yard.record(&id).paused, Some(merged.clone()));
    let copied = yard.record(&copy.id);
    assert_eq!(copied.baseline, Some(merged.clone()));
    assert_eq!(yard.store.chain(&copied.head).unwrap(), [template_layer(), a, merged, copied.head]);
    assert!(!yard.directories.layer(&b).exists() && !yard.directories.layer(&c).exists());
    assert_eq!(yard.files(), yard.rows());
    assert!(yard.store.mergeable().unwrap().is_empty());
}

/// The lowest layer of a disk can be merged as well: the merged one then stands on nothing.
#[test]
fn the_lowest_is_no_exception() {
    let yard = Yard::new();
    let (id, [a, ..]) = with_snapshots(&yard);
    yard.store.connection.execute("UPDATE workspaces SET baseline = ?1", [a.as_str()]).unwrap();
    let merged = yard.file();
    assert_eq!(yard.store.mergeable().unwrap(), [(template_layer(), a.clone())]);
    assert!(replace(&yard, &template_layer(), &a, &merged));
    assert_eq!(yard.store.chain(&merged).unwrap(), std::slice::from_ref(&merged));
    assert_eq!(yard.record(&id).baseline, Some(merged));
}

/// A pair that changed while its file was made is left as it is: somebody named, held, wrote, forked or took it, or
/// the file is gone.
#[test]
fn a_pair_that_changed_is_let_be() {
    for change in 0..7 {
        let yard = Yard::new();
        let (id, [_, b, c]) = with_snapshots(&yard);
        yard.store.delete_snapshot(&id, &name("b")).unwrap();
        assert_eq!(yard.store.mergeable().unwrap(), [(b.clone(), c.clone())]);
        let mut merged = yard.file();
        let hold = yard.store.take_hold(&yard.directories).unwrap();
        match change {
            0 => yard.store.add_snapshot(&id, &snapshot("again", &b)).unwrap(),
            1 => yard.store.hold_layer(hold.token(), &b).unwrap(),
            2 => yard.store.hold_layer(hold.token(), &c).unwrap(),
            3 => drop(yard.ready_on(Origin::Layer(b.clone()))),
            4 => assert!(yard.store.set_paused(&id, Some(&b)).unwrap()),
            5 => merged = LayerId::random().unwrap(),
            _ => {
                // Another process was quicker.
                let other = yard.file();
                assert!(replace(&yard, &b, &c, &other));
                merged = yard.file();
            }
        }
        let (rows, record) = (yard.rows(), yard.record(&id));
        assert!(!replace(&yard, &b, &c, &merged), "{change}");
        assert_eq!((yard.rows(), yard.record(&id)), (rows, record), "{change}");
        if change < 6 {
            assert!(yard.directories.layer(&b).exists() && yard.directories.layer(&c).exists(), "{change}");
        }
    }
}

/// What is written is never merged, and nobody is disturbed who is making or opening layers.
#[test]
fn heads_and_births_are_respected() {
    let yard = Yard::new();
    let id = yard.ready().id;
    let sealed = yard.store.extend(&id, &yard.file(), &Sealing::None).unwrap();
    let head = yard.record(&id).head;
    assert!(yard.store.mergeable().unwrap().is_empty());
    let merged = yard.file();
    assert!(!replace(&yard, &sealed, &head, &merged));
    yard.store.extend(&id, &yard.file(), &Sealing::Snapshot(snapshot("a", &head))).unwrap();
    assert_eq!(yard.store.mergeable().unwrap(), [(sealed.clone(), head.clone())]);
    let opening = crate::birth_lock(&yard.directories).unwrap();
    let busy = yard.store.replace_layers(&yard.directories, &sealed, &head, &merged).unwrap();
    assert_eq!(busy, Replaced::Busy);
    drop(opening);
    assert!(replace(&yard, &sealed, &head, &merged));
}

/// The image of a memory follows its layer, also when a death comes between, and from either side of it.
#[test]
fn memories_follow() {
    for death in 0..3 {
        let yard = Yard::new();
        let (id, [_, b, c]) = with_snapshots(&yard);
        yard.store.delete_snapshot(&id, &name("b")).unwrap();
        yard.store.set_paused(&id, Some(&c)).unwrap();
        let directory = |layer: &LayerId| yard.directories.memory(layer);
        fs::create_dir(directory(&c)).unwrap();
        fs::write(directory(&c).join("ram"), b"memory").unwrap();
        let merged = yard.file();
        match death {
            0 => assert!(replace(&yard, &b, &c, &merged)),
            _ => assert!(yard.store.record_merger(MERGEABLE, &b, &c, &merged).unwrap()),
        }
        if death == 2 {
            fs::rename(directory(&c), directory(&merged)).unwrap();
        }
        // Whoever comes next: one who looks for leftovers, or one who wants the workspace.
        match death {
            1 => drop(yard.claim(&id)),
            _ => drop(yard.reconcile()),
        }
        assert_eq!(fs::read(directory(&merged).join("ram")).unwrap(), b"memory", "{death}");
        assert!(!directory(&c).exists());
        assert!(yard.store.move_memories(&yard.directories).unwrap());
        yard.reconcile();
        assert!(directory(&merged).exists() && yard.files() == yard.rows());
    }
}

/// An image that cannot follow now is not taken for rubbish, and no other merger goes ahead of it.
#[test]
fn memories_that_wait_are_kept() {
    let yard = Yard::new();
    let (id, [a, b, c]) = with_snapshots(&yard);
    yard.store.set_paused(&id, Some(&c)).unwrap();
    let (image, in_the_way) = (yard.directories.memory(&c), yard.file());
    fs::create_dir(&image).unwrap();
    fs::write(image.join("ram"), b"memory").unwrap();
    let blocked = yard.directories.memory(&in_the_way);
    fs::write(&blocked, b"x").unwrap();
    yard.store.delete_snapshot(&id, &name("b")).unwrap();
    assert!(replace(&yard, &b, &c, &in_the_way));
    yard.reconcile();
    assert!(image.exists());
    yard.store.delete_snapshot(&id, &name("a")).unwrap();
    let merged = yard.file();
    assert!(!replace(&yard, &a, &in_the_way, &merged));
    fs::remove_file(&blocked).unwrap();
    let merged = yard.file();
    assert!(replace(&yard, &a, &in_the_way, &merged));
    assert_eq!(fs::read(yard.directories.memory(&merged).join("ram")).unwrap(), b"memory");
}

/// What a stopped workspace writes becomes one with what a deleted snapshot left below it; while somebody has the
/// workspace nobody else gets so far.
#[test]
fn space_under_a_stopped_head_returns() {
    let yard = Yard::new();
    let (id, [_, b, c]) = with_snapshots(&yard);
    let head = yard.record(&id).head;
    assert!(yard.store.mergeable_heads().unwrap().is_empty(), "it stands on a snapshot");
    yard.store.delete_snapshot(&id, &name("c")).unwrap();
    let pair = HeadPair { workspace: id.clone(), lower: c.clone(), head: head.clone() };
    assert_eq!(yard.store.mergeable_heads().unwrap(), std::slice::from_ref(&pair));
    assert!(yard.store.mergeable().unwrap().is_empty());
    let claim = yard.claim(&id);
    assert!(yard.store.claim_workspace(&yard.directories, &id).is_err());
    let replaced =
        |merged: &LayerId| yard.store.replace_head(&yard.directories, &claim, &pair, merged).unwrap();
    assert_eq!(replaced(&LayerId::random().unwrap()), Replaced::Changed, "without its file");
    let hold = yard.store.take_hold(&yard.directories).unwrap();
    yard.store.hold_layer(hold.token(), &c).unwrap();
    assert_eq!(replaced(&yard.file()), Replaced::Changed, "somebody knows the lower one");
    drop(hold);
    yard.reconcile();
    let merged = yard.file();
    assert_eq!(replaced(&merged), Replaced::Done);
    assert_eq!(yard.record(&id).head, merged);
    assert!(yard.store.chain(&merged).unwrap().ends_with(&[b, merged.clone()]));
    assert!(!yard.directories.layer(&head).exists() && !yard.directories.layer(&c).exists());
    assert_eq!(replaced(&yard.file()), Replaced::Changed, "it is done");
    assert!(yard.store.layers_of(&id).unwrap().contains(&merged));
    yard.reconcile();
    assert_eq!(yard.files(), yard.rows());
}

/// What a paused workspace goes on from is as it was when it was paused: no head is merged under it.
#[test]
fn paused_heads_stay() {
    let yard = Yard::new();
    let (id, [.., c]) = with_snapshots(&yard);
    yard.store.set_paused(&id, Some(&c)).unwrap();
    yard.store.delete_snapshot(&id, &name("c")).unwrap();
    assert!(yard.store.mergeable_heads().unwrap().is_empty());
    yard.store.set_paused(&id, None).unwrap();
    assert_eq!(yard.store.mergeable_heads().unwrap().len(), 1);
}
