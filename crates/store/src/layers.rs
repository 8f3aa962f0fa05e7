//! The layers of workspaces' disks: which stands on which, which one is written, and what becomes of it. A layer
//! that has another on top is never written again. Files are made and removed elsewhere.
//!
//! Whoever adds a layer makes its file first, stored, name included, and holds [`crate::birth_lock`] from before the
//! file until the row is there. A death before the commit leaves the old state and a file that nobody knows, which
//! [`Store::collect_layers`] removes; a death behind it leaves the new state.

use std::time::SystemTime;

use rusqlite::{OptionalExtension, params};

use crate::columns::{to_integer, to_ms};
use crate::limits::LAYERS_CHAIN_MAX;
use crate::{LayerId, NewSnapshot, RecordError, Store, StoreError, WorkspaceId};

/// What a layer is from the moment on at which it is not written any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// A part of what is on top of it.
    None,
    /// What the workspace was made as.
    Baseline {
        /// Files and directories that it was filled with.
        entries: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A snapshot, which names this very layer.
    Snapshot(NewSnapshot),
}

impl Store {
    /// All that a layer stands on, the lowest first, and the layer itself last.
    pub fn chain(&self, id: &LayerId) -> Result<Vec<LayerId>, StoreError> {
        // In one statement: layers may become one meanwhile.
        let query = || -> rusqlite::Result<Vec<(String, Option<String>)>> {
            self.connection
                .prepare_cached(
                    "WITH RECURSIVE chain (id, parent, depth) AS (
                         SELECT id, parent, 1 FROM layers WHERE id = ?1
                         UNION ALL
                         SELECT layers.id, layers.parent, depth + 1
                         FROM chain JOIN layers ON layers.id = chain.parent WHERE depth <= ?2)
                     SELECT id, parent FROM chain ORDER BY depth DESC",
                )?
                .query_map(params![id.as_str(), LAYERS_CHAIN_MAX as i64], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect()
        };
        let rows = query().map_err(|error| self.fail(error))?;
        let is_whole =
            rows.len() <= LAYERS_CHAIN_MAX && rows.first().is_some_and(|(_, parent)| parent.is_none());
        let ids: Option<Vec<LayerId>> = rows.iter().map(|(id, _)| LayerId::parse(id).ok()).collect();
        ids.filter(|_| is_whole).ok_or_else(|| StoreError::LayersBroken(id.clone()))
    }

    /// Puts `new_head` on top of the layer that a workspace writes, which is sealed by it; gives the sealed one.
    pub fn extend(
        &self,
        workspace: &WorkspaceId,
        new_head: &LayerId,
        sealing: &Sealing,
    ) -> Result<LayerId, RecordError> {
        // What is written to the new layer must never be below what a power cut brings back.
        let transaction = self.write_durably()?;
        let head = self.head(workspace)?;
        self.check_length(&head)?;
        self.insert_layer(new_head, Some(&head))?;
        self.change_one(
            "UPDATE workspaces SET head = ?2 WHERE id = ?1",
            params![workspace.as_str(), new_head.as_str()],
        )?;
        match sealing {
            Sealing::None => {}
            Sealing::Baseline { entries, bytes } => self.set_baseline(workspace, &head, *entries, *bytes)?,
            Sealing::Snapshot(snapshot) if snapshot.layer != head => {
                return Err(RecordError::LayerUnknown(snapshot.layer.clone()));
            }
            Sealing::Snapshot(snapshot) => self.insert_snapshot(workspace, snapshot)?,
        }
        transaction.commit().map_err(|error| self.fail(error))?;
        Ok(head)
    }

    /// Within a transaction.
    fn set_baseline(
        &self,
        workspace: &WorkspaceId,
        layer: &LayerId,
        entries: u64,
        bytes: u64,
    ) -> Result<(), StoreError> {
        self.change_one(
            "UPDATE workspaces SET baseline = ?2, baseline_entries = ?3, baseline_bytes = ?4 WHERE id = ?1",
            params![workspace.as_str(), layer.as_str(), to_integer(entries), to_integer(bytes)],
        )
        .map(drop)
    }

