//! Images of memories: which are needed, and which follow their layer to another id. What is in them is not looked
//! at.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;

use rusqlite::params;

use crate::{Directories, LayerId, Store, StoreError};

/// Of what a snapshot, a paused workspace or a hold refers to the memory. An image that has not followed its layer
/// yet is needed as well.
const NEEDED: &str = "
    SELECT layer FROM snapshots WHERE has_memory <> 0
    UNION SELECT paused FROM workspaces WHERE paused IS NOT NULL
    UNION SELECT layer FROM holds
    UNION SELECT source FROM memory_moves";

impl Store {
    /// Names of the images that something needs, read without understanding what that is.
    pub(crate) fn needed_memories(&self) -> Result<BTreeSet<String>, StoreError> {
        let query = || -> rusqlite::Result<BTreeSet<String>> {
            let mut statement = self.connection.prepare_cached(NEEDED)?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        query().map_err(|error| self.fail(error))
    }

    /// Within the transaction that makes `target` of the layer `source`: its memory image will follow.
    pub(crate) fn record_memory_move(&self, source: &LayerId, target: &LayerId) -> Result<(), StoreError> {
        self.change_one(
            "INSERT INTO memory_moves (source, target) VALUES (?1, ?2)",
            params![source.as_str(), target.as_str()],
        )
        .map(drop)
    }

    /// Lets images follow their layers, from whatever step it had reached: renames, then forgets. Several at once do
    /// no harm. `false` when one could not be moved now.
    pub(crate) fn move_memories(&self, directories: &Directories) -> Result<bool, StoreError> {
        let query = || -> rusqlite::Result<Vec<(i64, String, String)>> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT number, source, target FROM memory_moves ORDER BY number")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        };
        for (number, source, target) in query().map_err(|error| self.fail(error))? {
            let (Ok(source), Ok(target)) = (LayerId::parse(&source), LayerId::parse(&target)) else {
                return Ok(false);
            };
            let moved = match fs::rename(directories.memory(&source), directories.memory(&target)) {
                // It was moved before, or never there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            };
            let stored = moved.and_then(|()| File::open(directories.memories())?.sync_all());
            if stored.is_err() {
                return Ok(false);
            }
            self.change_one("DELETE FROM memory_moves WHERE number = ?1", params![number])?;
        }
        Ok(true)
    }
}
