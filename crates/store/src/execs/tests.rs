//! Records of commands: numbered without gaps, bounded, ended once.

use super::*;
use crate::Durability;
use crate::limits::HISTORY_COMMAND_BYTES_MAX;
use crate::workspaces::tests::new_workspace;

fn exec(command: &[&str]) -> NewExec {
    NewExec {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        directory: "/workspace".to_owned(),
        user: Some("1000:1000".to_owned()),
        detached: true,
    }
}

fn end(outcome: ExecOutcome) -> ExecEnd {
    let duration = Some(Duration::from_millis(12));
    ExecEnd { outcome, exit_code: Some(7), duration, stdout_bytes: 5, stderr_bytes: u64::MAX }
}

fn with_workspace(test: impl FnOnce(Store, WorkspaceId)) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("pyro.db"), Durability::Crash).unwrap();
    let new = new_workspace(None);
    store.insert_workspace(&new).unwrap();
    store.set_ready(&new.id, None).unwrap();
    test(store, new.id);
}

/// What is recorded of a command is read back, and its first end stays its end.
#[test]
fn records_round_trip() {
    with_workspace(|store, id| {
        let new = exec(&["sh", "-c", "echo \"ä\n\u{fffd}\""]);
        assert_eq!(store.begin_exec(&id, &new).unwrap(), 1);
        let running = store.exec(&id, 1).unwrap().unwrap();
        assert_eq!((&running.exec, running.end, running.ended), (&new, None, None));
        assert_eq!(store.running_execs(&id).unwrap(), [1]);
        store.end_exec(&id, 1, &end(ExecOutcome::Exited)).unwrap();
        store.end_exec(&id, 1, &end(ExecOutcome::Lost)).unwrap();
        let ended = store.exec(&id, 1).unwrap().unwrap();
        let expected = ExecEnd { stderr_bytes: i64::MAX as u64, ..end(ExecOutcome::Exited) };
        assert_eq!(ended.end, Some(expected));
        assert!(ended.ended.unwrap() >= ended.started);
        assert_eq!(store.exec(&id, 2).unwrap(), None);
        for outcome in ExecOutcome::ALL {
            let sequence = store.begin_exec(&id, &new).unwrap();
            store.end_exec(&id, sequence, &end(outcome)).unwrap();
            assert_eq!(store.exec(&id, sequence).unwrap().unwrap().end.unwrap().outcome, outcome);
        }
    });
}

/// Commands are numbered from 1 without gaps, whoever begins them, and listed in pages.
#[test]
fn numbers_have_no_gaps() {
    with_workspace(|store, id| {
        for expected in 1..=20 {
            assert_eq!(store.begin_exec(&id, &exec(&["true"])).unwrap(), expected);
        }
        let page: Vec<u64> = store.execs(&id, 7, 3).unwrap().iter().map(|exec| exec.sequence).collect();
        assert_eq!(page, [7, 8, 9]);
        assert_eq!(store.execs(&id, 0, usize::MAX).unwrap().len(), 20);
        store.clear_execs(&id).unwrap();
        assert!(store.execs(&id, 0, 100).unwrap().is_empty());
        assert_eq!(store.begin_exec(&id, &exec(&["true"])).unwrap(), 1);
        store.mark_deleting(&id).unwrap();
        assert!(matches!(store.begin_exec(&id, &exec(&["true"])), Err(RecordError::Gone(_))));
        store.forget_workspace(&id).unwrap();
        assert!(store.execs(&id, 0, 100).unwrap().is_empty());
    });
}

/// The oldest records go, but none of a command that still runs.
#[test]
fn history_is_bounded() {
    with_workspace(|store, id| {
        let first = store.begin_exec(&id, &exec(&["sleep"])).unwrap();
        let second = store.begin_exec(&id, &exec(&["true"])).unwrap();
        store.end_exec(&id, second, &end(ExecOutcome::Exited)).unwrap();
        let skip = "UPDATE workspaces SET next_sequence = next_sequence + ?1";
        store.connection.execute(skip, [to_integer(HISTORY_RECORDS_KEPT)]).unwrap();
        store.begin_exec(&id, &exec(&["true"])).unwrap();
        assert!(store.exec(&id, first).unwrap().is_some());
        assert!(store.exec(&id, second).unwrap().is_none());
    });
}

/// A command line of any length costs a bounded record, cut between two characters.
#[test]
fn command_lines_are_bounded() {
    let long = "ä".repeat(HISTORY_COMMAND_BYTES_MAX);
    with_workspace(|store, id| {
        let sequence = store.begin_exec(&id, &exec(&["xyz", &long, "more"])).unwrap();
        let command = store.exec(&id, sequence).unwrap().unwrap().exec.command;
        assert_eq!((command.len(), command[1].len()), (2, HISTORY_COMMAND_BYTES_MAX - 4));
        assert!(long.starts_with(&command[1]));
    });
}
