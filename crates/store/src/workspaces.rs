//! Which workspaces there are, and what is recorded of each. It touches no file of theirs.

mod row;

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::SystemTime;

use rusqlite::{OptionalExtension, Transaction, params};

use crate::columns::{to_integer, to_ms};
use crate::limits::WORKSPACES_MAX;
use crate::{
    ImageKey, LabelKey, LabelValue, Labels, LayerId, RecordError, Store, StoreError, VmId, WorkspaceId,
    WorkspaceName,
};
use row::{SELECT, read};

/// A workspace about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWorkspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name, which no other has.
    pub name: Option<WorkspaceName>,
    /// Its labels.
    pub labels: Labels,
    /// Its environment's name.
    pub environment: String,
    /// Which base image it stands on.
    pub base_digest: ImageKey,
    /// Which blank disk is under its own.
    pub blank_recipe: ImageKey,
    /// `kvm` or `tcg`: what its first VM ran on.
    pub accelerator: String,
    /// Virtual processors.
    pub vcpu_count: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Its VM ends when it was not used for so many seconds.
    pub ttl_seconds: Option<u64>,
    /// What its baseline was filled with.
    pub seed: Option<Seed>,
    /// The layer of its disk that is written; in a record, the present one.
    pub head: LayerId,
    /// What that layer stands on; in a record, the baseline, or the head of one that has none.
    pub origin: Origin,
}

/// What a new workspace's disk stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A template's disk, which is kept as a layer from then on.
    Template {
        /// Under this id.
        layer: LayerId,
        /// Where the template has it.
        file: PathBuf,
    },
    /// A layer that is there, and that nobody writes.
    Layer(LayerId),
}

/// Where a baseline came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// From what.
    pub kind: SeedKind,
    /// From where.
    pub path: PathBuf,
}

/// What a seed is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedKind {
    /// A directory of the host.
    Directory,
    /// An archive file.
    Archive,
}

/// A workspace as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceRecord {
    /// What it was made as, with the name, labels and TTL it has now.
    pub workspace: NewWorkspace,
    /// What its network may reach.
    pub network_policy: String,
    /// When it was made.
    pub created: SystemTime,
    /// When it was used last.
    pub last_used: SystemTime,
    /// Whether it is there.
    pub state: WorkspaceState,
    /// Number of its next command.
    pub next_sequence: u64,
    /// How often it was reset.
    pub reset_count: u32,
    /// Its VM, while it has one.
    pub vm_id: Option<VmId>,
    /// When something in it was last changed, as far as calls tell: a command ended, or files were put in.
    pub changed: Option<SystemTime>,
    /// When all of its changes were last taken out.
    pub taken: Option<SystemTime>,
    /// The layer of its disk that is written.
    pub head: LayerId,
    /// The layer that it was made as. `None` until a seed is sealed, and for good in one that was made before there
    /// were layers.
    pub baseline: Option<LayerId>,
    /// The layer whose memory image it goes on from, while it is paused.
    pub paused: Option<LayerId>,
}

/// Whether a workspace is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkspaceState {
    /// Not yet: it goes with the shim that makes it.
    Creating,
    /// Yes.
    Ready,
    /// No longer: what is left of it is being removed.
    Deleting,
}

/// Which workspaces are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// Those that have this label,
    pub key: LabelKey,
    /// with this value if there is one.
    pub value: Option<LabelValue>,
}

