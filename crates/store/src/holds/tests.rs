//! Holds: what was looked up is there until its holder lets go, under the name it was looked up by.

use std::fs;

use super::*;
use crate::yard::Yard;
use crate::{NewSnapshot, Sealing};

/// A workspace with snapshots `a` and `b`, each a layer.
fn with_snapshots(yard: &Yard) -> (WorkspaceId, [LayerId; 2]) {
    let id = yard.ready().id;
    let layers = ["a", "b"].map(|text| {
        let (name, layer) = (SnapshotName::parse(text).unwrap(), yard.record(&id).head);
        let snapshot = NewSnapshot { name, layer, has_memory: true, entries: 0, bytes: 0 };
        yard.store.extend(&id, &yard.file(), &Sealing::Snapshot(snapshot)).unwrap()
    });
    (id, layers)
}

/// A layer that is gone is told as that, and nothing is held.
#[test]
fn what_is_gone_is_not_held() {
    let yard = Yard::new();
    let (id, _) = with_snapshots(&yard);
    let hold = yard.store.take_hold(&yard.directories).unwrap();
    let gone = LayerId::random().unwrap();
    let refused = yard.store.hold_layer(hold.token(), &gone).unwrap_err();
    assert!(matches!(refused, StoreError::LayerUnknown(layer) if layer == gone));
    let unknown = SnapshotName::parse("c").unwrap();
    assert_eq!(yard.store.hold_snapshot(&yard.directories, &hold, &id, &unknown).unwrap(), None);
    assert_eq!(yard.store.hold_paused(&yard.directories, &hold, &id).unwrap(), None);
    let held: i64 =
        yard.store.connection.query_row("SELECT count(*) FROM holds", [], |row| row.get(0)).unwrap();
    assert_eq!(held, 0);
}

/// A snapshot's memory is found by what was looked up, whatever was on its way and whoever wants to merge.
#[test]
fn a_held_memory_stays_where_it_is() {
    for is_paused in [false, true] {
        let yard = Yard::new();
        let (id, [a, b]) = with_snapshots(&yard);
        let name = |text: &str| SnapshotName::parse(text).unwrap();
        if is_paused {
            yard.store.set_paused(&id, Some(&b)).unwrap();
        }
        // A merger has died before the image followed.
        let former = LayerId::random().unwrap();
        fs::create_dir(yard.directories.memory(&former)).unwrap();
        yard.store.record_memory_move(&former, &b).unwrap();
        yard.store.delete_snapshot(&id, &name("a")).unwrap();
        assert_eq!(yard.store.mergeable().unwrap(), [(a.clone(), b.clone())]);
        let hold = yard.store.take_hold(&yard.directories).unwrap();
        let found = match is_paused {
            true => yard.store.hold_paused(&yard.directories, &hold, &id).unwrap().unwrap(),
            false => {
                yard.store.hold_snapshot(&yard.directories, &hold, &id, &name("b")).unwrap().unwrap().layer
            }
        };
        assert_eq!(found, b);
        assert!(yard.directories.memory(&b).is_dir());
        assert!(yard.store.mergeable().unwrap().is_empty());
        drop(hold);
        yard.reconcile();
        assert_eq!(yard.store.mergeable().unwrap(), [(a, b)]);
    }
}
