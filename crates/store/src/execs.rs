//! The history of a workspace: which commands ran in it, and how they ended. Outputs are files beside the
//! workspace's disk; this keeps their lengths alone.

use std::time::{Duration, SystemTime};

use rusqlite::{OptionalExtension, Row, params};

use crate::columns::{from_integer, from_ms, to_integer, to_ms};
use crate::limits::{
    HISTORY_COMMAND_BYTES_MAX, HISTORY_READ_RECORDS_MAX, HISTORY_RECORDS_KEPT, HISTORY_TEXT_BYTES_MAX,
};
use crate::{RecordError, Store, StoreError, WorkspaceId};

/// A command about to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewExec {
    /// Program and arguments; what is not UTF-8 in them is shown as such.
    pub command: Vec<String>,
    /// Its working directory.
    pub directory: String,
    /// The user of the guest it runs as, if one was named.
    pub user: Option<String>,
    /// Whether nobody waits for it.
    pub detached: bool,
}

/// A command as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRecord {
    /// Its number, from 1.
    pub sequence: u64,
    /// What it is.
    pub exec: NewExec,
    /// When it began.
    pub started: SystemTime,
    /// How it ended; `None` while it runs.
    pub end: Option<ExecEnd>,
    /// When.
    pub ended: Option<SystemTime>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecEnd {
    /// In what way.
    pub outcome: ExecOutcome,
    /// What a shell would show for it; `None` when nobody knows.
    pub exit_code: Option<u8>,
    /// How long it ran, by the guest's clock.
    pub duration: Option<Duration>,
    /// Bytes it wrote to standard output, kept or not.
    pub stdout_bytes: u64,
    /// And to standard error.
    pub stderr_bytes: u64,
}

/// In what way a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecOutcome {
    /// It exited.
    Exited,
    /// A signal ended it.
    Signaled,
    /// Its time limit ended it.
    TimedOut,
    /// The guest killed it for want of memory.
    OutOfMemory,
    /// It could not be started.
    Failed,
    /// Nobody knows: its VM ended first.
    Lost,
}

impl ExecOutcome {
    const ALL: [ExecOutcome; 6] = [
        ExecOutcome::Exited,
        ExecOutcome::Signaled,
        ExecOutcome::TimedOut,
        ExecOutcome::OutOfMemory,
        ExecOutcome::Failed,
        ExecOutcome::Lost,
    ];

