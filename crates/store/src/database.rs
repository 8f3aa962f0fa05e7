//! The database: opening it, its errors.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::LayerId;
use crate::limits::{BUSY_MILLISECONDS_MAX, LOG_PAGES, OPEN_RETRY};
use crate::schema::{SCHEMA_VERSION, migrate};

/// How much a commit has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: the user's work depends on it.
    PowerCut,
    /// A crash of the process: what is recorded dies with the machine anyway.
    Crash,
}

impl Durability {
    /// The word of SQLite's (`PRAGMA synchronous`).
    fn synchronous(self) -> &'static str {
        match self {
            Durability::PowerCut => "full",
            Durability::Crash => "normal",
        }
    }
}

/// The database of one user's state.
#[derive(Debug)]
pub struct Store {
    pub(crate) connection: Connection,
    path: PathBuf,
}

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is no database, or a broken one.
    #[error("the state database {0} is damaged")]
    Damaged(PathBuf),
    /// A newer release wrote it.
    #[error("the state database {path} has schema {found}, this release knows {SCHEMA_VERSION}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema's version.
        found: i64,
    },
    /// Not all that a layer stands on is recorded, or it stands on itself.
    #[error("the layers under {0} are not all recorded")]
    LayersBroken(LayerId),
    /// There is no such layer any more.
    #[error("there is no layer {0} any more")]
    LayerUnknown(LayerId),
    /// The disk is full.
    #[error("no space left for the state database {0}")]
    NoSpace(PathBuf),
    /// It cannot be opened or written: permissions, a read-only file system.
    #[error("the state database {path} cannot be used")]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Another process has held it for too long.
    #[error("the state database {0} is held by another process")]
    Busy(PathBuf),
}

impl Store {
    /// Opens the database, and makes it when it is not there.
    pub fn open(path: &Path, durability: Durability) -> Result<Store, StoreError> {
        let open = || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_millis(BUSY_MILLISECONDS_MAX))?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
            let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version == 0 {
                connection.pragma_update(None, "journal_mode", "wal")?;
            }
            if version < SCHEMA_VERSION {
                migrate(&connection)?;
            }
            connection.pragma_update(None, "synchronous", durability.synchronous())?;
            // Without this the last process to close the database writes the log back and syncs twice: most
            // commands are the last. A commit is as durable either way.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
            Ok((connection, version))
        };
        // The first users of a new database may meet at its change to the log, where SQLite gives up at once
        // instead of waiting: the busy timeout does not hold there.
        let deadline = Instant::now() + Duration::from_millis(BUSY_MILLISECONDS_MAX);
        let (connection, version) = loop {
            match open().map_err(|error| classify(path, error)) {
                Err(StoreError::Busy(_)) if Instant::now() < deadline => std::thread::sleep(OPEN_RETRY),
                opened => break opened?,
            }
        };
        if version > SCHEMA_VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), found: version });
        }
        Ok(Store { connection, path: path.to_owned() })
    }

    /// How much a commit has to survive from now on.
    pub fn set_durability(&self, durability: Durability) -> Result<(), StoreError> {
        let set = self.connection.pragma_update(None, "synchronous", durability.synchronous());
        set.map_err(|error| self.fail(error))
    }

    pub(crate) fn fail(&self, error: rusqlite::Error) -> StoreError {
        classify(&self.path, error)
    }

    /// A transaction that will write: it waits for other writers at its start, not in its middle, where what
    /// it has read may be outdated.
    pub(crate) fn write(&self) -> Result<Transaction<'_>, StoreError> {
        Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)
            .map_err(|error| self.fail(error))
    }

    /// The same, for what files are made or removed by: from its commit on a power cut undoes neither it nor
    /// anything that was committed before it.
    pub(crate) fn write_durably(&self) -> Result<Transaction<'_>, StoreError> {
        self.be_durable()?;
        self.write()
    }

    pub(crate) fn be_durable(&self) -> Result<(), StoreError> {
        self.connection.pragma_update(None, "synchronous", "full").map_err(|error| self.fail(error))
    }

    /// Brings what others have committed behind a power cut: they may have died before it was stored.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        let transaction = self.write_durably()?;
        // A commit is stored with all before it, and writing what is there already is a commit all the same.
        let rewrite = || -> rusqlite::Result<()> {
            let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
            transaction.pragma_update(None, "user_version", version)
        };
        rewrite().map_err(|error| self.fail(error))?;
        transaction.commit().map_err(|error| self.fail(error))
    }
}

fn classify(path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    // The index of the log could not grow: unlike everything else, SQLite does not call this a full disk.
    if error.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_SHMSIZE) {
        return StoreError::NoSpace(path);
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged(path),
        Some(ErrorCode::DiskFull) => StoreError::NoSpace(path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(path),
        _ => StoreError::Unusable { path, source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A damaged database is refused by name, and left as it is.
    #[test]
    fn damage_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        std::fs::write(&path, b"this is no database, whatever its name says").unwrap();
        assert!(matches!(Store::open(&path, Durability::Crash), Err(StoreError::Damaged(_))));
        assert!(std::fs::read(&path).unwrap().starts_with(b"this is no database"));
    }

    /// Settling is a commit of its own: without one nothing would bring others' commits to the disk.
    #[test]
    fn settling_writes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        let store = Store::open(&path, Durability::Crash).unwrap();
        let log_bytes = || std::fs::metadata(directory.path().join("pyro.db-wal")).unwrap().len();
        let before = log_bytes();
        store.settle().unwrap();
        assert!(log_bytes() > before);
        assert!(Store::open(&path, Durability::Crash).is_ok());
    }

    /// A database of a newer release is refused, not guessed at.
    #[test]
    fn a_newer_schema_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        let store = Store::open(&path, Durability::PowerCut).unwrap();
        store.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        assert!(matches!(Store::open(&path, Durability::PowerCut), Err(StoreError::Newer { found: 99, .. })));
    }

    /// Many first users of a new database all find it whole.
    #[test]
    fn creation_is_safe_from_many_sides() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pyro.db");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Store::open(&path, Durability::PowerCut).unwrap().vms().unwrap());
            }
        });
    }
}
