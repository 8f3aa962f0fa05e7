//! What is done to services.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use pyro_proto::agent::{self, Exec, Restart};
use pyro_proto::shim;
use pyro_store::{ServiceNews, ServiceState};

use super::super::open::not_running;
use super::super::shells::grace_ms;
use super::super::{Starting, Workspace, called};
use super::{Readiness, ServiceInfo, Tail, new_name};
use crate::connection::unexpected;
use crate::limits::{LOG_LINES_OF_FAILURE, READY_SECONDS_MAX};
use crate::{Code, Failure, Pyro};

/// A service to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRequest {
    /// A name that no service that runs has.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Variables on top of the defaults.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its working directory.
    pub directory: OsString,
    /// As whom.
    pub user: Option<String>,
    /// What tells that it is ready; without, that it has not ended at once.
    pub readiness: Option<Readiness>,
    /// How long that may take.
    pub ready_timeout_seconds: u64,
    /// Between two looks.
    pub ready_interval_ms: u64,
    /// Whether it is started again: `no`, `on-failure`, `always`.
    pub restart: String,
}

impl ServiceRequest {
    /// Refuses what makes no sense, before anything is started for it.
    pub fn check(&self) -> Result<(), Failure> {
        self.to_service().map(drop)
    }

    fn to_service(&self) -> Result<(String, agent::Service), Failure> {
        let name = new_name(&self.name)?;
        if self.command.first().is_none_or(|program| program.is_empty()) {
            return Err(
                invalid("the command is empty").fix("write it behind `--`, as in `-- python3 app.py`")
            );
        }
        if !(1..=READY_SECONDS_MAX).contains(&self.ready_timeout_seconds) {
            return Err(invalid(format!(
                "--ready-timeout-seconds {} is no limit",
                self.ready_timeout_seconds
            ))
            .fix(format!("give a number from 1 to {READY_SECONDS_MAX}")));
        }
        let ready_timeout_ms = self.ready_timeout_seconds * 1000;
        if !(1..=ready_timeout_ms).contains(&self.ready_interval_ms) {
            return Err(invalid(format!("--ready-interval-ms {} is no interval", self.ready_interval_ms))
                .fix("give a number from 1 up to what --ready-timeout-seconds allows"));
        }
        let service = agent::Service {
            command: Exec {
                argv: self.command.iter().map(|word| word.clone().into_vec()).collect(),
                environment: self.environment.clone(),
                directory: Some(self.directory.clone().into_vec()),
                user: self.user.clone(),
                terminal: None,
                stdin: false,
                timeout_ms: None,
            },
            probe: self.readiness.as_ref().map(Readiness::to_probe).transpose()?,
            owns_address: true,
            ready_timeout_ms,
            ready_interval_ms: self.ready_interval_ms,
            restart: restart(&self.restart)?,
        };
        Ok((name.as_str().to_owned(), service))
    }
}

impl Pyro {
    /// Stops a service of a workspace that does not run, so that it does not come back with it; `false` when the workspace
    /// runs, and has to be asked.
    pub async fn forbid_service(&self, reference: &str, name: &str) -> Result<bool, Failure> {
        let record = self.find_workspace(reference)?;
        let service = self.service_record(reference, name)?;
        if self.connect(&record).await?.is_some() {
            return Ok(false);
        }
        // Whoever ran it has gone meanwhile, or never was there: how it ended, or that it was paused, may have been
        // recorded since.
        let record = self.find_workspace(record.workspace.id.as_str())?;
        let news = self.service_record(record.workspace.id.as_str(), name)?.news;
        if news.state.is_up() && record.paused.is_some() {
            let or = format!("give up all that runs in it with `pyro workspace stop {}`", called(&record));
            return Err(not_running(&record, &or));
        }
        let state = if news.state.is_up() { ServiceState::Lost } else { news.state };
        let news = ServiceNews { wanted: false, state, ..news };
        self.store.set_service(&record.workspace.id, &service.service.name, &news)?;
        Ok(true)
    }
}

impl Pyro {
    /// Stops a service, and tells how its guest is reached. Of one whose workspace does not run nothing is left but
    /// the wish that it comes back, which goes.
    pub async fn stop_service(
        &self,
        reference: &str,
        name: &str,
        grace_seconds: u64,
    ) -> Result<(ServiceInfo, Option<&'static str>), Failure> {
        if self.forbid_service(reference, name).await? {
            return Ok((self.service(reference, name)?, None));
        }
        let mut workspace = self.open_workspace(reference, Starting::Never, |_| {}).await?;
        workspace.stop_service(name, grace_seconds).await?;
        Ok((self.service(workspace.id(), name)?, Some(workspace.execution_mode())))
    }

