//! The schema, as the steps from each version to the next. A step that was released is never changed.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Version of the schema that this release writes, kept in SQLite's `user_version`.
pub(crate) const SCHEMA_VERSION: i64 = 2;

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

/// Takes a database to the present schema, all steps in one transaction. Several processes may find an old
/// one at once: the later ones see the first one's work inside their own transaction.
pub(crate) fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (from, step) in [(0, FROM_0_TO_1), (1, FROM_1_TO_2)] {
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
    use crate::{Durability, Store};

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