impl SeedKind {
    /// The word in the database and for users.
    pub fn as_str(self) -> &'static str {
        match self {
            SeedKind::Directory => "directory",
            SeedKind::Archive => "archive",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<SeedKind> {
        [SeedKind::Directory, SeedKind::Archive].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl WorkspaceState {
    /// The word in the database and for users.
    pub fn as_str(self) -> &'static str {
        match self {
            WorkspaceState::Creating => "creating",
            WorkspaceState::Ready => "ready",
            WorkspaceState::Deleting => "deleting",
        }
    }

    fn parse(text: &str) -> Option<WorkspaceState> {
        [WorkspaceState::Creating, WorkspaceState::Ready, WorkspaceState::Deleting]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

impl NewWorkspace {
    /// What it is made as, unless a seed is yet to come. A copy has the seed of the other one, and is there.
    fn baseline(&self) -> Option<&LayerId> {
        match &self.origin {
            Origin::Template { .. } if self.seed.is_some() => None,
            origin => Some(origin.layer()),
        }
    }
}

impl Origin {
    /// The layer.
    pub fn layer(&self) -> &LayerId {
        match self {
            Origin::Template { layer, .. } | Origin::Layer(layer) => layer,
        }
    }
}

impl LabelFilter {
    fn accepts(&self, labels: &Labels) -> bool {
        labels.get(&self.key).is_some_and(|has| self.value.as_ref().is_none_or(|wanted| wanted == has))
    }
}

impl Store {
    /// Records a workspace that is being made, with the layer it will write and, if that is new, the one below.
    pub fn insert_workspace(&self, new: &NewWorkspace) -> Result<(), RecordError> {
        let transaction = self.write()?;
        if let Origin::Template { layer, .. } = &new.origin {
            self.insert_layer_once(layer)?;
        }
        self.check_parent(new.origin.layer())?;
        self.insert_layer(&new.head, Some(new.origin.layer()))?;
        let drifted = self.has_drifted(&new.origin)?;
        let now = to_ms(SystemTime::now());
        let insert = || -> rusqlite::Result<()> {
            transaction.execute(
                "INSERT INTO workspaces (id, name, environment, base_digest, blank_recipe, accelerator,
                     vcpu_count, memory_mib, ttl_seconds, seed_kind, seed_path, created_ms, last_used_ms, state,
                     head, baseline, drifted, changed_ms, baseline_entries, baseline_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, 'creating', ?13, ?14, ?15, ?16,
                     coalesce((SELECT entries FROM snapshots WHERE layer = ?14),
                         (SELECT max(baseline_entries) FROM workspaces WHERE baseline = ?14), 0),
                     coalesce((SELECT bytes FROM snapshots WHERE layer = ?14),
                         (SELECT max(baseline_bytes) FROM workspaces WHERE baseline = ?14), 0))",
                params![
                    new.id.as_str(),
                    new.name.as_ref().map(WorkspaceName::as_str),
                    new.environment,
                    new.base_digest.as_str(),
                    new.blank_recipe.as_str(),
                    new.accelerator,
                    new.vcpu_count,
                    new.memory_mib,
                    new.ttl_seconds.map(to_integer),
                    new.seed.as_ref().map(|seed| seed.kind.as_str()),
                    new.seed.as_ref().map(|seed| seed.path.as_os_str().as_bytes()),
                    now,
                    new.head.as_str(),
                    new.baseline().map(LayerId::as_str),
                    drifted,
                    drifted.then_some(now),
                ],
            )?;
            for (key, value) in new.labels.iter() {
                set_label(&transaction, &new.id, key, value)?;
            }
            Ok(())
        };
        insert().map_err(|error| self.name_taken(error, new.name.as_ref()))?;
        transaction.commit().map_err(|error| self.fail(error).into())
    }

    /// Whether what a new workspace stands on is something else than what its changes are counted from: a copy is
    /// compared with what its source was made as. A copy of just that has no changes.
    fn has_drifted(&self, origin: &Origin) -> Result<bool, StoreError> {
        match origin {
            Origin::Template { .. } => Ok(false),
            Origin::Layer(layer) => self
                .has("SELECT 1 FROM workspaces WHERE baseline = ?1 AND drifted = 0", layer)
                .map(|is_baseline| !is_baseline),
        }
    }

    /// A workspace that was being made is there from now on, and run by `vm_id`. `false` when it was not
    /// being made any more.
    pub fn set_ready(&self, id: &WorkspaceId, vm_id: Option<&VmId>) -> Result<bool, StoreError> {
        self.change_one(
            "UPDATE workspaces SET state = 'ready', vm_id = ?2 WHERE id = ?1 AND state = 'creating'",
            params![id.as_str(), vm_id.map(VmId::as_str)],
        )
    }

    /// Which VM runs a workspace now, if any. `false` when the workspace is not there.
    pub fn set_vm(&self, id: &WorkspaceId, vm_id: Option<&VmId>) -> Result<bool, StoreError> {
        self.change_one(
            "UPDATE workspaces SET vm_id = ?2 WHERE id = ?1 AND state = 'ready'",
            params![id.as_str(), vm_id.map(VmId::as_str)],
        )
    }

    /// A workspace was used now.
    pub fn touch(&self, id: &WorkspaceId) -> Result<(), StoreError> {
        let now = to_ms(SystemTime::now());
        self.change_one(
            "UPDATE workspaces SET last_used_ms = max(last_used_ms, ?2) WHERE id = ?1",
            params![id.as_str(), now],
        )
        .map(drop)
    }

    /// A workspace was used now, and what is in it may be other than before.
    pub fn touch_changed(&self, id: &WorkspaceId) -> Result<(), StoreError> {
        let now = to_ms(SystemTime::now());
        self.change_one(
            "UPDATE workspaces SET last_used_ms = max(last_used_ms, ?2), changed_ms = ?2 WHERE id = ?1",
            params![id.as_str(), now],
        )
        .map(drop)
    }

    /// Everything that has changed in a workspace by now was taken out of it.
    pub fn set_taken(&self, id: &WorkspaceId) -> Result<(), StoreError> {
        let now = to_ms(SystemTime::now());
        self.change_one("UPDATE workspaces SET taken_ms = ?2 WHERE id = ?1", params![id.as_str(), now])
            .map(drop)
    }

    /// From now on a workspace is not there any more, its name is free, and what is left of it will be removed
    /// whatever happens. `false` when it was not there.
    pub fn mark_deleting(&self, id: &WorkspaceId) -> Result<bool, StoreError> {
        // Files go next: a power cut must not bring back a workspace that has lost some.
        self.be_durable()?;
        self.change_one(
            "UPDATE workspaces SET state = 'deleting', name = NULL WHERE id = ?1 AND state <> 'deleting'",
            params![id.as_str()],
        )
    }

    /// Forgets a workspace with its labels and history; its files must be gone.
    pub(crate) fn forget_workspace(&self, id: &WorkspaceId) -> Result<(), StoreError> {
        self.change_one("DELETE FROM workspaces WHERE id = ?1", params![id.as_str()]).map(drop)
    }

    /// One workspace, in whatever state.
    pub fn workspace(&self, id: &WorkspaceId) -> Result<Option<WorkspaceRecord>, StoreError> {
        let record = self
            .connection
            .prepare_cached(&format!("{SELECT} WHERE id = ?1"))
            .and_then(|mut statement| statement.query_row(params![id.as_str()], read).optional())
            .map_err(|error| self.fail(error))?;
        let Some(mut record) = record.flatten() else { return Ok(None) };
        record.workspace.labels = self.labels(id)?;
        Ok(Some(record))
    }

    /// The workspaces that are there and have all these labels, oldest first.
    pub fn workspaces(&self, filters: &[LabelFilter]) -> Result<Vec<WorkspaceRecord>, StoreError> {
        let mut records = self.all_workspaces()?;
        records.retain(|record| record.state == WorkspaceState::Ready);
        for record in &mut records {
            record.workspace.labels = self.labels(&record.workspace.id)?;
        }
        records.retain(|record| filters.iter().all(|filter| filter.accepts(&record.workspace.labels)));
        Ok(records)
    }

    /// Every workspace in every state, without labels.
    pub(crate) fn all_workspaces(&self) -> Result<Vec<WorkspaceRecord>, StoreError> {
        let query = || -> rusqlite::Result<Vec<Option<WorkspaceRecord>>> {
            let mut statement =
                self.connection.prepare_cached(&format!("{SELECT} ORDER BY created_ms, id LIMIT ?1"))?;
            statement.query_map(params![WORKSPACES_MAX as i64], read)?.collect()
        };
        let records = query().map_err(|error| self.fail(error))?;
        Ok(records.into_iter().flatten().collect())
    }

    fn labels(&self, id: &WorkspaceId) -> Result<Labels, StoreError> {
        read_labels(&self.connection, id).map_err(|error| self.fail(error))
    }

    /// Tells a name that is taken from every other trouble.
    pub(crate) fn name_taken(&self, error: rusqlite::Error, name: Option<&WorkspaceName>) -> RecordError {
        let is_unique = error
            .sqlite_error()
            .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE);
        match name {
            Some(name) if is_unique => RecordError::NameTaken(name.clone()),
            _ => RecordError::Store(self.fail(error)),
        }
    }

    pub(crate) fn change_one(&self, sql: &str, values: impl rusqlite::Params) -> Result<bool, StoreError> {
        let changed = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        changed.map(|rows| rows > 0).map_err(|error| self.fail(error))
    }
}

/// Sets one label, in place of an older one of that key.
pub(crate) fn set_label(
    transaction: &Transaction<'_>,
    id: &WorkspaceId,
    key: &LabelKey,
    value: &LabelValue,
) -> rusqlite::Result<usize> {
    transaction.execute(
        "INSERT OR REPLACE INTO workspace_labels (workspace_id, key, value) VALUES (?1, ?2, ?3)",
        params![id.as_str(), key.as_str(), value.as_str()],
    )
}

/// The labels of one workspace; what is none is passed over.
pub(crate) fn read_labels(connection: &rusqlite::Connection, id: &WorkspaceId) -> rusqlite::Result<Labels> {
    let mut statement =
        connection.prepare_cached("SELECT key, value FROM workspace_labels WHERE workspace_id = ?1")?;
    let pairs: Vec<(String, String)> = statement
        .query_map(params![id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let labels = pairs
        .iter()
        .filter_map(|(key, value)| Some((LabelKey::parse(key).ok()?, LabelValue::parse(value).ok()?)))
        .collect();
    Ok(Labels::new(labels).unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod tests;