    /// The word in the database and for users.
    pub fn as_str(self) -> &'static str {
        match self {
            ExecOutcome::Exited => "exited",
            ExecOutcome::Signaled => "signaled",
            ExecOutcome::TimedOut => "timed_out",
            ExecOutcome::OutOfMemory => "out_of_memory",
            ExecOutcome::Failed => "failed",
            ExecOutcome::Lost => "lost",
        }
    }

    fn parse(text: &str) -> Option<ExecOutcome> {
        ExecOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

impl Store {
    /// Records a command that is about to run; gives its number. Records beyond those kept go.
    pub fn begin_exec(&self, workspace: &WorkspaceId, exec: &NewExec) -> Result<u64, RecordError> {
        let now = to_ms(SystemTime::now());
        let command = command_text(&exec.command)
            .map_err(|error| self.fail(rusqlite::Error::ToSqlConversionFailure(error.into())))?;
        let transaction = self.write()?;
        let insert = || -> rusqlite::Result<Option<i64>> {
            let sequence: Option<i64> = transaction
                .prepare_cached(
                    "UPDATE workspaces SET next_sequence = next_sequence + 1,
                         last_used_ms = max(last_used_ms, ?2)
                     WHERE id = ?1 AND state = 'ready' RETURNING next_sequence - 1",
                )?
                .query_row(params![workspace.as_str(), now], |row| row.get(0))
                .optional()?;
            let Some(sequence) = sequence else { return Ok(None) };
            transaction
                .prepare_cached(
                    "INSERT INTO execs (workspace_id, sequence, command, cwd, user, detached, started_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    workspace.as_str(),
                    sequence,
                    command,
                    bounded(&exec.directory, HISTORY_TEXT_BYTES_MAX),
                    exec.user.as_deref().map(|user| bounded(user, HISTORY_TEXT_BYTES_MAX)),
                    exec.detached,
                    now
                ])?;
            transaction
                .prepare_cached(
                    "DELETE FROM execs WHERE workspace_id = ?1 AND sequence <= ?2 AND outcome IS NOT NULL",
                )?
                .execute(params![
                    workspace.as_str(),
                    sequence.saturating_sub(to_integer(HISTORY_RECORDS_KEPT))
                ])?;
            Ok(Some(sequence))
        };
        let sequence = insert().map_err(|error| self.fail(error))?;
        let sequence = sequence.ok_or_else(|| RecordError::Gone(workspace.clone()))?;
        transaction.commit().map_err(|error| self.fail(error))?;
        Ok(from_integer(sequence))
    }

    /// Records how a command ended, once: a later word changes nothing.
    pub fn end_exec(&self, workspace: &WorkspaceId, sequence: u64, end: &ExecEnd) -> Result<(), StoreError> {
        let now = to_ms(SystemTime::now());
        let transaction = self.write()?;
        let update = || -> rusqlite::Result<()> {
            transaction
                .prepare_cached(
                    "UPDATE execs SET ended_ms = ?3, outcome = ?4, exit_code = ?5, duration_ms = ?6,
                         stdout_bytes = ?7, stderr_bytes = ?8
                     WHERE workspace_id = ?1 AND sequence = ?2 AND outcome IS NULL",
                )?
                .execute(params![
                    workspace.as_str(),
                    to_integer(sequence),
                    now,
                    end.outcome.as_str(),
                    end.exit_code,
                    end.duration.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
                    to_integer(end.stdout_bytes),
                    to_integer(end.stderr_bytes),
                ])?;
            transaction
                .prepare_cached(
                    "UPDATE workspaces SET last_used_ms = max(last_used_ms, ?2), changed_ms = ?2 WHERE id = ?1",
                )?
                .execute(params![workspace.as_str(), now])?;
            Ok(())
        };
        update().map_err(|error| self.fail(error))?;
        transaction.commit().map_err(|error| self.fail(error))
    }

    /// Commands whose end is not recorded.
    pub fn running_execs(&self, workspace: &WorkspaceId) -> Result<Vec<u64>, StoreError> {
        let query = || -> rusqlite::Result<Vec<i64>> {
            self.connection
                .prepare_cached("SELECT sequence FROM execs WHERE workspace_id = ?1 AND outcome IS NULL")?
                .query_map(params![workspace.as_str()], |row| row.get(0))?
                .collect()
        };
        let sequences = query().map_err(|error| self.fail(error))?;
        Ok(sequences.into_iter().map(from_integer).collect())
    }

    /// Commands from number `from` on, at most `limit`, in order.
    pub fn execs(
        &self,
        workspace: &WorkspaceId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ExecRecord>, StoreError> {
        let limit = limit.min(HISTORY_READ_RECORDS_MAX) as i64;
        let query = || -> rusqlite::Result<Vec<ExecRecord>> {
            let mut statement = self.connection.prepare_cached(&format!(
                "{SELECT} WHERE workspace_id = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT ?3"
            ))?;
            statement.query_map(params![workspace.as_str(), to_integer(from), limit], read_record)?.collect()
        };
        query().map_err(|error| self.fail(error))
    }

    /// One command.
    pub fn exec(&self, workspace: &WorkspaceId, sequence: u64) -> Result<Option<ExecRecord>, StoreError> {
        self.connection
            .prepare_cached(&format!("{SELECT} WHERE workspace_id = ?1 AND sequence = ?2"))
            .and_then(|mut statement| {
                statement.query_row(params![workspace.as_str(), to_integer(sequence)], read_record).optional()
            })
            .map_err(|error| self.fail(error))
    }

    /// Forgets a workspace's history and counts from 1 again; for who holds the workspace, while nothing runs.
    pub fn clear_execs(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        let transaction = self.write()?;
        let clear = || -> rusqlite::Result<()> {
            transaction.execute("DELETE FROM execs WHERE workspace_id = ?1", params![workspace.as_str()])?;
            transaction.execute(
                "UPDATE workspaces SET next_sequence = 1 WHERE id = ?1",
                params![workspace.as_str()],
            )?;
            Ok(())
        };
        clear().map_err(|error| self.fail(error))?;
        transaction.commit().map_err(|error| self.fail(error))
    }
}

const SELECT: &str =
    "SELECT sequence, command, cwd, user, detached, started_ms, ended_ms, outcome, exit_code,
    duration_ms, stdout_bytes, stderr_bytes FROM execs";

fn read_record(row: &Row<'_>) -> rusqlite::Result<ExecRecord> {
    let outcome = row.get::<_, Option<String>>(7)?.and_then(|word| ExecOutcome::parse(&word));
    let exit_code: Option<u8> = row.get(8)?;
    let duration_ms: Option<i64> = row.get(9)?;
    let (stdout_bytes, stderr_bytes): (i64, i64) = (row.get(10)?, row.get(11)?);
    Ok(ExecRecord {
        sequence: from_integer(row.get(0)?),
        exec: NewExec {
            command: serde_json::from_str(row.get_ref(1)?.as_str()?).unwrap_or_default(),
            directory: row.get(2)?,
            user: row.get(3)?,
            detached: row.get(4)?,
        },
        started: from_ms(row.get(5)?),
        ended: row.get::<_, Option<i64>>(6)?.map(from_ms),
        end: outcome.map(|outcome| ExecEnd {
            outcome,
            exit_code,
            duration: duration_ms.map(|ms| Duration::from_millis(from_integer(ms))),
            stdout_bytes: from_integer(stdout_bytes),
            stderr_bytes: from_integer(stderr_bytes),
        }),
    })
}

/// A JSON array of the words, as many as fit.
pub(crate) fn command_text(command: &[String]) -> serde_json::Result<String> {
    let mut room = HISTORY_COMMAND_BYTES_MAX;
    let mut words = Vec::new();
    for word in command {
        let kept = bounded(word, room);
        words.push(kept);
        if kept.len() < word.len() {
            break;
        }
        room -= kept.len();
    }
    serde_json::to_string(&words)
}

/// The beginning of a text, cut between two characters.
pub(crate) fn bounded(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
