//! The shells of a workspace: which there are, and how they ended. What they print is in files beside the workspace's
//! disk.

use std::time::SystemTime;

use rusqlite::{Row, params};

use crate::columns::{from_ms, to_integer, to_ms};
use crate::execs::{bounded, command_text};
use crate::limits::{HISTORY_TEXT_BYTES_MAX, SHELL_RECORDS_KEPT};
use crate::{RecordError, ShellId, Store, StoreError, WorkspaceId};

/// A shell about to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewShell {
    /// Its id.
    pub id: ShellId,
    /// Program and arguments; none for the user's own shell.
    pub command: Vec<String>,
    /// The directory it starts in.
    pub directory: String,
    /// The user of the guest it runs as, if one was named.
    pub user: Option<String>,
    /// Characters in a line of its terminal.
    pub columns: u16,
    /// Lines of its terminal.
    pub rows: u16,
}

/// A shell as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellRecord {
    /// What it is.
    pub shell: NewShell,
    /// When it was opened.
    pub started: SystemTime,
    /// How it ended; `None` while it runs.
    pub end: Option<ShellEnd>,
    /// When.
    pub ended: Option<SystemTime>,
}

/// How a shell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShellEnd {
    /// In what way.
    pub outcome: ShellOutcome,
    /// What a shell would show for it; `None` when nobody knows.
    pub exit_code: Option<u8>,
}

/// In what way a shell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShellOutcome {
    /// It exited.
    Exited,
    /// A signal ended it.
    Signaled,
    /// The guest killed it for want of memory.
    OutOfMemory,
    /// It was closed.
    Closed,
    /// It could not be started.
    Failed,
    /// Its VM ended first.
    Lost,
}

