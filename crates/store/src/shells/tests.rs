//! Records of shells: found by their ids, ended once, bounded, and gone with a reset.

use super::*;
use crate::Durability;
use crate::workspaces::tests::new_workspace;

fn new() -> NewShell {
    NewShell {
        id: ShellId::random().unwrap(),
        command: vec!["bash".to_owned(), "-l".to_owned()],
        directory: "/workspace".to_owned(),
        user: None,
        columns: 120,
        rows: 30,
    }
}

fn with_workspace(test: impl FnOnce(Store, WorkspaceId)) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("pyro.db"), Durability::Crash).unwrap();
    let workspace = new_workspace(None);
    store.insert_workspace(&workspace).unwrap();
    store.set_ready(&workspace.id, None).unwrap();
    test(store, workspace.id);
}

/// A shell is found by the beginning of its id, keeps its first end, and runs again where it was taken over.
#[test]
fn records_round_trip() {
    with_workspace(|store, id| {
        let shell = new();
        assert!(store.begin_shell(&id, &shell).unwrap().is_empty());
        store.resize_shell(&id, &shell.id, 80, 24).unwrap();
        let found = store.shell(&id, &shell.id.as_str()[..6]).unwrap();
        let resized = NewShell { columns: 80, rows: 24, ..shell.clone() };
        assert_eq!((&found.shell, found.end, found.ended), (&resized, None, None));
        let end = ShellEnd { outcome: ShellOutcome::Exited, exit_code: Some(3) };
        store.end_shell(&id, &shell.id, &end).unwrap();
        store
            .end_shell(&id, &shell.id, &ShellEnd { outcome: ShellOutcome::Closed, exit_code: None })
            .unwrap();
        assert_eq!(store.shell(&id, shell.id.as_str()).unwrap().end, Some(end));
        store.revive_shell(&id, &shell).unwrap();
        assert_eq!(store.shell(&id, shell.id.as_str()).unwrap().end, None);
        store.revive_shell(&id, &new()).unwrap();
        store.lose_shells(&id).unwrap();
        let lost = store.shells(&id).unwrap();
        assert!(lost.len() == 2 && lost.iter().all(|it| it.end.unwrap().outcome == ShellOutcome::Lost));
        for (reference, is_ambiguous) in [("", false), ("x", false), ("0", false)] {
            let refused = store.shell(&id, reference);
            if reference != "0" {
                assert_eq!(matches!(refused, Err(ShellError::Ambiguous(_))), is_ambiguous, "{reference}");
                assert!(refused.is_err());
            }
        }
        for outcome in ShellOutcome::ALL {
            assert_eq!(ShellOutcome::parse(outcome.as_str()), Some(outcome));
        }
    });
}

/// What has ended long ago goes; what runs stays, however many there are.
#[test]
fn records_are_bounded() {
    with_workspace(|store, id| {
        let first = new();
        store.begin_shell(&id, &first).unwrap();
        let mut pruned = Vec::new();
        for _ in 0..SHELL_RECORDS_KEPT + 20 {
            let shell = new();
            pruned.extend(store.begin_shell(&id, &shell).unwrap());
            store
                .end_shell(&id, &shell.id, &ShellEnd { outcome: ShellOutcome::Closed, exit_code: None })
                .unwrap();
        }
        let left = store.shells(&id).unwrap();
        assert_eq!(left.len() as u64, SHELL_RECORDS_KEPT + 2);
        assert!(left.iter().any(|record| record.shell.id == first.id));
        assert_eq!(pruned.len(), 19);
        assert!(pruned.iter().all(|id| !left.iter().any(|record| record.shell.id == *id)));
    });
}

/// A workspace that is gone takes no shell.
#[test]
fn no_workspace_no_shell() {
    with_workspace(|store, _| {
        let other = WorkspaceId::random().unwrap();
        assert!(matches!(store.begin_shell(&other, &new()), Err(RecordError::Gone(_))));
        assert!(store.shells(&other).unwrap().is_empty());
    });
}