    /// Sets a workspace back to a layer, with `new_head` on top of it: what was written since is nobody's any more,
    /// nor is a memory it was paused with, and its history begins anew. What it is set back to is work that nobody has
    /// taken out, unless that is what its changes are counted from. For who holds the workspace, while nothing runs;
    /// outputs of the old history are removed by [`Store::prune_outputs`] behind this.
    pub fn reset(
        &self,
        workspace: &WorkspaceId,
        new_head: &LayerId,
        parent: &LayerId,
    ) -> Result<(), RecordError> {
        let transaction = self.write_durably()?;
        self.check_parent(parent)?;
        self.insert_layer(new_head, Some(parent))?;
        let is_there = self.change_one(
            "UPDATE workspaces SET head = ?2, paused = NULL, reset_count = reset_count + 1, next_sequence = 1,
                 changed_ms = iif(baseline IS ?4 AND drifted = 0, NULL, ?3), taken_ms = NULL,
                 last_used_ms = max(last_used_ms, ?3)
             WHERE id = ?1 AND state = 'ready'",
            params![workspace.as_str(), new_head.as_str(), to_ms(SystemTime::now()), parent.as_str()],
        )?;
        if !is_there {
            return Err(RecordError::Gone(workspace.clone()));
        }
        for table in ["execs", "shells", "services"] {
            self.change_one(
                &format!("DELETE FROM {table} WHERE workspace_id = ?1"),
                params![workspace.as_str()],
            )?;
        }
        transaction.commit().map_err(|error| self.fail(error).into())
    }

    /// From which layer's memory image a workspace goes on when it is started next, if from any. `false` when the
    /// workspace is not there.
    pub fn set_paused(&self, workspace: &WorkspaceId, layer: Option<&LayerId>) -> Result<bool, StoreError> {
        self.be_durable()?;
        self.change_one(
            "UPDATE workspaces SET paused = ?2 WHERE id = ?1 AND state = 'ready'",
            params![workspace.as_str(), layer.map(LayerId::as_str)],
        )
    }

    /// Within a transaction: refuses a layer that cannot have another on top, because it is not there, somebody
    /// writes it, or it has as many below it as there can be.
    pub(crate) fn check_parent(&self, layer: &LayerId) -> Result<(), RecordError> {
        self.check_sealed(layer)?;
        self.check_length(layer)
    }

    /// Within a transaction: refuses a layer that is not there, or that somebody writes.
    pub(crate) fn check_sealed(&self, layer: &LayerId) -> Result<(), RecordError> {
        if !self.has("SELECT 1 FROM layers WHERE id = ?1", layer)? {
            return Err(RecordError::LayerUnknown(layer.clone()));
        }
        if self.has("SELECT 1 FROM workspaces WHERE coalesce(head, id) = ?1", layer)? {
            return Err(RecordError::LayerWritten(layer.clone()));
        }
        Ok(())
    }

    fn check_length(&self, layer: &LayerId) -> Result<(), RecordError> {
        match self.chain(layer)?.len() < LAYERS_CHAIN_MAX {
            true => Ok(()),
            false => Err(RecordError::LayersTooMany(layer.clone())),
        }
    }

    /// Within a transaction.
    pub(crate) fn insert_layer(&self, id: &LayerId, parent: Option<&LayerId>) -> Result<(), StoreError> {
        self.change_one(
            "INSERT INTO layers (id, parent, created_ms) VALUES (?1, ?2, ?3)",
            params![id.as_str(), parent.map(LayerId::as_str), to_ms(SystemTime::now())],
        )
        .map(drop)
    }

    /// The same for one that stands on nothing and may be there.
    pub(crate) fn insert_layer_once(&self, id: &LayerId) -> Result<(), StoreError> {
        self.change_one(
            "INSERT OR IGNORE INTO layers (id, parent, created_ms) VALUES (?1, NULL, ?2)",
            params![id.as_str(), to_ms(SystemTime::now())],
        )
        .map(drop)
    }

    /// The disk of a workspace from before there were layers is a layer. The migration has recorded it, unless a
    /// process of the release before has made the workspace behind it.
    pub(crate) fn record_former_disk(
        &self,
        workspace: &WorkspaceId,
        layer: &LayerId,
    ) -> Result<(), StoreError> {
        let transaction = self.write_durably()?;
        self.insert_layer_once(layer)?;
        self.change_one(
            "UPDATE workspaces SET head = ?2 WHERE id = ?1 AND head IS NULL",
            params![workspace.as_str(), layer.as_str()],
        )?;
        transaction.commit().map_err(|error| self.fail(error))
    }

    /// The layer that a workspace writes, being made or there.
    fn head(&self, workspace: &WorkspaceId) -> Result<LayerId, RecordError> {
        let head: Option<String> = self
            .connection
            .prepare_cached(
                "SELECT coalesce(head, id) FROM workspaces WHERE id = ?1 AND state IN ('creating', 'ready')",
            )
            .and_then(|mut statement| statement.query_row([workspace.as_str()], |row| row.get(0)).optional())
            .map_err(|error| self.fail(error))?;
        let head = head.and_then(|head| LayerId::parse(&head).ok());
        head.ok_or_else(|| RecordError::Gone(workspace.clone()))
    }

    pub(crate) fn has(&self, sql: &str, layer: &LayerId) -> Result<bool, StoreError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.exists([layer.as_str()]))
            .map_err(|error| self.fail(error))
    }
}

#[cfg(test)]
mod tests;
