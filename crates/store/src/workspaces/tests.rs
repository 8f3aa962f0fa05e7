//! Records of workspaces: what is written is what is read, and names are unique whoever asks.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::*;
use crate::{ChangeError, Durability, ResolveError, WorkspaceChange};

pub(crate) fn new_workspace(name: Option<&str>) -> NewWorkspace {
    NewWorkspace {
        id: WorkspaceId::random().unwrap(),
        name: name.map(|name| WorkspaceName::parse(name).unwrap()),
        labels: Labels::parse([("team", "x"), ("empty", "")]).unwrap(),
        environment: "debian:12".to_owned(),
        base_digest: ImageKey::parse("0123abcd").unwrap(),
        blank_recipe: ImageKey::parse("ext4-1").unwrap(),
        accelerator: "tcg".to_owned(),
        vcpu_count: 2,
        memory_mib: 1024,
        ttl_seconds: Some(3600),
        seed: Some(Seed { kind: SeedKind::Directory, path: OsString::from_vec(b"/a\xff".to_vec()).into() }),
        head: LayerId::random().unwrap(),
        origin: Origin::Template {
            layer: LayerId::parse("00000000face").unwrap(),
            file: PathBuf::from("/nowhere"),
        },
    }
}

fn store(root: &Path) -> Store {
    Store::open(&root.join("pyro.db"), Durability::Crash).unwrap()
}

fn ready(store: &Store, name: Option<&str>) -> WorkspaceId {
    let new = new_workspace(name);
    store.insert_workspace(&new).unwrap();
    assert!(store.set_ready(&new.id, None).unwrap());
    new.id
}

fn name(text: &str) -> WorkspaceName {
    WorkspaceName::parse(text).unwrap()
}

/// Everything that is recorded of a workspace is read back, any bytes of a path included.
#[test]
fn records_round_trip() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let new = new_workspace(Some("fix-1"));
    store.insert_workspace(&new).unwrap();
    let record = store.workspace(&new.id).unwrap().unwrap();
    assert_eq!(
        record.workspace,
        NewWorkspace { origin: Origin::Layer(new.head.clone()), ..new.clone() },
        "it has no baseline before its seed is sealed"
    );
    assert_eq!((record.state, record.next_sequence, record.reset_count), (WorkspaceState::Creating, 1, 0));
    assert_eq!((record.network_policy.as_str(), &record.vm_id), ("off", &None));
    assert_eq!((record.head, record.baseline, record.paused), (new.head, None, None));
    let plain = NewWorkspace { seed: None, name: None, ttl_seconds: None, ..new_workspace(None) };
    store.insert_workspace(&plain).unwrap();
    let record = store.workspace(&plain.id).unwrap().unwrap();
    assert_eq!(record.baseline.as_ref(), Some(plain.origin.layer()));
    let origin = Origin::Layer(plain.origin.layer().clone());
    assert_eq!(record.workspace, NewWorkspace { origin, ..plain });
}

/// Only what is ready is there, and what is being deleted has given its name free.
#[test]
fn states_follow_one_another() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let new = new_workspace(Some("a"));
    let vm = VmId::random().unwrap();
    store.insert_workspace(&new).unwrap();
    assert!(store.workspaces(&[]).unwrap().is_empty());
    assert!(!store.set_vm(&new.id, Some(&vm)).unwrap());
    assert!(store.set_ready(&new.id, Some(&vm)).unwrap());
    assert!(!store.set_ready(&new.id, None).unwrap());
    assert_eq!(store.workspaces(&[]).unwrap()[0].vm_id, Some(vm));
    assert!(store.set_vm(&new.id, None).unwrap());
    assert!(store.mark_deleting(&new.id).unwrap() && !store.mark_deleting(&new.id).unwrap());
    assert!(!store.set_vm(&new.id, None).unwrap());
    assert!(store.workspaces(&[]).unwrap().is_empty());
    store.insert_workspace(&new_workspace(Some("a"))).unwrap();
    store.forget_workspace(&new.id).unwrap();
    assert_eq!(store.workspace(&new.id).unwrap(), None);
}

/// Of any number who want a name at once, one gets it, and the others are told that it is taken.
#[test]
fn one_of_many_gets_the_name() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("pyro.db");
    Store::open(&path, Durability::Crash).unwrap();
    let results: Vec<Result<(), RecordError>> = std::thread::scope(|scope| {
        let insert = || {
            let store = Store::open(&path, Durability::Crash).unwrap();
            store.insert_workspace(&new_workspace(Some("wanted")))
        };
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(insert)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let taken = |result: &&Result<(), RecordError>| matches!(result, Err(RecordError::NameTaken(_)));
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(taken).count(), 63);
}