    /// What a service wrote last says best why it did not become ready: the failure with its name in it, and those
    /// lines of what it has written since it was started.
    pub fn explain_service(&self, reference: &str, name: &str, failure: Failure) -> (Failure, Vec<String>) {
        if failure.code != Code::ServiceFailed {
            return (failure, Vec::new());
        }
        let lines = self.last_lines(reference, name).unwrap_or_default();
        let message = format!("the service `{name}` did not become ready: {}", failure.message);
        (Failure { message, ..failure }, lines)
    }
}

impl Pyro {
    fn last_lines(&self, reference: &str, name: &str) -> Result<Vec<String>, Failure> {
        let started = self.service_record(reference, name)?.started;
        // As the log has it: times of one length, which compare as texts do.
        let started = humantime::format_rfc3339_nanos(started).to_string();
        let mut log = self.service_log(reference, name, Tail::Lines(LOG_LINES_OF_FAILURE))?;
        let mut lines = Vec::new();
        loop {
            let entries = log.next(false)?;
            if entries.is_empty() {
                return Ok(lines);
            }
            // What earlier starts wrote is in front.
            let own = entries.into_iter().filter(|entry| entry.time >= started);
            lines.extend(own.map(|entry| entry.text));
        }
    }
}

impl Workspace {
    /// Starts a service; returns when it is ready.
    pub async fn start_service(&mut self, request: &ServiceRequest) -> Result<(), Failure> {
        let (name, service) = request.to_service()?;
        let request = shim::Request::StartService { name, service: Box::new(service) };
        self.until_ready(&request).await
    }

    /// Ends a service if it runs, and starts it as it was; returns when it is ready.
    pub async fn restart_service(&mut self, name: &str, grace_seconds: u64) -> Result<(), Failure> {
        let grace_ms = grace_ms(grace_seconds)?;
        self.until_ready(&shim::Request::RestartService { name: name.to_owned(), grace_ms }).await
    }

    /// Ends a service; returns when nothing of it runs.
    pub async fn stop_service(&mut self, name: &str, grace_seconds: u64) -> Result<(), Failure> {
        let grace_ms = grace_ms(grace_seconds)?;
        let request = shim::Request::StopService { name: name.to_owned(), grace_ms };
        match self.connection.request(&request, |_| {}).await? {
            shim::Reply::ServiceStopped => Ok(()),
            shim::Reply::Failed(failure) => Err(failure.into()),
            other => Err(unexpected(&other)),
        }
    }

    async fn until_ready(&mut self, request: &shim::Request) -> Result<(), Failure> {
        match self.connection.request(request, |_| {}).await? {
            shim::Reply::ServiceReady => Ok(()),
            shim::Reply::Refused(failure) => Err(failure.into()),
            shim::Reply::Failed(failure) => Err(failure.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until the services that come back with the workspace are ready; gives those that are not, and why.
    pub(crate) async fn await_services(&mut self) -> Result<Vec<(String, Failure)>, Failure> {
        match self.connection.request(&shim::Request::AwaitServices, |_| {}).await? {
            shim::Reply::ServicesSettled(failed) => {
                Ok(failed.into_iter().map(|(name, failure)| (name, failure.into())).collect())
            }
            shim::Reply::Failed(failure) => Err(failure.into()),
            other => Err(unexpected(&other)),
        }
    }
}

fn restart(text: &str) -> Result<Restart, Failure> {
    let all = [Restart::No, Restart::OnFailure, Restart::Always];
    all.into_iter().find(|restart| restart.as_str() == text).ok_or_else(|| {
        invalid(format!("--restart {text:?} is no policy")).fix("write `no`, `on-failure` or `always`")
    })
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ServiceRequest {
        ServiceRequest {
            name: "web".to_owned(),
            command: vec!["true".into()],
            environment: Vec::new(),
            directory: "/workspace".into(),
            user: None,
            readiness: None,
            ready_timeout_seconds: 30,
            ready_interval_ms: 500,
            restart: "no".to_owned(),
        }
    }

    /// Whatever makes no sense is refused before a VM is started for it, in the words of its flag.
    #[test]
    fn requests_are_checked() {
        request().check().unwrap();
        let refused = |change: fn(&mut ServiceRequest)| {
            let mut bad = request();
            change(&mut bad);
            bad.check().unwrap_err().message
        };
        assert!(refused(|it| it.name = "a b".to_owned()).contains("`a b`"));
        assert!(refused(|it| it.command.clear()).contains("command"));
        assert!(refused(|it| it.ready_timeout_seconds = 0).contains("--ready-timeout-seconds"));
        assert!(refused(|it| it.ready_interval_ms = 0).contains("--ready-interval-ms"));
        assert!(refused(|it| it.ready_interval_ms = 30_001).contains("--ready-interval-ms"));
        assert!(refused(|it| it.restart = "maybe".to_owned()).contains("--restart"));
        assert!(refused(|it| it.readiness = Some(Readiness::Tcp("x".to_owned()))).contains("--ready-tcp"));
    }
}
