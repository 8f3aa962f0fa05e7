//! What goes and what stays, from every step that a death can leave.

use super::*;
use crate::yard::{Yard, names, template_layer};
use crate::{NewSnapshot, Sealing, SnapshotName, WorkspaceId};

fn name(text: &str) -> SnapshotName {
    SnapshotName::parse(text).unwrap()
}

fn snapshot(text: &str, layer: &LayerId, has_memory: bool) -> NewSnapshot {
    NewSnapshot { name: name(text), layer: layer.clone(), has_memory, entries: 0, bytes: 0 }
}

/// An image of a memory, as far as anybody here looks.
fn memory(yard: &Yard, name: &str) -> PathBuf {
    let path = yard.directories.memories().join(name);
    fs::create_dir(&path).unwrap();
    fs::write(path.join("ram"), vec![7; 10_000]).unwrap();
    path
}

fn collect(yard: &Yard) -> Collected {
    yard.store.collect_layers(&yard.directories).unwrap()
}

/// A workspace with snapshots `a`, `b` and `c`, each a layer; gives those.
fn with_snapshots(yard: &Yard) -> (WorkspaceId, [LayerId; 3]) {
    let id = yard.ready().id;
    let layers = ["a", "b", "c"].map(|text| {
        let head = yard.record(&id).head;
        let sealing = Sealing::Snapshot(snapshot(text, &head, false));
        yard.store.extend(&id, &yard.file(), &sealing).unwrap()
    });
    (id, layers)
}

/// A snapshot deleted in the middle of a chain breaks nothing: what stands on it keeps it; at the end of one that
/// nobody goes on with, it goes.
#[test]
fn the_middle_of_a_chain_stays() {
    let yard = Yard::new();
    let (id, [a, b, c]) = with_snapshots(&yard);
    let all = yard.files();
    assert!(yard.store.delete_snapshot(&id, &name("b")).unwrap());
    assert_eq!(collect(&yard), Collected::default());
    assert_eq!((yard.files(), yard.rows()), (all.clone(), all));
    let head = yard.record(&id).head;
    assert_eq!(yard.store.chain(&head).unwrap(), [template_layer(), a.clone(), b.clone(), c.clone(), head]);
    // Back to `a`: `c` is still a snapshot, and stands on what was `b`.
    yard.store.reset(&id, &yard.file(), &a).unwrap();
    assert_eq!(collect(&yard).layers, 1);
    assert_eq!(yard.store.chain(&c).unwrap().len(), 4);
    assert!(yard.store.delete_snapshot(&id, &name("c")).unwrap());
    assert_eq!(collect(&yard).layers, 2);
    assert!(!yard.directories.layer(&b).exists() && yard.directories.layer(&a).exists());
}

/// A death between a file and its row, or between a row's end and its file's, leaves what the next one removes;
/// what is not ours by name is never touched.
#[test]
fn strays_are_removed() {
    let yard = Yard::new();
    let id = yard.ready().id;
    let kept = yard.files();
    let stray = yard.file();
    fs::write(yard.directories.layer(&stray), vec![1; 100_000]).unwrap();
    let unreachable = LayerId::random().unwrap();
    yard.store.insert_layer(&unreachable, Some(&stray)).unwrap_err(); // a row stands on a row
    yard.store.insert_layer(&unreachable, Some(&template_layer())).unwrap();
    let layers = yard.directories.layers();
    let strangers = [
        "notes.qcow2",
        "0123456789ab",
        "0123456789AB.qcow2",
        "0123456789ab.qcow2.bak",
        "0123456789ab.qcow2.x.part",
        "x0123456789ab.qcow2",
        "0123456789ab.raw",
        "ä23456789ab.qcow2",
        ".qcow2",
    ];
    for stranger in strangers {
        fs::write(layers.join(stranger), b"x").unwrap();
    }
    fs::create_dir(layers.join("fedcba987654.qcow2")).unwrap();
    fs::write(layers.join("0123456789ab.qcow2.4711.part"), b"x").unwrap();
    let collected = collect(&yard);
    assert_eq!(collected.layers, 2, "one layer and one copy");
    assert!(collected.bytes >= 100_000 && collected.bytes.is_multiple_of(BLOCK_BYTES));
    let mut expected: Vec<String> = kept.clone();
    let plain = |name: &str| name.strip_suffix(LAYER_SUFFIX).unwrap_or(name).to_owned();
    expected.extend(strangers.map(plain));
    expected.push("fedcba987654".to_owned());
    expected.sort();
    assert_eq!(yard.files(), expected);
    assert_eq!(yard.rows(), kept);
    assert_eq!(collect(&yard), Collected::default());
    assert!(yard.disk(&id).exists());
}

/// Rows are gone for good before files go: a death between leaves files alone, whatever it was that went.
#[test]
fn deletions_are_finished() {
    let yard = Yard::new();
    let (id, [.., c]) = with_snapshots(&yard);
    let files = yard.files();
    yard.store.reset(&id, &yard.file(), &template_layer()).unwrap();
    for text in ["a", "b", "c"] {
        yard.store.delete_snapshot(&id, &name(text)).unwrap();
    }
    yard.store.forget_unreachable(&[]).unwrap(); // and then a death
    assert_eq!(yard.rows().len(), 2);
    assert!(files.iter().all(|file| yard.files().contains(file)));
    assert!(yard.store.chain(&c).is_err());
    yard.reconcile();
    let mut expected = vec![template_layer().to_string(), yard.record(&id).head.to_string()];
    expected.sort();
    assert_eq!(yard.files(), expected);
}

