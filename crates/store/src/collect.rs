//! What nobody needs any more: layers, images of memories and holds. Only what has our own naming is ever removed,
//! and only once nothing recorded refers to it, whether this release can read that or not.
//!
//! Order, for who holds the birth lock alone, so that nobody is making a file that has no record yet:
//!
//! 1. one transaction forgets dead holds and the layers that nothing leads to; it is stored;
//! 2. files without a record go, one by one.
//!
//! A death before the commit changes nothing. A death behind it leaves files without a record, which the next one
//! removes. Never is there a record of something whose file went: not even after a power cut, since before any file
//! goes all that was committed is stored.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::params;

use crate::directories::LAYER_SUFFIX;
use crate::keep::STAGED_SUFFIX;
use crate::limits::ID_CHARS;
use crate::{Directories, FileLock, HoldToken, LayerId, LockMode, Store, StoreError};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Bytes of the file system that are free now.
    pub bytes: u64,
    /// Files of layers.
    pub layers: u64,
    /// Images of memories, whole or not.
    pub memories: u64,
    /// Nothing was looked at, since others were making or opening layers all the time.
    pub was_busy: bool,
}

/// What something refers to, and all that it stands on. A layer whose id is none of ours is another release's, and
/// counts as referred to.
const REACHABLE: &str = "
    WITH RECURSIVE reachable (id) AS (
        SELECT coalesce(head, id) FROM workspaces
        UNION SELECT baseline FROM workspaces WHERE baseline IS NOT NULL
        UNION SELECT paused FROM workspaces WHERE paused IS NOT NULL
        UNION SELECT layer FROM snapshots
        UNION SELECT layer FROM holds
        UNION SELECT id FROM layers WHERE length(id) <> 12 OR id GLOB '*[^0-9a-f]*'
        UNION SELECT layers.parent FROM reachable JOIN layers USING (id) WHERE layers.parent IS NOT NULL)";

impl Store {
    /// Removes the layers, images of memories and holds that nothing refers to. Nothing if somebody is making some
    /// right now: another time.
    pub fn collect_layers(&self, directories: &Directories) -> Result<Collected, StoreError> {
        self.collect_layers_within(directories, Duration::ZERO)
    }

    /// The same for who can wait.
    pub fn collect_layers_within(
        &self,
        directories: &Directories,
        patience: Duration,
    ) -> Result<Collected, StoreError> {
        let [state, _] = directories.birth_locks();
        match FileLock::take_within(&state, LockMode::Exclusive, patience) {
            Ok(_alone) => self.collect_layers_alone(directories),
            Err(_) => Ok(Collected { was_busy: true, ..Collected::default() }),
        }
    }

    /// The same for who holds the birth lock.
    pub(crate) fn collect_layers_alone(&self, directories: &Directories) -> Result<Collected, StoreError> {
        self.move_memories(directories)?;
        let dead = self.dead_holds(directories)?;
        self.forget_unreachable(&dead)?;
        // Files before records: what gets both meanwhile must not be seen as a file without a record.
        let mut layers = ours_in(&directories.layers(), layer_of);
        let mut memories = ours_in(&directories.memories(), memory_of);
        let (recorded, needed) = (self.all_layers()?, self.needed_memories()?);
        layers.retain(|(_, id)| !id.as_ref().is_some_and(|id| recorded.contains(id)));
        memories.retain(|(_, id)| !id.as_ref().is_some_and(|id| needed.contains(id)));
        let holds: Vec<PathBuf> = dead.iter().map(|token| directories.hold(token)).collect();
        let mut done = Collected::default();
        if !(layers.is_empty() && memories.is_empty()) {
            self.settle()?;
        }
        // What cannot be removed now has no record and is found again.
        for (path, _) in layers {
            let bytes = freed_by(&path);
            if fs::remove_file(path).is_ok() {
                done.layers += 1;
                done.bytes += bytes;
            }
        }
        for (path, _) in memories {
            let bytes = entries_of(&path).iter().map(|entry| freed_by(&entry.path())).sum::<u64>();
            if fs::remove_dir_all(path).is_ok() {
                done.memories += 1;
                done.bytes += bytes;
            }
        }
        for path in holds {
            let _ = fs::remove_file(path);
        }
        Ok(done)
    }

    fn forget_unreachable(&self, dead: &[HoldToken]) -> Result<(), StoreError> {
        if dead.is_empty() && !self.any_unreachable()? {
            // Nearly always: no need to wait for those who write.
            return Ok(());
        }
        let transaction = self.write_durably()?;
        for token in dead {
            self.change_one("DELETE FROM holds WHERE token = ?1", params![token.as_str()])?;
        }
        self.change_one(
            &format!("{REACHABLE} DELETE FROM layers WHERE id NOT IN (SELECT id FROM reachable)"),
            [],
        )?;
        transaction.commit().map_err(|error| self.fail(error))
    }

    fn any_unreachable(&self) -> Result<bool, StoreError> {
        self.connection
            .prepare_cached(&format!(
                "{REACHABLE} SELECT 1 FROM layers WHERE id NOT IN (SELECT id FROM reachable)"
            ))
            .and_then(|mut statement| statement.exists([]))
            .map_err(|error| self.fail(error))
    }

    /// Ids of all layers that are recorded, ours or not.
    fn all_layers(&self) -> Result<BTreeSet<String>, StoreError> {
        let query = || -> rusqlite::Result<BTreeSet<String>> {
            let mut statement = self.connection.prepare_cached("SELECT id FROM layers")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        query().map_err(|error| self.fail(error))
    }
}

/// Whose file a name among the layers says that it is: `ID.qcow2`; nobody's if it is a copy that was never whole,
/// `ID.qcow2.NUMBER.part`. `None` for a stranger's.
fn layer_of(name: &str) -> Option<Option<String>> {
    let (id, rest) = name.split_at_checked(ID_CHARS)?;
    LayerId::parse(id).ok()?;
    let rest = rest.strip_prefix(LAYER_SUFFIX)?;
    if rest.is_empty() {
        return Some(Some(id.to_owned()));
    }
    let number = rest.strip_prefix('.')?.strip_suffix(STAGED_SUFFIX)?;
    number.parse::<u32>().ok().map(|_| None)
}

/// The same among the images of memories: `ID`, or `.ID.` and anything for a draft of one.
fn memory_of(name: &str) -> Option<Option<String>> {
    let id = match name.strip_prefix('.') {
        Some(draft) => draft.split_once('.')?.0,
        None => name,
    };
    LayerId::parse(id).ok().map(|id| Some(id.to_string()))
}

/// What has our own naming in a directory, with what it belongs to.
fn ours_in(directory: &Path, owner_of: fn(&str) -> Option<Option<String>>) -> Vec<(PathBuf, Option<String>)> {
    let entries = entries_of(directory).into_iter();
    entries.filter_map(|entry| Some((entry.path(), owner_of(entry.file_name().to_str()?)?))).collect()
}

fn entries_of(directory: &Path) -> Vec<DirEntry> {
    fs::read_dir(directory).map(|entries| entries.flatten().collect()).unwrap_or_default()
}

/// Bytes that the removal of a file gives back: none while it has another name.
fn freed_by(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.nlink() == 1 => metadata.blocks() * BLOCK_BYTES,
        _ => 0,
    }
}

/// What `st_blocks` counts in (stat(3type)).
pub(crate) const BLOCK_BYTES: u64 = 512;

#[cfg(test)]
mod tests;
