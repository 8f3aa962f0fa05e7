//! The schema, as the steps from each version to the next. A step that was released is never changed.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Version of the schema that this release writes, kept in SQLite's `user_version`.
pub(crate) const SCHEMA_VERSION: i64 = 4;

const FROM_0_TO_1: &str = "
CREATE TABLE vms (
    id TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    purpose TEXT NOT NULL,
    accelerator TEXT NOT NULL,
    vcpu_count INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    vmm_pid INTEGER,
    vmm_start_ticks INTEGER
) STRICT;
CREATE TABLE facts (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
";

const FROM_1_TO_2: &str = "
CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    name TEXT UNIQUE,
    environment TEXT NOT NULL,
    base_digest TEXT NOT NULL,
    blank_recipe TEXT NOT NULL,
    accelerator TEXT NOT NULL,
    vcpu_count INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    ttl_seconds INTEGER,
    network_policy TEXT NOT NULL DEFAULT 'off',
    seed_kind TEXT,
    seed_path BLOB,
    created_ms INTEGER NOT NULL,
    last_used_ms INTEGER NOT NULL,
    changed_ms INTEGER,
    taken_ms INTEGER,
    state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting')),
    next_sequence INTEGER NOT NULL DEFAULT 1,
    reset_count INTEGER NOT NULL DEFAULT 0,
    vm_id TEXT
) STRICT;
CREATE TABLE workspace_labels (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (workspace_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE execs (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    command TEXT NOT NULL,
    cwd TEXT NOT NULL,
    user TEXT,
    detached INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    outcome TEXT CHECK (outcome IN ('exited', 'signaled', 'timed_out', 'out_of_memory', 'failed', 'lost')),
    exit_code INTEGER,
    duration_ms INTEGER,
    stdout_bytes INTEGER NOT NULL DEFAULT 0,
    stderr_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, sequence)
) STRICT, WITHOUT ROWID;
";

/// References into `layers` keep a layer's row from going while anything needs it, whatever a release forgets.
/// A workspace of before has one layer, its disk, known by the workspace's own id; its file is moved to its place
/// by who claims the workspace next. `drifted` tells a baseline that is not what `diff` compares with, as a copy of a
/// later state has; the two sizes are of what a baseline was filled with.
const FROM_2_TO_3: &str = "
CREATE TABLE layers (
    id TEXT PRIMARY KEY,
    parent TEXT REFERENCES layers (id),
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX layers_by_parent ON layers (parent);
INSERT INTO layers (id, parent, created_ms) SELECT id, NULL, created_ms FROM workspaces;
ALTER TABLE workspaces ADD COLUMN head TEXT REFERENCES layers (id);
ALTER TABLE workspaces ADD COLUMN baseline TEXT REFERENCES layers (id);
ALTER TABLE workspaces ADD COLUMN paused TEXT REFERENCES layers (id);
ALTER TABLE workspaces ADD COLUMN drifted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN baseline_entries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workspaces ADD COLUMN baseline_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE workspaces SET head = id;
CREATE TABLE snapshots (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    layer TEXT NOT NULL REFERENCES layers (id),
    has_memory INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE holds (
    token TEXT NOT NULL,
    layer TEXT NOT NULL REFERENCES layers (id),
    PRIMARY KEY (token, layer)
) STRICT, WITHOUT ROWID;
CREATE TABLE memory_moves (
    number INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    target TEXT NOT NULL
) STRICT;
";

/// `definition` is what a service is started from again, in the words of who starts it; `wanted` whether it shall run.
const FROM_3_TO_4: &str = "
CREATE TABLE shells (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    command TEXT NOT NULL,
    cwd TEXT NOT NULL,
    user TEXT,
    columns INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    outcome TEXT CHECK (outcome IN ('exited', 'signaled', 'out_of_memory', 'closed', 'failed', 'lost')),
    exit_code INTEGER,
    PRIMARY KEY (workspace_id, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE services (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    definition BLOB NOT NULL,
    command TEXT NOT NULL,
    cwd TEXT NOT NULL,
    user TEXT,
    readiness TEXT NOT NULL,
    target TEXT,
    restart TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('starting', 'running', 'restarting', 'stopped', 'exited', 'failed', 'lost')),
    wanted INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    ready_ms INTEGER,
    ended_ms INTEGER,
    restarts INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER,
    reason TEXT,
    PRIMARY KEY (workspace_id, name)
) STRICT, WITHOUT ROWID;
";

/// Takes a database to the present schema, all steps in one transaction. Several processes may find an old
/// one at once: the later ones see the first one's work inside their own transaction.
pub(crate) fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (from, step) in [(0, FROM_0_TO_1), (1, FROM_1_TO_2), (2, FROM_2_TO_3), (3, FROM_3_TO_4)] {
        if version <= from {
            transaction.execute_batch(step)?;
        }
    }
    if version < SCHEMA_VERSION {
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Durability, LayerId, SnapshotName, Store, WorkspaceId};

    /// As release 0.1.0 made it.
    const VERSION_1: &str = "
        PRAGMA journal_mode = wal;
        CREATE TABLE vms (id TEXT PRIMARY KEY, environment TEXT NOT NULL, purpose TEXT NOT NULL,
            accelerator TEXT NOT NULL, vcpu_count INTEGER NOT NULL, memory_mib INTEGER NOT NULL,
            created_ms INTEGER NOT NULL, vmm_pid INTEGER, vmm_start_ticks INTEGER) STRICT;
        CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
        INSERT INTO vms VALUES ('0123456789ab', 'debian:12', 'run', 'tcg', 1, 256, 1700000000000, NULL, NULL);
        INSERT INTO facts VALUES ('kvm/x', '7');
        PRAGMA user_version = 1;
    ";

    /// A database of the release before is brought up to date with all it holds, once, from many sides.
    #[test]
    fn version_1_is_migrated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Store::open(&path, Durability::PowerCut).unwrap());
            }
        });
        let store = Store::open(&path, Durability::PowerCut).unwrap();
        assert_eq!(store.vms().unwrap().len(), 1);
        assert_eq!(store.fact::<u32>("kvm/x").unwrap(), Some(7));
        assert!(store.workspaces(&[]).unwrap().is_empty());
        let version: i64 =
            store.connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, SCHEMA_VERSION);
    }

    /// As the release before the one with layers made it: a workspace with all that it can have, and one in the making.
    const VERSION_2: &str = "
        PRAGMA journal_mode = wal;
        CREATE TABLE vms (id TEXT PRIMARY KEY, environment TEXT NOT NULL, purpose TEXT NOT NULL,
            accelerator TEXT NOT NULL, vcpu_count INTEGER NOT NULL, memory_mib INTEGER NOT NULL,
            created_ms INTEGER NOT NULL, vmm_pid INTEGER, vmm_start_ticks INTEGER) STRICT;
        CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
        CREATE TABLE workspaces (id TEXT PRIMARY KEY, name TEXT UNIQUE, environment TEXT NOT NULL,
            base_digest TEXT NOT NULL, blank_recipe TEXT NOT NULL, accelerator TEXT NOT NULL,
            vcpu_count INTEGER NOT NULL, memory_mib INTEGER NOT NULL, ttl_seconds INTEGER,
            network_policy TEXT NOT NULL DEFAULT 'off', seed_kind TEXT, seed_path BLOB, created_ms INTEGER NOT NULL,
            last_used_ms INTEGER NOT NULL, changed_ms INTEGER, taken_ms INTEGER,
            state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting')),
            next_sequence INTEGER NOT NULL DEFAULT 1, reset_count INTEGER NOT NULL DEFAULT 0, vm_id TEXT) STRICT;
        CREATE TABLE workspace_labels (workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
            key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (workspace_id, key)) STRICT, WITHOUT ROWID;
        CREATE TABLE execs (workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
            sequence INTEGER NOT NULL, command TEXT NOT NULL, cwd TEXT NOT NULL, user TEXT,
            detached INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER,
            outcome TEXT CHECK (outcome IN ('exited', 'signaled', 'timed_out', 'out_of_memory', 'failed', 'lost')),
            exit_code INTEGER, duration_ms INTEGER, stdout_bytes INTEGER NOT NULL DEFAULT 0,
            stderr_bytes INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (workspace_id, sequence)) STRICT, WITHOUT ROWID;
        INSERT INTO workspaces VALUES ('0123456789ab', 'fix-1', 'debian:12', 'd1', 'ext4-1', 'tcg', 2, 1024, 3600,
            'off', 'directory', X'2f61ff', 1700000000000, 1700000001000, 1700000002000, 1700000003000, 'ready',
            2, 3, NULL);
        INSERT INTO workspaces VALUES ('ba9876543210', NULL, 'debian:12', 'd1', 'ext4-1', 'tcg', 2, 1024, NULL,
            'off', NULL, NULL, 1700000000000, 1700000001000, NULL, NULL, 'creating', 1, 0, NULL);
        INSERT INTO workspace_labels VALUES ('0123456789ab', 'team', 'x');
        INSERT INTO execs VALUES ('0123456789ab', 1, '[\"true\"]', '/', NULL, 0, 1700000001000, 1700000001500,
            'exited', 0, 12, 3, 0);
        PRAGMA user_version = 2;
    ";

    /// A workspace of the release before has everything it had, and its disk is a layer that nothing is under.
    #[test]
    fn version_2_is_migrated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        Connection::open(&path).unwrap().execute_batch(VERSION_2).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Store::open(&path, Durability::PowerCut).unwrap());
            }
        });
        let store = Store::open(&path, Durability::PowerCut).unwrap();
        let records = store.workspaces(&[]).unwrap();
        let [record] = records.as_slice() else { panic!("{records:?}") };
        let layer = LayerId::parse("0123456789ab").unwrap();
        assert_eq!((&record.head, &record.baseline, &record.paused), (&layer, &None, &None));
        assert_eq!(store.chain(&layer).unwrap(), [layer]);
        assert_eq!((record.next_sequence, record.reset_count), (2, 3));
        assert!(record.workspace.seed.is_some() && record.changed < record.taken);
        let id = &record.workspace.id;
        assert_eq!(record.workspace.labels.iter().count(), 1);
        assert_eq!(store.exec(id, 1).unwrap().unwrap().end.unwrap().stdout_bytes, 3);
        assert!(store.snapshots(id).unwrap().is_empty());
        assert_eq!(store.snapshot(id, &SnapshotName::baseline()).unwrap(), None);
        assert!(store.workspace(&WorkspaceId::parse("ba9876543210").unwrap()).unwrap().is_some());
    }

    /// A workspace of the release before has no shells and no services, and takes some.
    #[test]
    fn version_3_is_migrated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(VERSION_2).unwrap();
        connection.execute_batch(FROM_2_TO_3).unwrap();
        connection.pragma_update(None, "user_version", 3).unwrap();
        let store = Store::open(&path, Durability::PowerCut).unwrap();
        let id = WorkspaceId::parse("0123456789ab").unwrap();
        assert!(store.shells(&id).unwrap().is_empty() && store.services(&id).unwrap().is_empty());
        let shell = crate::NewShell {
            id: crate::ShellId::random().unwrap(),
            command: Vec::new(),
            directory: "/".to_owned(),
            user: None,
            columns: 80,
            rows: 24,
        };
        store.begin_shell(&id, &shell).unwrap();
        assert_eq!(store.shell(&id, shell.id.as_str()).unwrap().shell, shell);
    }

    /// A migration that cannot be finished leaves the old database as it was.
    #[test]
    fn a_failed_migration_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(VERSION_1).unwrap();
        connection.execute_batch("CREATE TABLE execs (in_the_way TEXT)").unwrap();
        assert!(Store::open(&path, Durability::PowerCut).is_err());
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_master WHERE name = 'workspaces'", [], |row| row.get(0))
            .unwrap();
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!((tables, version), (0, 1));
    }
}