/// A reference that names no one shell.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// It names none.
    #[error("the workspace has no shell `{0}`")]
    Unknown(String),
    /// It names several.
    #[error("`{0}` is the beginning of several shells' ids")]
    Ambiguous(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ShellOutcome {
    const ALL: [ShellOutcome; 6] = [
        ShellOutcome::Exited,
        ShellOutcome::Signaled,
        ShellOutcome::OutOfMemory,
        ShellOutcome::Closed,
        ShellOutcome::Failed,
        ShellOutcome::Lost,
    ];

    /// The word in the database and for users.
    pub fn as_str(self) -> &'static str {
        match self {
            ShellOutcome::Exited => "exited",
            ShellOutcome::Signaled => "signaled",
            ShellOutcome::OutOfMemory => "out_of_memory",
            ShellOutcome::Closed => "closed",
            ShellOutcome::Failed => "failed",
            ShellOutcome::Lost => "lost",
        }
    }

    fn parse(text: &str) -> Option<ShellOutcome> {
        ShellOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

impl Store {
    /// Records a shell that is about to be opened; gives those whose records are too old to be kept, and whose outputs
    /// are the caller's to remove.
    pub fn begin_shell(
        &self,
        workspace: &WorkspaceId,
        shell: &NewShell,
    ) -> Result<Vec<ShellId>, RecordError> {
        let transaction = self.write()?;
        self.use_workspace(workspace)?;
        self.insert_shell(workspace, shell)?;
        let pruned = self.prune_shells(workspace)?;
        transaction.commit().map_err(|error| self.fail(error))?;
        Ok(pruned)
    }

    /// Records that a shell runs on which was lost, as when its workspace was paused.
    pub fn revive_shell(&self, workspace: &WorkspaceId, shell: &NewShell) -> Result<(), RecordError> {
        let transaction = self.write()?;
        self.use_workspace(workspace)?;
        let is_known = self.change_one(
            "UPDATE shells SET ended_ms = NULL, outcome = NULL, exit_code = NULL WHERE workspace_id = ?1 AND id = ?2",
            params![workspace.as_str(), shell.id.as_str()],
        )?;
        if !is_known {
            self.insert_shell(workspace, shell)?;
        }
        transaction.commit().map_err(|error| self.fail(error).into())
    }

    /// Records how a shell ended, once: a later word changes nothing.
    pub fn end_shell(&self, workspace: &WorkspaceId, id: &ShellId, end: &ShellEnd) -> Result<(), StoreError> {
        let now = to_ms(SystemTime::now());
        self.change_one(
            "UPDATE shells SET ended_ms = ?3, outcome = ?4, exit_code = ?5
             WHERE workspace_id = ?1 AND id = ?2 AND outcome IS NULL",
            params![workspace.as_str(), id.as_str(), now, end.outcome.as_str(), end.exit_code],
        )?;
        self.touch_changed(workspace).map(drop)
    }

    /// Records a shell's new size.
    pub fn resize_shell(
        &self,
        workspace: &WorkspaceId,
        id: &ShellId,
        columns: u16,
        rows: u16,
    ) -> Result<(), StoreError> {
        self.change_one(
            "UPDATE shells SET columns = ?3, rows = ?4 WHERE workspace_id = ?1 AND id = ?2",
            params![workspace.as_str(), id.as_str(), columns, rows],
        )
        .map(drop)
    }

    /// A workspace's shells by age.
    pub fn shells(&self, workspace: &WorkspaceId) -> Result<Vec<ShellRecord>, StoreError> {
        let query = || -> rusqlite::Result<Vec<ShellRecord>> {
            let mut statement = self.connection.prepare_cached(
                "SELECT id, command, cwd, user, columns, rows, started_ms, ended_ms, outcome, exit_code
                 FROM shells WHERE workspace_id = ?1 ORDER BY started_ms, id",
            )?;
            let records = statement.query_map(params![workspace.as_str()], read_record)?;
            // A record that this release cannot read is none.
            records.filter_map(Result::transpose).collect()
        };
        query().map_err(|error| self.fail(error))
    }

    /// The shell that has this id, or the only one whose id starts so.
    pub fn shell(&self, workspace: &WorkspaceId, reference: &str) -> Result<ShellRecord, ShellError> {
        let mut found = self.shells(workspace)?;
        found.retain(|record| !reference.is_empty() && record.shell.id.as_str().starts_with(reference));
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err(ShellError::Ambiguous(reference.to_owned())),
            (None, _) => Err(ShellError::Unknown(reference.to_owned())),
        }
    }

    /// Records that the shells that ran ended with their VM.
    pub fn lose_shells(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        self.change_one(
            "UPDATE shells SET ended_ms = ?2, outcome = 'lost' WHERE workspace_id = ?1 AND outcome IS NULL",
            params![workspace.as_str(), to_ms(SystemTime::now())],
        )
        .map(drop)
    }

    /// Within a transaction: takes note that a workspace is used, if it is there.
    pub(crate) fn use_workspace(&self, workspace: &WorkspaceId) -> Result<(), RecordError> {
        let is_there = self.change_one(
            "UPDATE workspaces SET last_used_ms = max(last_used_ms, ?2) WHERE id = ?1 AND state = 'ready'",
            params![workspace.as_str(), to_ms(SystemTime::now())],
        )?;
        if is_there { Ok(()) } else { Err(RecordError::Gone(workspace.clone())) }
    }

    fn insert_shell(&self, workspace: &WorkspaceId, shell: &NewShell) -> Result<(), RecordError> {
        let command = command_text(&shell.command)
            .map_err(|error| self.fail(rusqlite::Error::ToSqlConversionFailure(error.into())))?;
        self.change_one(
            "INSERT INTO shells (workspace_id, id, command, cwd, user, columns, rows, started_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
                 max(?8, 1 + (SELECT coalesce(max(started_ms), 0) FROM shells WHERE workspace_id = ?1)))",
            params![
                workspace.as_str(),
                shell.id.as_str(),
                command,
                bounded(&shell.directory, HISTORY_TEXT_BYTES_MAX),
                shell.user.as_deref().map(|user| bounded(user, HISTORY_TEXT_BYTES_MAX)),
                shell.columns,
                shell.rows,
                to_ms(SystemTime::now())
            ],
        )?;
        Ok(())
    }

    fn prune_shells(&self, workspace: &WorkspaceId) -> Result<Vec<ShellId>, StoreError> {
        let query = || -> rusqlite::Result<Vec<String>> {
            self.connection
                .prepare_cached(
                    "DELETE FROM shells WHERE workspace_id = ?1 AND id IN (
                         SELECT id FROM shells WHERE workspace_id = ?1 AND outcome IS NOT NULL
                         ORDER BY started_ms DESC, id LIMIT -1 OFFSET ?2) RETURNING id",
                )?
                .query_map(params![workspace.as_str(), to_integer(SHELL_RECORDS_KEPT)], |row| row.get(0))?
                .collect()
        };
        let ids = query().map_err(|error| self.fail(error))?;
        Ok(ids.iter().filter_map(|id| ShellId::parse(id).ok()).collect())
    }
}

fn read_record(row: &Row<'_>) -> rusqlite::Result<Option<ShellRecord>> {
    let Ok(id) = ShellId::parse(row.get_ref(0)?.as_str()?) else { return Ok(None) };
    let outcome = row.get::<_, Option<String>>(8)?.and_then(|word| ShellOutcome::parse(&word));
    let exit_code = row.get(9)?;
    Ok(Some(ShellRecord {
        shell: NewShell {
            id,
            command: serde_json::from_str(row.get_ref(1)?.as_str()?).unwrap_or_default(),
            directory: row.get(2)?,
            user: row.get(3)?,
            columns: row.get(4)?,
            rows: row.get(5)?,
        },
        started: from_ms(row.get(6)?),
        ended: row.get::<_, Option<i64>>(7)?.map(from_ms),
        end: outcome.map(|outcome| ShellEnd { outcome, exit_code }),
    }))
}

#[cfg(test)]
mod tests;
