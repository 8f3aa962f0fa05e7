//! Two layers that can be one: the space of a snapshot that was deleted in the middle of a chain. Which they are and
//! what is recorded of it; the file of the merged one is made elsewhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use crate::limits::LAYERS_ALONE_MILLISECONDS_MAX;
use crate::usage::LAYERS;
use crate::{Directories, FileLock, LayerId, LockMode, Store, StoreError, WorkspaceClaim, WorkspaceId};

/// Nothing refers to the lower one but the upper one, which nobody writes. Nor does anybody hold the upper one:
/// whoever holds a layer knows it by its id.
const MERGEABLE: &str = "
    SELECT lower.id, upper.id, lower.parent FROM layers AS lower JOIN layers AS upper ON upper.parent = lower.id
    WHERE (SELECT count(*) FROM layers WHERE parent = lower.id) = 1
    AND NOT EXISTS (SELECT 1 FROM workspaces
        WHERE lower.id IN (coalesce(head, id), baseline, paused) OR upper.id = coalesce(head, id))
    AND NOT EXISTS (SELECT 1 FROM snapshots WHERE layer = lower.id)
    AND NOT EXISTS (SELECT 1 FROM holds WHERE layer IN (lower.id, upper.id))";

/// The same where one workspace, which is there, writes the upper one, and nobody else knows that.
const MERGEABLE_HEADS: &str = "
    SELECT lower.id, upper.id, lower.parent, workspaces.id
    FROM layers AS lower JOIN layers AS upper ON upper.parent = lower.id
    JOIN workspaces ON coalesce(head, workspaces.id) = upper.id AND state = 'ready'
    WHERE (SELECT count(*) FROM layers WHERE parent = lower.id) = 1
    AND NOT EXISTS (SELECT 1 FROM layers WHERE parent = upper.id)
    AND NOT EXISTS (SELECT 1 FROM workspaces
        WHERE lower.id IN (coalesce(head, id), baseline, paused) OR upper.id IN (baseline, paused))
    AND NOT EXISTS (SELECT 1 FROM snapshots WHERE layer IN (lower.id, upper.id))
    AND NOT EXISTS (SELECT 1 FROM holds WHERE layer IN (lower.id, upper.id))";

/// Two layers that can become one while the workspace that writes the upper one does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadPair {
    /// Whose.
    pub workspace: WorkspaceId,
    /// What nothing but the upper one refers to,
    pub lower: LayerId,
    /// and the layer that is written.
    pub head: LayerId,
}

/// What became of two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// They are one.
    Done,
    /// They are not a pair any more, or the file of the merged one is not there.
    Changed,
    /// Somebody is making or opening layers all the time: another time.
    Busy,
}

impl Store {
    /// Layers that can become one with the one on top of them, which is named second.
    pub fn mergeable(&self) -> Result<Vec<(LayerId, LayerId)>, StoreError> {
        let query = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut statement = self.connection.prepare_cached(MERGEABLE)?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let pairs = query().map_err(|error| self.fail(error))?;
        let parse = |(lower, upper): &(String, String)| {
            Some((LayerId::parse(lower).ok()?, LayerId::parse(upper).ok()?))
        };
        Ok(pairs.iter().filter_map(parse).collect())
    }

