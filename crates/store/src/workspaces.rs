//! Which workspaces there are, and what is recorded of each. It touches no file of theirs.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::limits::WORKSPACES_MAX;
use crate::{ImageKey, LabelKey, LabelValue, Labels, Store, StoreError, VmId, WorkspaceId, WorkspaceName};

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

/// A workspace could not be recorded, or its record not be changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Another workspace has this name.
    #[error("another workspace has the name `{0}`")]
    NameTaken(WorkspaceName),
    /// There is no such workspace.
    #[error("there is no workspace {0}")]
    Gone(WorkspaceId),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
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

impl LabelFilter {
    fn accepts(&self, labels: &Labels) -> bool {
        labels.get(&self.key).is_some_and(|has| self.value.as_ref().is_none_or(|wanted| wanted == has))
    }
}

impl Store {
    /// Records a workspace that is being made.
    pub fn insert_workspace(&self, new: &NewWorkspace) -> Result<(), RecordError> {
        let transaction = self.write()?;
        let insert = || -> rusqlite::Result<()> {
            transaction.execute(
                "INSERT INTO workspaces (id, name, environment, base_digest, blank_recipe, accelerator,
                     vcpu_count, memory_mib, ttl_seconds, seed_kind, seed_path, created_ms, last_used_ms, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, 'creating')",
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
                    to_ms(SystemTime::now()),
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
        self.connection.pragma_update(None, "synchronous", "full").map_err(|error| self.fail(error))?;
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
            .and_then(|mut statement| statement.query_row(params![id.as_str()], read_record).optional())
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
            statement.query_map(params![WORKSPACES_MAX as i64], read_record)?.collect()
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

    fn change_one(&self, sql: &str, values: impl rusqlite::Params) -> Result<bool, StoreError> {
        let changed = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        changed.map(|rows| rows > 0).map_err(|error| self.fail(error))
    }
}

const SELECT: &str = "SELECT id, name, environment, base_digest, blank_recipe, accelerator, vcpu_count,
    memory_mib, ttl_seconds, network_policy, seed_kind, seed_path, created_ms, last_used_ms, state,
    next_sequence, reset_count, vm_id, changed_ms, taken_ms FROM workspaces";

/// `None` for a row whose keys are none: they name no files and are never acted on.
fn read_record(row: &Row<'_>) -> rusqlite::Result<Option<WorkspaceRecord>> {
    let text = |column: usize| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let optional = |column: usize| row.get::<_, Option<String>>(column);
    let (Ok(id), Ok(base_digest), Ok(blank_recipe), Some(state)) = (
        WorkspaceId::parse(text(0)?),
        ImageKey::parse(text(3)?),
        ImageKey::parse(text(4)?),
        WorkspaceState::parse(text(14)?),
    ) else {
        return Ok(None);
    };
    let seed_kind = optional(10)?.and_then(|kind| SeedKind::parse(&kind));
    let seed_path: Option<Vec<u8>> = row.get(11)?;
    let seed = seed_kind
        .zip(seed_path)
        .map(|(kind, path)| Seed { kind, path: PathBuf::from(OsString::from_vec(path)) });
    let number = |column: usize| row.get::<_, i64>(column).map(from_integer);
    Ok(Some(WorkspaceRecord {
        workspace: NewWorkspace {
            id,
            name: optional(1)?.and_then(|name| WorkspaceName::parse(&name).ok()),
            labels: Labels::default(),
            environment: row.get(2)?,
            base_digest,
            blank_recipe,
            accelerator: row.get(5)?,
            vcpu_count: row.get(6)?,
            memory_mib: row.get(7)?,
            ttl_seconds: row.get::<_, Option<i64>>(8)?.map(from_integer),
            seed,
        },
        network_policy: row.get(9)?,
        created: from_ms(row.get(12)?),
        last_used: from_ms(row.get(13)?),
        state,
        next_sequence: number(15)?,
        reset_count: row.get(16)?,
        vm_id: optional(17)?.and_then(|id| VmId::parse(&id).ok()),
        changed: row.get::<_, Option<i64>>(18)?.map(from_ms),
        taken: row.get::<_, Option<i64>>(19)?.map(from_ms),
    }))
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

/// Milliseconds since 1970.
pub(crate) fn to_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time from milliseconds since 1970.
pub(crate) fn from_ms(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(from_integer(ms))
}

/// SQLite's integers have a sign; what is too large for one is as good as the largest.
pub(crate) fn to_integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The way back.
pub(crate) fn from_integer(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
