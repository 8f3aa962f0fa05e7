//! Snapshots: names for sealed layers of a workspace's disk, some with the memory of the same moment.

use std::time::SystemTime;

use rusqlite::{Row, params};

use crate::columns::{from_integer, from_ms, to_integer, to_ms};
use crate::limits::SNAPSHOTS_MAX;
use crate::{LayerId, RecordError, SnapshotName, Store, StoreError, WorkspaceId, WorkspaceState};

/// A snapshot about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name, which no other of the workspace has.
    pub name: SnapshotName,
    /// The layer that it is.
    pub layer: LayerId,
    /// Whether the memory was kept too.
    pub has_memory: bool,
    /// Files and directories on the disk.
    pub entries: u64,
    /// Bytes that were written for it.
    pub bytes: u64,
}

/// A snapshot as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its name.
    pub name: SnapshotName,
    /// The layer that it is.
    pub layer: LayerId,
    /// Whether the memory was kept too.
    pub has_memory: bool,
    /// Files and directories on the disk; of a baseline, those it was filled with.
    pub entries: u64,
    /// Bytes that were written for it; of a baseline, those it was filled with.
    pub bytes: u64,
    /// When it was taken.
    pub created: SystemTime,
    /// Whether it is what the workspace was made as.
    pub is_baseline: bool,
}

impl Store {
    /// Names a layer that is sealed already, as when its memory had to be stored first. The layer must have been
    /// kept meanwhile: by a hold, or by the birth lock.
    pub fn add_snapshot(&self, workspace: &WorkspaceId, snapshot: &NewSnapshot) -> Result<(), RecordError> {
        let transaction = self.write_durably()?;
        match self.workspace(workspace)? {
            Some(record) if record.state != WorkspaceState::Deleting => {}
            _ => return Err(RecordError::Gone(workspace.clone())),
        }
        self.check_sealed(&snapshot.layer)?;
        self.insert_snapshot(workspace, snapshot)?;
        transaction.commit().map_err(|error| self.fail(error).into())
    }

    /// A workspace's snapshots by age, without its baseline.
    pub fn snapshots(&self, workspace: &WorkspaceId) -> Result<Vec<SnapshotRecord>, StoreError> {
        let query = || -> rusqlite::Result<Vec<Option<SnapshotRecord>>> {
            let mut statement = self.connection.prepare_cached(&format!(
                "{SELECT} WHERE workspace_id = ?1 ORDER BY created_ms, name LIMIT ?2"
            ))?;
            statement.query_map(params![workspace.as_str(), SNAPSHOTS_MAX as i64], read)?.collect()
        };
        let records = query().map_err(|error| self.fail(error))?;
        Ok(records.into_iter().flatten().collect())
    }

    /// One snapshot, the baseline included.
    pub fn snapshot(
        &self,
        workspace: &WorkspaceId,
        name: &SnapshotName,
    ) -> Result<Option<SnapshotRecord>, StoreError> {
        if name.is_baseline() {
            let Some(record) = self.workspace(workspace)? else { return Ok(None) };
            let Some(layer) = record.baseline else { return Ok(None) };
            let (entries, bytes) = self.baseline_sizes(workspace)?;
            return Ok(Some(SnapshotRecord {
                name: SnapshotName::baseline(),
                layer,
                has_memory: false,
                entries,
                bytes,
                created: record.created,
                is_baseline: true,
            }));
        }
        Ok(self.snapshots(workspace)?.into_iter().find(|record| record.name == *name))
    }

    /// Forgets a snapshot; its layer stays for as long as something else needs it. `false` when there is none of
    /// this name, as there never is of a baseline's.
    pub fn delete_snapshot(&self, workspace: &WorkspaceId, name: &SnapshotName) -> Result<bool, StoreError> {
        self.change_one(
            "DELETE FROM snapshots WHERE workspace_id = ?1 AND name = ?2",
            params![workspace.as_str(), name.as_str()],
        )
    }

    fn baseline_sizes(&self, workspace: &WorkspaceId) -> Result<(u64, u64), StoreError> {
        self.connection
            .prepare_cached("SELECT baseline_entries, baseline_bytes FROM workspaces WHERE id = ?1")
            .and_then(|mut statement| {
                statement.query_row([workspace.as_str()], |row| {
                    Ok((from_integer(row.get(0)?), from_integer(row.get(1)?)))
                })
            })
            .map_err(|error| self.fail(error))
    }

    /// Within a transaction that has looked at the layer.
    pub(crate) fn insert_snapshot(
        &self,
        workspace: &WorkspaceId,
        snapshot: &NewSnapshot,
    ) -> Result<(), RecordError> {
        if snapshot.name.is_baseline() {
            return Err(RecordError::SnapshotReserved(snapshot.name.clone()));
        }
        let others = self.snapshots(workspace)?;
        if others.iter().any(|other| other.name == snapshot.name) {
            return Err(RecordError::SnapshotTaken(snapshot.name.clone()));
        }
        if others.len() >= SNAPSHOTS_MAX {
            return Err(RecordError::SnapshotsTooMany);
        }
        self.change_one(
            "INSERT INTO snapshots (workspace_id, name, layer, has_memory, entries, bytes, created_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                workspace.as_str(),
                snapshot.name.as_str(),
                snapshot.layer.as_str(),
                snapshot.has_memory,
                to_integer(snapshot.entries),
                to_integer(snapshot.bytes),
                to_ms(SystemTime::now())
            ],
        )?;
        Ok(())
    }
}

const SELECT: &str = "SELECT name, layer, has_memory, entries, bytes, created_ms FROM snapshots";

/// `None` for a row that names nothing: what it refers to is kept all the same.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<SnapshotRecord>> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let (Ok(name), Ok(layer)) = (SnapshotName::parse(text(0)?), LayerId::parse(text(1)?)) else {
        return Ok(None);
    };
    Ok(Some(SnapshotRecord {
        name,
        layer,
        has_memory: row.get(2)?,
        entries: from_integer(row.get(3)?),
        bytes: from_integer(row.get(4)?),
        created: from_ms(row.get(5)?),
        is_baseline: false,
    }))
}

#[cfg(test)]
mod tests;
