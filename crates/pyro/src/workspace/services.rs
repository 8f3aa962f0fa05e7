//! Services: commands of a workspace that are kept running, and that are ready when they are said to be. What is known of
//! them, and their logs, are read from this host's files.

mod log;
mod orders;
mod readiness;

use pyro_store::{ServiceName, ServiceRecord, WorkspaceRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::{called, timestamp};
use crate::failure::remedies;
use crate::results::shell_words;
use crate::{Code, Failure, Pyro};

pub use log::{LogEntry, ServiceLog, Tail};
pub use orders::ServiceRequest;
pub use readiness::Readiness;

/// A service in lists and results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ServiceInfo {
    /// Its name.
    pub service_name: String,
    /// `starting`, `running` (and ready), `restarting`, `paused` (with its workspace), `stopped`, `exited` (with 0), `failed` or `lost` (its VM ended
    /// with it).
    pub state: &'static str,
    /// Its command as a shell would take it.
    pub command: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its working directory.
    pub cwd: String,
    /// As whom, when that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What tells that it is ready: `none`, `file`, `tcp`, `http` or `command`.
    pub readiness: String,
    /// Which file, address or command that is.
    pub readiness_target: Option<String>,
    /// `no`, `on-failure` or `always`.
    pub restart: String,
    /// How often it was started again since it was started.
    pub restarts: u32,
    /// When it was started, by hand or with its workspace.
    pub started_at: String,
    /// Since when it is ready.
    pub ready_at: Option<String>,
    /// When it last ended.
    pub ended_at: Option<String>,
    /// As a shell would see its last end.
    pub exit_code: Option<u8>,
    /// Why it last ended.
    pub reason: Option<String>,
}

impl ServiceInfo {
    /// Whether there is a process of it, or will be one.
    pub fn is_up(&self) -> bool {
        matches!(self.state, "starting" | "running" | "restarting")
    }
}

impl Pyro {
    /// The services of a workspace, in the order they were started.
    pub fn services(&self, reference: &str) -> Result<Vec<ServiceInfo>, Failure> {
        let record = self.find_workspace(reference)?;
        let services = self.store.services(&record.workspace.id)?;
        Ok(services.iter().map(|service| describe(&record, service)).collect())
    }

    /// One service of a workspace.
    pub fn service(&self, reference: &str, name: &str) -> Result<ServiceInfo, Failure> {
        let workspace = self.find_workspace(reference)?;
        self.service_record(reference, name).map(|record| describe(&workspace, &record))
    }

    fn service_record(&self, reference: &str, name: &str) -> Result<ServiceRecord, Failure> {
        let workspace = self.find_workspace(reference)?;
        let unknown = || {
            let message = format!("the workspace {} has no service `{name}`", called(&workspace));
            Failure::new(Code::ServiceUnknown, message).fix(remedies::SERVICE_UNKNOWN)
        };
        let name = ServiceName::parse(name).map_err(|_| unknown())?;
        self.store.service(&workspace.workspace.id, &name)?.ok_or_else(unknown)
    }
}

fn describe(workspace: &WorkspaceRecord, record: &ServiceRecord) -> ServiceInfo {
    let (service, news) = (&record.service, &record.news);
    let is_paused = workspace.paused.is_some() && news.state.is_up();
    ServiceInfo {
        service_name: service.name.as_str().to_owned(),
        state: if is_paused { "paused" } else { news.state.as_str() },
        command: shell_words(&service.command),
        argv: service.command.clone(),
        cwd: service.directory.clone(),
        user: service.user.clone(),
        readiness: service.readiness.clone(),
        readiness_target: service.target.clone(),
        restart: service.restart.clone(),
        restarts: news.restarts,
        started_at: timestamp(record.started),
        ready_at: news.ready.map(timestamp),
        ended_at: news.ended.map(timestamp),
        exit_code: news.exit_code,
        reason: news.reason.clone(),
    }
}

/// Reads the name of a service to be.
pub(super) fn new_name(text: &str) -> Result<ServiceName, Failure> {
    ServiceName::parse(text)
        .map_err(|error| Failure::new(Code::InvalidArgument, error.to_string()).fix("choose another name"))
}
