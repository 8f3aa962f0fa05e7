//! The services of a workspace: what they are, how they stand, and whether they shall run. Their logs are files beside
//! the workspace's disk.

use std::time::SystemTime;

use rusqlite::{OptionalExtension, Row, params};

use crate::columns::{from_ms, to_ms};
use crate::execs::{bounded, command_text};
use crate::limits::{HISTORY_TEXT_BYTES_MAX, SERVICE_DEFINITION_BYTES_MAX, SERVICES_MAX};
use crate::{RecordError, ServiceName, Store, StoreError, WorkspaceId};

/// A service about to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewService {
    /// Its name.
    pub name: ServiceName,
    /// What it is started from again, in the words of who starts it.
    pub definition: Vec<u8>,
    /// Program and arguments, for people.
    pub command: Vec<String>,
    /// Its working directory.
    pub directory: String,
    /// The user of the guest it runs as, if one was named.
    pub user: Option<String>,
    /// What tells that it is ready: `none`, `file`, `tcp`, `http` or `command`.
    pub readiness: String,
    /// Which file, address or command that is.
    pub target: Option<String>,
    /// `no`, `on-failure` or `always`.
    pub restart: String,
}

/// A service as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    /// What it is.
    pub service: NewService,
    /// When it was started, by hand or with its workspace.
    pub started: SystemTime,
    /// How it stands.
    pub news: ServiceNews,
}

/// How a service stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceNews {
    /// Where in its life.
    pub state: ServiceState,
    /// Whether it shall run, and come back with its workspace if its policy says so.
    pub wanted: bool,
    /// How often it was started again since it was started.
    pub restarts: u32,
    /// Since when it is ready.
    pub ready: Option<SystemTime>,
    /// When it last ended.
    pub ended: Option<SystemTime>,
    /// What a shell would show for that end.
    pub exit_code: Option<u8>,
    /// Why it ended.
    pub reason: Option<String>,
}

/// Where in its life a service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceState {
    /// It runs, and is not ready yet.
    #[default]
    Starting,
    /// It runs and is ready.
    Running,
    /// It has ended and will be started again.
    Restarting,
    /// It was stopped.
    Stopped,
    /// It exited with 0, and its policy does not start it again.
    Exited,
    /// It ended in another way, or was not ready in time.
    Failed,
    /// Its VM ended first.
    Lost,
}

impl ServiceState {
    const ALL: [ServiceState; 7] = [
        ServiceState::Starting,
        ServiceState::Running,
        ServiceState::Restarting,
        ServiceState::Stopped,
        ServiceState::Exited,
        ServiceState::Failed,
        ServiceState::Lost,
    ];

    /// The word in the database and for users.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceState::Starting => "starting",
            ServiceState::Running => "running",
            ServiceState::Restarting => "restarting",
            ServiceState::Stopped => "stopped",
            ServiceState::Exited => "exited",
            ServiceState::Failed => "failed",
            ServiceState::Lost => "lost",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<ServiceState> {
        ServiceState::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether there is a process of it, or will be one.
    pub fn is_up(self) -> bool {
        matches!(self, ServiceState::Starting | ServiceState::Running | ServiceState::Restarting)
    }
}

impl Store {
    /// Records a service that is about to be started, in the place of one of the same name.
    pub fn begin_service(&self, workspace: &WorkspaceId, service: &NewService) -> Result<(), RecordError> {
        if service.definition.len() > SERVICE_DEFINITION_BYTES_MAX {
            return Err(RecordError::ServiceTooLong);
        }
        let command = command_text(&service.command)
            .map_err(|error| self.fail(rusqlite::Error::ToSqlConversionFailure(error.into())))?;
        let text = |text: &Option<String>| {
            text.as_deref().map(|text| bounded(text, HISTORY_TEXT_BYTES_MAX).to_owned())
        };
        let transaction = self.write()?;
        self.use_workspace(workspace)?;
        self.change_one(
            "INSERT OR REPLACE INTO services (workspace_id, name, definition, command, cwd, user, readiness, target,
                 restart, state, wanted, started_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'starting', 1,
                 max(?10, 1 + (SELECT coalesce(max(started_ms), 0) FROM services WHERE workspace_id = ?1)))",
            params![
                workspace.as_str(),
                service.name.as_str(),
                service.definition,
                command,
                bounded(&service.directory, HISTORY_TEXT_BYTES_MAX),
                text(&service.user),
                service.readiness,
                text(&service.target),
                service.restart,
                to_ms(SystemTime::now())
            ],
        )?;
        if self.services(workspace)?.len() > SERVICES_MAX {
            return Err(RecordError::ServicesTooMany);
        }
        transaction.commit().map_err(|error| self.fail(error).into())
    }