/// A change is made as a whole or not at all.
#[test]
fn changes_are_whole() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let id = ready(&store, Some("a"));
    ready(&store, Some("b"));
    let read = || store.workspace(&id).unwrap().unwrap().workspace;
    let before = read();
    let taken = WorkspaceChange {
        name: Some(Some(name("b"))),
        ttl_seconds: Some(None),
        clear_labels: true,
        ..WorkspaceChange::default()
    };
    let error = store.update(&id, &taken).unwrap_err();
    assert!(matches!(error, ChangeError::Record(RecordError::NameTaken(it)) if it == name("b")));
    assert_eq!(read(), before);
    let many: Vec<String> = (0..31).map(|n| format!("k{n}")).collect();
    let many = Labels::parse(many.iter().map(|key| (key.as_str(), ""))).unwrap();
    let too_many = WorkspaceChange { set_labels: many.clone(), ..WorkspaceChange::default() };
    assert!(matches!(store.update(&id, &too_many), Err(ChangeError::Labels(_))));
    assert_eq!(read(), before);

    let change = WorkspaceChange {
        name: Some(None),
        remove_labels: vec![LabelKey::parse("empty").unwrap()],
        set_labels: Labels::parse([("team", "y")]).unwrap(),
        ttl_seconds: Some(None),
        ..WorkspaceChange::default()
    };
    store.update(&id, &change).unwrap();
    let labels = Labels::parse([("team", "y")]).unwrap();
    assert_eq!(read(), NewWorkspace { name: None, ttl_seconds: None, labels, ..before });
    store
        .update(&id, &WorkspaceChange { clear_labels: true, set_labels: many, ..WorkspaceChange::default() })
        .unwrap();
    assert_eq!(read().labels.iter().count(), 31);
    let gone = store.update(&WorkspaceId::random().unwrap(), &WorkspaceChange::default()).unwrap_err();
    assert!(matches!(gone, ChangeError::Record(RecordError::Gone(_))));
}

/// Lists are of those that have every label asked for.
#[test]
fn labels_filter() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let id = ready(&store, None);
    let filter = |key: &str, value: Option<&str>| LabelFilter {
        key: LabelKey::parse(key).unwrap(),
        value: value.map(|value| LabelValue::parse(value).unwrap()),
    };
    let found = |filters: &[LabelFilter]| store.workspaces(filters).unwrap().len();
    assert_eq!(found(&[filter("team", Some("x")), filter("empty", None)]), 1);
    assert_eq!(found(&[filter("team", Some("y"))]) + found(&[filter("team", None), filter("nix", None)]), 0);
    store.touch(&id).unwrap();
    let record = store.workspace(&id).unwrap().unwrap();
    assert!(record.last_used >= record.created);
}

/// A reference is an id, a name, or the beginning of one id; otherwise it says what it could have meant.
#[test]
fn references_resolve() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let insert = |id: &str, name: Option<&str>| {
        let new = NewWorkspace { id: WorkspaceId::parse(id).unwrap(), ..new_workspace(name) };
        store.insert_workspace(&new).unwrap();
        store.set_ready(&new.id, None).unwrap();
    };
    insert("aa0000000001", Some("parser"));
    insert("aa0000000002", Some("aa00"));
    insert("ab0000000003", None);
    let found = |reference: &str| store.resolve(reference).unwrap().workspace.id.to_string();
    assert_eq!(found("aa0000000001"), "aa0000000001");
    assert_eq!(found("parser"), "aa0000000001");
    assert_eq!(found("aa00"), "aa0000000002"); // a name comes before the beginning of an id
    assert_eq!(found("ab"), "ab0000000003");
    let ambiguous = store.resolve("aa").unwrap_err();
    assert!(matches!(ambiguous, ResolveError::Ambiguous { candidates, .. } if candidates.len() == 2));
    let unknown = store.resolve("parsr").unwrap_err();
    assert!(matches!(unknown, ResolveError::Unknown { close, .. } if close == [name("parser")]));
    for nothing in ["", "zz", "%", "'"] {
        let unknown = store.resolve(nothing).unwrap_err();
        assert!(matches!(unknown, ResolveError::Unknown { close, .. } if close.is_empty()), "{nothing}");
    }
}