    /// Pairs of which the upper one is what a workspace writes: for who claims the workspace, so that nobody does.
    pub fn mergeable_heads(&self) -> Result<Vec<HeadPair>, StoreError> {
        let query = || -> rusqlite::Result<Vec<(String, String, String)>> {
            let mut statement = self.connection.prepare_cached(MERGEABLE_HEADS)?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(3)?)))?.collect()
        };
        let pairs = query().map_err(|error| self.fail(error))?;
        let parse = |(lower, head, workspace): &(String, String, String)| {
            let (lower, head) = (LayerId::parse(lower).ok()?, LayerId::parse(head).ok()?);
            Some(HeadPair { workspace: WorkspaceId::parse(workspace).ok()?, lower, head })
        };
        Ok(pairs.iter().filter_map(parse).collect())
    }

    /// All layers that a workspace needs: what it writes, its snapshots, and what those stand on.
    pub fn layers_of(&self, workspace: &WorkspaceId) -> Result<BTreeSet<LayerId>, StoreError> {
        let query = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare_cached(&format!("{LAYERS} WHERE workspace = ?1"))?;
            statement.query_map([workspace.as_str()], |row| row.get(1))?.collect()
        };
        let layers = query().map_err(|error| self.fail(error))?;
        Ok(layers.iter().filter_map(|layer| LayerId::parse(layer).ok()).collect())
    }

    /// Lets `merged`, whose file holds all of both, take the place of two layers, whose files go. Where it does not,
    /// nothing has changed, and the file is the caller's to remove.
    ///
    /// The caller holds the birth lock, shared, while it makes the file, and not while it calls this. A death before
    /// the commit leaves a file that nobody knows; behind it two of those, and an image of a memory that has not
    /// followed: all found by [`Store::collect_layers`].
    pub fn replace_layers(
        &self,
        directories: &Directories,
        lower: &LayerId,
        upper: &LayerId,
        merged: &LayerId,
    ) -> Result<Replaced, StoreError> {
        self.replace(directories, merged, || self.record_merger(MERGEABLE, lower, upper, merged))
    }

    /// The same for what a workspace writes, for who has claimed it from before the file was made.
    pub fn replace_head(
        &self,
        directories: &Directories,
        claim: &WorkspaceClaim,
        pair: &HeadPair,
        merged: &LayerId,
    ) -> Result<Replaced, StoreError> {
        if claim.id != pair.workspace {
            return Ok(Replaced::Changed);
        }
        self.replace(directories, merged, || {
            self.record_merger(MERGEABLE_HEADS, &pair.lower, &pair.head, merged)
        })
    }

    fn replace(
        &self,
        directories: &Directories,
        merged: &LayerId,
        record: impl FnOnce() -> Result<bool, StoreError>,
    ) -> Result<Replaced, StoreError> {
        let [state, _] = directories.birth_locks();
        let patience = Duration::from_millis(LAYERS_ALONE_MILLISECONDS_MAX);
        // Alone: whoever reads which layers a disk has, and opens them, is done with it.
        let Ok(_alone) = FileLock::take_within(&state, LockMode::Exclusive, patience) else {
            return Ok(Replaced::Busy);
        };
        // An image that could not follow one merger must not be asked to follow the next.
        let is_settled = self.move_memories(directories)?;
        if !is_settled || store_file(directories, merged).is_err() || !record()? {
            return Ok(Replaced::Changed);
        }
        // It has happened; what cannot be cleaned away now goes another time.
        let _ = self.collect_layers_alone(directories);
        Ok(Replaced::Done)
    }

    /// `false` when the two are none of the `pairs` any more.
    fn record_merger(
        &self,
        pairs: &str,
        lower: &LayerId,
        upper: &LayerId,
        merged: &LayerId,
    ) -> Result<bool, StoreError> {
        let transaction = self.write_durably()?;
        let parent: Option<Option<String>> = transaction
            .query_row(
                &format!("{pairs} AND lower.id = ?1 AND upper.id = ?2"),
                params![lower.as_str(), upper.as_str()],
                |row| row.get(2),
            )
            .optional()
            .map_err(|error| self.fail(error))?;
        let Some(parent) = parent else { return Ok(false) };
        if self.needed_memories()?.contains(upper.as_str()) {
            self.record_memory_move(upper, merged)?;
        }
        self.change_one(
            "INSERT INTO layers (id, parent, created_ms) SELECT ?1, ?2, created_ms FROM layers WHERE id = ?3",
            params![merged.as_str(), parent, upper.as_str()],
        )?;
        for change in [
            "UPDATE layers SET parent = ?1 WHERE parent = ?2",
            "UPDATE snapshots SET layer = ?1 WHERE layer = ?2",
            "UPDATE workspaces SET head = ?1 WHERE coalesce(head, id) = ?2",
            "UPDATE workspaces SET baseline = ?1 WHERE baseline = ?2",
            "UPDATE workspaces SET paused = ?1 WHERE paused = ?2",
        ] {
            self.change_one(change, params![merged.as_str(), upper.as_str()])?;
        }
        self.change_one("DELETE FROM layers WHERE id IN (?1, ?2)", params![lower.as_str(), upper.as_str()])?;
        transaction.commit().map_err(|error| self.fail(error))?;
        Ok(true)
    }
}

/// What a record will refer to has to be there after a power cut.
fn store_file(directories: &Directories, layer: &LayerId) -> io::Result<()> {
    File::open(directories.layer(layer))?.sync_all()?;
    File::open(directories.layers())?.sync_all()
}

#[cfg(test)]
mod tests;
