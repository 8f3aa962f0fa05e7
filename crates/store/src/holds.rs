//! Holds: layers kept by a living process alone, as between taking a copy of a workspace and recording the copies.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::params;

use crate::directories::HOLD_SUFFIX;
use crate::reconcile::birth_lock;
use crate::{
    Directories, FileLock, HoldToken, LayerId, LockError, LockMode, SnapshotName, SnapshotRecord, Store,
    StoreError, WorkspaceId,
};

/// Keeps the layers that were recorded under its token, and the images of memories that belong to them, until it is
/// dropped or its process is gone.
#[derive(Debug)]
pub struct Hold {
    token: HoldToken,
    path: PathBuf,
    _lock: FileLock,
}

impl Hold {
    /// What other processes put layers under this hold by.
    pub fn token(&self) -> &HoldToken {
        &self.token
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Its records go with the next look for what nobody needs, which finds no file, or one that is not locked.
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// A hold of nothing yet.
    pub fn take_hold(&self, directories: &Directories) -> Result<Hold, LockError> {
        // Whoever looks for dead holds must not see the file before it is locked.
        let _birth = birth_lock(directories)?;
        let fail = |source| LockError::Io { path: directories.holds(), source };
        let token = HoldToken::random().map_err(fail)?;
        let path = directories.hold(&token);
        let lock = FileLock::try_take(&path, LockMode::Exclusive)?;
        Ok(Hold { token, path, _lock: lock })
    }

    /// Puts a layer under a hold; [`StoreError::LayerUnknown`] when nothing has kept it until then.
    pub fn hold_layer(&self, token: &HoldToken, layer: &LayerId) -> Result<(), StoreError> {
        let transaction = self.write()?;
        self.insert_hold(token, layer)?;
        transaction.commit().map_err(|error| self.fail(error))
    }

    /// Looks a snapshot up and puts its layer under a hold, so that nothing comes between. The image of its memory
    /// is where its layer says, also when the two were on their way to another name.
    pub fn hold_snapshot(
        &self,
        directories: &Directories,
        hold: &Hold,
        workspace: &WorkspaceId,
        name: &SnapshotName,
    ) -> Result<Option<SnapshotRecord>, StoreError> {
        let transaction = self.write()?;
        let Some(found) = self.snapshot(workspace, name)? else { return Ok(None) };
        self.insert_hold(&hold.token, &found.layer)?;
        transaction.commit().map_err(|error| self.fail(error))?;
        self.move_memories(directories)?;
        Ok(Some(found))
    }

    /// The same for the layer that a paused workspace goes on from; `None` where it is not paused.
    pub fn hold_paused(
        &self,
        directories: &Directories,
        hold: &Hold,
        workspace: &WorkspaceId,
    ) -> Result<Option<LayerId>, StoreError> {
        let transaction = self.write()?;
        let Some(layer) = self.workspace(workspace)?.and_then(|record| record.paused) else {
            return Ok(None);
        };
        self.insert_hold(&hold.token, &layer)?;
        transaction.commit().map_err(|error| self.fail(error))?;
        self.move_memories(directories)?;
        Ok(Some(layer))
    }

    /// Within a transaction.
    fn insert_hold(&self, token: &HoldToken, layer: &LayerId) -> Result<(), StoreError> {
        if !self.has("SELECT 1 FROM layers WHERE id = ?1", layer)? {
            return Err(StoreError::LayerUnknown(layer.clone()));
        }
        self.change_one(
            "INSERT OR IGNORE INTO holds (token, layer) VALUES (?1, ?2)",
            params![token.as_str(), layer.as_str()],
        )
        .map(drop)
    }

    /// Holds whose holder is gone, by their records and by their locks, for who holds the birth lock. What is not
    /// known for certain to be dead is alive.
    pub(crate) fn dead_holds(&self, directories: &Directories) -> Result<Vec<HoldToken>, StoreError> {
        let query = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare_cached("SELECT DISTINCT token FROM holds")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        let recorded = query().map_err(|error| self.fail(error))?;
        let mut tokens: Vec<HoldToken> =
            recorded.iter().filter_map(|token| HoldToken::parse(token).ok()).collect();
        tokens.extend(tokens_in(&directories.holds()));
        tokens.sort();
        tokens.dedup();
        tokens.retain(|token| is_dead(&directories.hold(token)));
        Ok(tokens)
    }
}

fn tokens_in(directory: &Path) -> Vec<HoldToken> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let token = |name: &str| HoldToken::parse(name.strip_suffix(HOLD_SUFFIX)?).ok();
    entries.flatten().filter_map(|entry| token(entry.file_name().to_str()?)).collect()
}

fn is_dead(lock: &Path) -> bool {
    match lock.try_exists() {
        Ok(true) => FileLock::try_take(lock, LockMode::Exclusive).is_ok(),
        Ok(false) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