    /// Records how a service stands.
    pub fn set_service(
        &self,
        workspace: &WorkspaceId,
        name: &ServiceName,
        news: &ServiceNews,
    ) -> Result<(), StoreError> {
        self.change_one(
            "UPDATE services SET state = ?3, wanted = ?4, restarts = ?5, ready_ms = ?6, ended_ms = ?7, exit_code = ?8,
                 reason = ?9 WHERE workspace_id = ?1 AND name = ?2",
            params![
                workspace.as_str(),
                name.as_str(),
                news.state.as_str(),
                news.wanted,
                news.restarts,
                news.ready.map(to_ms),
                news.ended.map(to_ms),
                news.exit_code,
                news.reason.as_deref().map(|reason| bounded(reason, HISTORY_TEXT_BYTES_MAX)),
            ],
        )
        .map(drop)
    }

    /// A workspace's services, in the order they were started.
    pub fn services(&self, workspace: &WorkspaceId) -> Result<Vec<ServiceRecord>, StoreError> {
        let query = || -> rusqlite::Result<Vec<ServiceRecord>> {
            let mut statement = self
                .connection
                .prepare_cached(&format!("{SELECT} WHERE workspace_id = ?1 ORDER BY started_ms, name"))?;
            // A record that this release cannot read is none.
            statement
                .query_map(params![workspace.as_str()], read_record)?
                .filter_map(Result::transpose)
                .collect()
        };
        query().map_err(|error| self.fail(error))
    }

    /// One of them.
    pub fn service(
        &self,
        workspace: &WorkspaceId,
        name: &ServiceName,
    ) -> Result<Option<ServiceRecord>, StoreError> {
        self.connection
            .prepare_cached(&format!("{SELECT} WHERE workspace_id = ?1 AND name = ?2"))
            .and_then(|mut statement| {
                statement.query_row(params![workspace.as_str(), name.as_str()], read_record).optional()
            })
            .map(Option::flatten)
            .map_err(|error| self.fail(error))
    }

    /// Records that the services that ran ended with their VM. Those that shall run still shall.
    pub fn lose_services(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        self.change_one(
            "UPDATE services SET state = 'lost', ended_ms = ?2, exit_code = NULL, reason = 'its VM ended'
             WHERE workspace_id = ?1 AND state IN ('starting', 'running', 'restarting')",
            params![workspace.as_str(), to_ms(SystemTime::now())],
        )
        .map(drop)
    }
}

const SELECT: &str =
    "SELECT name, definition, command, cwd, user, readiness, target, restart, state, wanted, started_ms,
    ready_ms, ended_ms, restarts, exit_code, reason FROM services";

fn read_record(row: &Row<'_>) -> rusqlite::Result<Option<ServiceRecord>> {
    let name = ServiceName::parse(row.get_ref(0)?.as_str()?);
    let state = ServiceState::parse(row.get_ref(8)?.as_str()?);
    let (Ok(name), Some(state)) = (name, state) else { return Ok(None) };
    let time = |index| row.get::<_, Option<i64>>(index).map(|ms| ms.map(from_ms));
    Ok(Some(ServiceRecord {
        service: NewService {
            name,
            definition: row.get(1)?,
            command: serde_json::from_str(row.get_ref(2)?.as_str()?).unwrap_or_default(),
            directory: row.get(3)?,
            user: row.get(4)?,
            readiness: row.get(5)?,
            target: row.get(6)?,
            restart: row.get(7)?,
        },
        started: from_ms(row.get(10)?),
        news: ServiceNews {
            state,
            wanted: row.get(9)?,
            ready: time(11)?,
            ended: time(12)?,
            restarts: row.get(13)?,
            exit_code: row.get(14)?,
            reason: row.get(15)?,
        },
    }))
}

#[cfg(test)]
mod tests;