/// Who makes a file that has no record yet, and holds the birth lock meanwhile, keeps it.
#[test]
fn what_is_being_made_is_let_be() {
    let yard = Yard::new();
    let id = yard.ready().id;
    let making = crate::birth_lock(&yard.directories).unwrap();
    let layer = yard.file();
    assert_eq!(collect(&yard), Collected { was_busy: true, ..Collected::default() });
    yard.reconcile();
    assert!(yard.directories.layer(&layer).exists());
    yard.store.extend(&id, &layer, &Sealing::None).unwrap();
    drop(making);
    assert_eq!(collect(&yard), Collected::default());
    assert!(yard.directories.layer(&layer).exists());
}

/// An image of a memory is there for a snapshot that has one, a paused workspace or a hold, and goes with the last
/// of them while its layer may stay.
#[test]
fn memories_go_with_their_last_user() {
    let yard = Yard::new();
    let (id, [a, b, c]) = with_snapshots(&yard);
    let hold = yard.store.take_hold(&yard.directories).unwrap();
    yard.store.hold_layer(hold.token(), &a).unwrap();
    yard.store.add_snapshot(&id, &snapshot("memory", &b, true)).unwrap();
    yard.store.set_paused(&id, Some(&c)).unwrap();
    let paths = [&a, &b, &c].map(|layer| memory(&yard, layer.as_str()));
    let draft = memory(&yard, ".0123456789ab.Xy12");
    let strangers = ["notes", ".git", ".0123456789AB.x", "0123456789ab.x"].map(|name| memory(&yard, name));
    assert_eq!(collect(&yard).memories, 1);
    assert!(!draft.exists() && paths.iter().all(|path| path.exists()));
    drop(hold);
    yard.store.delete_snapshot(&id, &name("memory")).unwrap();
    yard.store.set_paused(&id, None).unwrap();
    let collected = collect(&yard);
    assert_eq!((collected.memories, collected.layers), (3, 0));
    assert!(collected.bytes >= 30_000);
    assert!(strangers.iter().all(|path| path.exists()) && paths.iter().all(|path| !path.exists()));
}

/// A hold keeps a layer, and all that it stands on, for as long as its holder lives: no longer, however it ended, and
/// never one that another release has taken.
#[test]
fn holds_live_and_die() {
    let yard = Yard::new();
    let claim = yard.ready();
    let id = claim.id.clone();
    let holds = || names(&yard.directories.holds(), "");
    let kept = |layer: &LayerId| yard.directories.layer(layer).exists();
    for is_killed in [false, true] {
        let sealed = yard.store.extend(&id, &yard.file(), &Sealing::None).unwrap();
        let hold = yard.store.take_hold(&yard.directories).unwrap();
        yard.store.hold_layer(hold.token(), &sealed).unwrap();
        yard.store.hold_layer(hold.token(), &sealed).unwrap();
        yard.store.reset(&id, &yard.file(), &template_layer()).unwrap();
        yard.reconcile();
        assert!(kept(&sealed) && holds().len() == 1);
        let lock = yard.directories.hold(hold.token());
        drop(hold);
        if is_killed {
            // The lock goes with the process, the file stays.
            fs::write(lock, b"").unwrap();
        }
        yard.reconcile();
        assert!(!kept(&sealed) && holds().is_empty());
    }
    let sealed = yard.store.extend(&id, &yard.file(), &Sealing::None).unwrap();
    yard.store
        .connection
        .execute("INSERT INTO holds VALUES ('of another form', ?1)", [sealed.as_str()])
        .unwrap();
    fs::write(yard.directories.holds().join("notes.lock"), b"").unwrap();
    yard.store.reset(&id, &yard.file(), &template_layer()).unwrap();
    yard.reconcile();
    assert!(kept(&sealed) && holds() == ["notes.lock"]);
    // A layer that is gone cannot be held any more.
    let hold = yard.store.take_hold(&yard.directories).unwrap();
    assert!(yard.store.hold_layer(hold.token(), &LayerId::random().unwrap()).is_err());
}

/// Layers that another release has named in its own way, snapshots it has named so, and all they stand on, stay.
#[test]
fn what_cannot_be_read_is_kept() {
    let yard = Yard::new();
    let (id, [a, b, c]) = with_snapshots(&yard);
    let connection = &yard.store.connection;
    connection.execute("UPDATE snapshots SET name = '?' WHERE name = 'a'", []).unwrap();
    connection.execute("INSERT INTO layers VALUES ('sha256:0123', ?1, 0)", [b.as_str()]).unwrap();
    yard.store.reset(&id, &yard.file(), &template_layer()).unwrap();
    yard.store.delete_snapshot(&id, &name("b")).unwrap();
    yard.store.delete_snapshot(&id, &name("c")).unwrap();
    yard.reconcile();
    let kept = |layer: &LayerId| yard.directories.layer(layer).exists();
    assert!(kept(&a) && kept(&b) && !kept(&c));
    assert!(yard.rows().contains(&"sha256:0123".to_owned()));
    assert!(yard.store.mergeable().unwrap().is_empty());
    assert!(yard.store.snapshots(&id).unwrap().is_empty());
}

/// Bytes are told as freed when they are: not those of a file that has another name.
#[test]
fn links_free_nothing() {
    let yard = Yard::new();
    let claim = yard.ready();
    fs::write(yard.root.path().join("disk"), vec![1; 1 << 20]).unwrap();
    yard.store.mark_deleting(&claim.id).unwrap();
    yard.store.forget_workspace(&claim.id).unwrap();
    let collected = collect(&yard);
    assert_eq!(collected.layers, 2);
    assert!(collected.bytes < 1 << 20);
}
