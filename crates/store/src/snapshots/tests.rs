//! Names of snapshots: each once, bounded, and the layer below it as long as it is there.

use super::*;
use crate::Sealing;
use crate::yard::{Yard, template_layer};

fn name(text: &str) -> SnapshotName {
    SnapshotName::parse(text).unwrap()
}

fn new(text: &str, layer: &LayerId) -> NewSnapshot {
    NewSnapshot { name: name(text), layer: layer.clone(), has_memory: true, entries: 1, bytes: u64::MAX }
}

/// What is recorded of a snapshot is read back, by age, until it is deleted; the baseline is found and is not among
/// them.
#[test]
fn records_round_trip() {
    let yard = Yard::new();
    let id = yard.ready().id;
    let sealed = yard.store.extend(&id, &yard.file(), &Sealing::None).unwrap();
    for text in ["a", "b"] {
        yard.store.add_snapshot(&id, &new(text, &sealed)).unwrap();
    }
    let records = yard.store.snapshots(&id).unwrap();
    assert_eq!(records.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(records[0].created <= records[1].created && records[0].created >= yard.record(&id).created);
    let found = yard.store.snapshot(&id, &name("a")).unwrap().unwrap();
    assert_eq!((&found, found.has_memory, found.entries), (&records[0], true, 1));
    let baseline = yard.store.snapshot(&id, &SnapshotName::baseline()).unwrap().unwrap();
    assert_eq!((baseline.layer, baseline.is_baseline), (template_layer(), true));
    assert_eq!(yard.store.snapshot(&id, &name("c")).unwrap(), None);
    assert!(yard.store.delete_snapshot(&id, &name("a")).unwrap());
    assert!(!yard.store.delete_snapshot(&id, &name("a")).unwrap());
    assert!(!yard.store.delete_snapshot(&id, &SnapshotName::baseline()).unwrap());
    assert_eq!(yard.store.snapshots(&id).unwrap().len(), 1);
    assert!(yard.store.snapshot(&id, &SnapshotName::baseline()).unwrap().is_some());
}

/// Names are one workspace's own: taken in one, free in another, reserved in all.
#[test]
fn names_are_refused() {
    let yard = Yard::new();
    let (id, other) = (yard.ready().id, yard.ready().id);
    let head = yard.record(&id).head;
    let add = |id: &WorkspaceId, text: &str, layer: &LayerId| yard.store.add_snapshot(id, &new(text, layer));
    assert!(matches!(add(&id, "a", &head), Err(RecordError::LayerWritten(_))));
    yard.store.extend(&id, &yard.file(), &Sealing::None).unwrap();
    add(&id, "a", &head).unwrap();
    add(&other, "a", &head).unwrap();
    assert!(matches!(add(&id, "a", &head), Err(RecordError::SnapshotTaken(taken)) if taken == name("a")));
    assert!(matches!(add(&id, "baseline", &head), Err(RecordError::SnapshotReserved(_))));
    let unknown = add(&id, "b", &LayerId::random().unwrap());
    assert!(matches!(unknown, Err(RecordError::LayerUnknown(_))));
    yard.store.mark_deleting(&other).unwrap();
    assert!(matches!(add(&other, "b", &head), Err(RecordError::Gone(_))));
}

/// Snapshots are bounded, and one that goes makes room.
#[test]
fn there_are_never_too_many() {
    let yard = Yard::new();
    let id = yard.ready().id;
    let sealed = yard.store.extend(&id, &yard.file(), &Sealing::None).unwrap();
    for number in 0..SNAPSHOTS_MAX {
        yard.store.add_snapshot(&id, &new(&format!("s{number}"), &sealed)).unwrap();
    }
    assert!(matches!(yard.store.add_snapshot(&id, &new("x", &sealed)), Err(RecordError::SnapshotsTooMany)));
    assert_eq!(yard.store.snapshots(&id).unwrap().len(), SNAPSHOTS_MAX);
    yard.store.delete_snapshot(&id, &name("s7")).unwrap();
    yard.store.add_snapshot(&id, &new("x", &sealed)).unwrap();
}

/// Of many who want a name at once one gets it.
#[test]
fn one_of_many_gets_the_name() {
    let yard = Yard::new();
    let id = yard.ready().id;
    let sealed = yard.store.extend(&id, &yard.file(), &Sealing::None).unwrap();
    let path = yard.directories.database();
    let added: usize = std::thread::scope(|scope| {
        let add = || {
            let store = Store::open(&path, crate::Durability::Crash).unwrap();
            match store.add_snapshot(&id, &new("wanted", &sealed)) {
                Ok(()) => 1,
                Err(RecordError::SnapshotTaken(_)) => 0,
                Err(error) => panic!("{error}"),
            }
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(add)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(added, 1);
}
