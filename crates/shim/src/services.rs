//! The services of one workspace as its shim knows them. The agent supervises; here is what is recorded of it, who
//! waits for what, and what shall run again when the workspace is started the next time.
//!
//! ```text
//!               Ready              Restarting
//!   starting ──────────► running ─────────────► restarting ──Started──► starting
//!      │                    │                        │
//!      └──── not ready, ────┴──── ended for good ────┴──► failed, exited; stopped when that was asked for
//!            ended early
//! ```

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::SystemTime;

use pyro_proto::agent::{self, Exited, Restart};
use pyro_proto::shim::{Failure, FailureCode, Reply};
use pyro_proto::{Channel, StreamId};
use pyro_store::{
    LogReader, LogWriter, NewService, OutputStream, ServiceName, ServiceNews, ServiceState, Store,
    WorkspaceId, WorkspacePlace,
};

use crate::call::{ClientId, Owner, ServiceKey};
use crate::driver::Fate;
use crate::failure::{failure, record_failed, system};
use crate::followers::{Ended, Reader, Source};
use crate::limits::SERVICES_RUNNING_MAX;

mod definition;
mod waiting;

pub(crate) use definition::{decode, described};
pub(crate) use waiting::{Again, Waiters};

/// All of them.
#[derive(Debug)]
pub(crate) struct Services {
    store: Rc<Store>,
    workspace: WorkspaceId,
    place: WorkspacePlace,
    running: BTreeMap<ServiceKey, Service>,
    next: u32,
    /// Those that were to come back with the workspace and did not, until somebody asks.
    unrecovered: Vec<(String, agent::Failure)>,
    /// Who waits until all have come back.
    pub(crate) awaiting: Vec<Owner>,
}

/// One that the agent supervises.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: ServiceName,
    pub(crate) definition: agent::Service,
    /// Its call at the agent.
    pub(crate) stream: StreamId,
    pub(crate) waiters: Waiters,
    log: LogWriter,
    news: ServiceNews,
    is_recovering: bool,
}

/// What has to be told when a service has ended.
#[derive(Debug)]
pub(crate) struct ServiceEnded {
    pub(crate) ended: Ended,
    pub(crate) told: Vec<(Owner, Reply)>,
    /// It is to be started again at once.
    pub(crate) again: Option<Again>,
}

impl Services {
    /// Of who holds the workspace.
    pub(crate) fn new(store: Rc<Store>, workspace: WorkspaceId, place: WorkspacePlace) -> Services {
        Services {
            store,
            workspace,
            place,
            running: BTreeMap::new(),
            next: 0,
            unrecovered: Vec::new(),
            awaiting: Vec::new(),
        }
    }

    /// Records a service that is about to be started.
    pub(crate) fn begin(
        &mut self,
        (name, definition): (ServiceName, agent::Service),
        stream: StreamId,
        waiters: Waiters,
        is_recovering: bool,
    ) -> Result<ServiceKey, Failure> {
        if self.running.len() >= SERVICES_RUNNING_MAX {
            let many = format!("{SERVICES_RUNNING_MAX} services run: stop one first");
            return Err(failure(FailureCode::Refused, many));
        }
        let new = described(&name, &definition);
        let mut log = self.open_log(&name)?;
        // What an earlier life has left is a line of its own.
        let _ = log.end_lines(SystemTime::now());
        self.store.begin_service(&self.workspace, &new).map_err(|error| record_failed(&error))?;
        let news = ServiceNews { state: ServiceState::Starting, wanted: true, ..ServiceNews::default() };
        Ok(self.enter(Service { name, definition, stream, waiters, log, news, is_recovering }))
    }

    /// Takes over one that runs already, from before a pause or in a copy of another workspace.
    pub(crate) fn take_over(
        &mut self,
        (name, definition): (ServiceName, agent::Service),
        stream: StreamId,
        news: ServiceNews,
    ) -> Result<ServiceKey, Failure> {
        let log = self.open_log(&name)?;
        let known = self.store.service(&self.workspace, &name);
        if !matches!(known, Ok(Some(_))) {
            let new: NewService = described(&name, &definition);
            self.store.begin_service(&self.workspace, &new).map_err(|error| record_failed(&error))?;
        }
        let waiters = Waiters::default();
        let key = self.enter(Service { name, definition, stream, waiters, log, news, is_recovering: false });
        self.save(key);
        Ok(key)
    }

    fn open_log(&self, name: &ServiceName) -> Result<LogWriter, Failure> {
        LogWriter::open(&self.place.service_log(name))
            .map_err(|error| system("the service's log cannot be kept", &error))
    }

    fn enter(&mut self, service: Service) -> ServiceKey {
        self.next += 1;
        let key = ServiceKey(self.next);
        self.running.insert(key, service);
        key
    }

    /// Services that shall come back with the workspace: those with a policy that nobody has stopped.
    pub(crate) fn to_recover(&self) -> Vec<(ServiceName, agent::Service)> {
        let known = self.store.services(&self.workspace).unwrap_or_default();
        let wanted = known
            .into_iter()
            .filter(|record| record.news.wanted && self.find(&record.service.name).is_none());
        let decoded =
            wanted.filter_map(|record| Some((record.service.name, decode(&record.service.definition)?)));
        decoded.filter(|(_, definition)| definition.restart != Restart::No).collect()
    }

    /// One that runs.
    pub(crate) fn get(&mut self, key: ServiceKey) -> Option<&mut Service> {
        self.running.get_mut(&key)
    }

    /// The one of this name, while it runs.
    pub(crate) fn find(&self, name: &ServiceName) -> Option<ServiceKey> {
        self.running.iter().find(|(_, service)| service.name == *name).map(|(key, _)| *key)
    }

    /// How one was defined, and whether it is to come back with the workspace, whether it runs or not.
    pub(crate) fn definition(&self, name: &ServiceName) -> Result<(agent::Service, bool), Failure> {
        let record = self.store.service(&self.workspace, name);
        let record = record.map_err(|error| system("the state cannot be used", &error))?;
        let record = record.ok_or_else(|| unknown(name.as_str()))?;
        let definition = decode(&record.service.definition).ok_or_else(|| {
            failure(FailureCode::System, format!("the record of the service `{name}` is damaged"))
        })?;
        Ok((definition, record.news.wanted))
    }

    /// All that run.
    pub(crate) fn keys(&self) -> Vec<ServiceKey> {
        self.running.keys().copied().collect()
    }

    /// Where the log of one that runs is, from some byte on.
    pub(crate) fn source(&self, key: ServiceKey, from: u64) -> Option<Source> {
        let service = self.running.get(&key)?;
        let reader = LogReader::open(&self.place.service_log(&service.name));
        Some(Source { stdout: reader.ok().map(Reader::Log), stderr: None, from, ended: None })
    }

    /// Keeps what one writes. What the disk refuses is missing; what comes later is kept again.
    pub(crate) fn append(&mut self, key: ServiceKey, channel: Channel, bytes: &[u8]) {
        let stream = if channel == Channel::Stderr { OutputStream::Stderr } else { OutputStream::Stdout };
        if let Some(service) = self.running.get_mut(&key) {
            let _ = service.log.append(stream, SystemTime::now(), bytes);
        }
    }

    /// It is ready; gives who waits for that.
    pub(crate) fn ready(&mut self, key: ServiceKey) -> Vec<(Owner, Reply)> {
        let Some(service) = self.running.get_mut(&key) else { return Vec::new() };
        service.news.state = ServiceState::Running;
        service.news.ready = Some(SystemTime::now());
        service.is_recovering = false;
        let told = service.waiters.take_starters().map(|owner| (owner, Reply::ServiceReady)).collect();
        self.save(key);
        told
    }

    /// It has ended, and will be started again.
    pub(crate) fn restarting(&mut self, key: ServiceKey, ended: Option<Exited>) {
        let Some(service) = self.running.get_mut(&key) else { return };
        let news = &mut service.news;
        news.state = ServiceState::Restarting;
        news.restarts = news.restarts.saturating_add(1);
        news.ended = Some(SystemTime::now());
        (news.exit_code, news.reason) = match ended {
            Some(exited) => how(&exited),
            None => (None, Some("it was not ready in time, or could not be started".to_owned())),
        };
        self.save(key);
    }

    /// A process of it was started.
    pub(crate) fn started(&mut self, key: ServiceKey) {
        let Some(service) = self.running.get_mut(&key) else { return };
        if service.news.state == ServiceState::Restarting {
            let _ = service.log.end_lines(SystemTime::now());
            service.news.state = ServiceState::Starting;
            self.save(key);
        }
    }

    /// Records that it has ended for good, and how.
    pub(crate) fn end(
        &mut self,
        key: ServiceKey,
        answer: &Result<Exited, agent::Failure>,
    ) -> Option<ServiceEnded> {
        let mut service = self.running.remove(&key)?;
        let news = &mut service.news;
        news.ended = Some(SystemTime::now());
        (news.exit_code, news.reason) = match answer {
            Ok(exited) => how(exited),
            Err(error) => (None, Some(error.detail.clone())),
        };
        let is_stopped = service.waiters.is_stopping();
        let is_early = service.news.ready.is_none() && !is_stopped;
        if let (Ok(exited), true) = (answer, is_early) {
            service.news.reason = Some(ended_early(exited));
        }
        service.news.state = match answer {
            _ if is_stopped => ServiceState::Stopped,
            Ok(_) if service.news.exit_code == Some(0) && !is_early => ServiceState::Exited,
            Ok(_) | Err(_) => ServiceState::Failed,
        };
        // One that did not come back with the workspace is tried again the next time.
        service.news.wanted = service.waiters.is_wanted() || (service.is_recovering && !is_stopped);
        let _ = self.store.set_service(&self.workspace, &service.name, &service.news);
        let failed = match answer {
            Err(error) => error.clone(),
            Ok(_) => {
                let reason = service.news.reason.clone().filter(|_| is_early);
                let detail = reason.unwrap_or_else(|| "it was stopped before it was ready".to_owned());
                agent::Failure { kind: agent::FailureKind::EndedEarly, detail }
            }
        };
        if service.is_recovering && !is_stopped {
            self.unrecovered.push((service.name.as_str().to_owned(), failed.clone()));
        }
        let reply = match answer {
            Ok(exited) => Reply::Exited(*exited),
            Err(error) => Reply::Refused(error.clone()),
        };
        let _ = service.log.end_lines(SystemTime::now());
        let ended = Ended { reply, stdout_bytes: service.log.total(), stderr_bytes: 0 };
        let (told, again) = service.waiters.at_end(&failed, (service.name, service.definition));
        Some(ServiceEnded { ended, told, again })
    }

    /// The VM ends, and they with it, unless they are to go on.
    pub(crate) fn end_all(&mut self, fate: Fate) {
        for (_, mut service) in std::mem::take(&mut self.running) {
            let (state, reason) = match fate {
                Fate::Paused => continue,
                Fate::Stopped => (ServiceState::Stopped, "the workspace was stopped"),
                Fate::Lost => (ServiceState::Lost, "its VM ended"),
            };
            service.news.state = state;
            service.news.reason = Some(reason.to_owned());
            service.news.ended = Some(SystemTime::now());
            // What the database does not take is recorded as lost by who starts the workspace next.
            let _ = self.store.set_service(&self.workspace, &service.name, &service.news);
        }
    }

    /// One that does not run shall not come back.
    pub(crate) fn forbid(&self, name: &ServiceName) -> Result<(), Failure> {
        let record = self.store.service(&self.workspace, name);
        let record = record.map_err(|error| system("the state cannot be used", &error))?;
        let record = record.ok_or_else(|| unknown(name.as_str()))?;
        let news = ServiceNews { wanted: false, ..record.news };
        self.store
            .set_service(&self.workspace, name, &news)
            .map_err(|error| system("the state cannot be used", &error))
    }

    /// Whether some that come back with the workspace are not ready yet.
    pub(crate) fn are_pending(&self) -> bool {
        self.running.values().any(|service| service.is_recovering)
    }

    /// Whether there is something to wait for, or to be told, after a start.
    pub(crate) fn are_unsettled(&self) -> bool {
        self.are_pending() || !self.unrecovered.is_empty()
    }

    /// Those that did not come back; told once.
    pub(crate) fn take_unrecovered(&mut self) -> Vec<(String, agent::Failure)> {
        std::mem::take(&mut self.unrecovered)
    }

    /// One could not even be begun.
    pub(crate) fn not_recovered(&mut self, name: &ServiceName, failure: &Failure) {
        let kind = agent::FailureKind::System;
        let failure = agent::Failure { kind, detail: failure.message.clone() };
        self.unrecovered.push((name.as_str().to_owned(), failure));
    }

    /// A client has left; what it asked for goes on.
    pub(crate) fn forget(&mut self, client: ClientId) {
        self.awaiting.retain(|owner| owner.0 != client);
        self.running.values_mut().for_each(|service| service.waiters.forget(client));
    }

    /// Whether a client waits for one on this stream.
    pub(crate) fn has(&self, owner: Owner) -> bool {
        self.waiting().any(|waiting| waiting == owner)
    }

    /// Everybody who waits for an answer.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Owner> + '_ {
        let waiters = self.running.values().flat_map(|service| service.waiters.owners());
        waiters.chain(self.awaiting.iter().copied())
    }

    fn save(&self, key: ServiceKey) {
        if let Some(service) = self.running.get(&key) {
            // What it says comes again with the next change; at last with the end.
            let _ = self.store.set_service(&self.workspace, &service.name, &service.news);
        }
    }
}

impl Service {
    /// What is recorded of it.
    pub(crate) fn news(&self) -> &ServiceNews {
        &self.news
    }
}

/// There is no such service.
pub(crate) fn unknown(name: &str) -> Failure {
    failure(FailureCode::ServiceUnknown, format!("there is no service `{name}`"))
}

fn ended_early(exited: &Exited) -> String {
    let how = match exited.outcome {
        agent::Outcome::Code(code) => format!("exited with code {code}"),
        agent::Outcome::Signal(signal) => format!("was ended by signal {signal}"),
        agent::Outcome::OutOfMemory => "was killed for want of memory".to_owned(),
        agent::Outcome::TimedOut => "ran out of time".to_owned(),
    };
    format!("it {how} before it was ready")
}

fn how(exited: &Exited) -> (Option<u8>, Option<String>) {
    let end = crate::recorder::end_of(exited);
    let reason = match exited.outcome {
        agent::Outcome::Code(code) => format!("it exited with code {code}"),
        agent::Outcome::Signal(signal) => format!("signal {signal} ended it"),
        agent::Outcome::TimedOut => "it ran out of time".to_owned(),
        agent::Outcome::OutOfMemory => "the guest killed it for want of memory".to_owned(),
    };
    (end.exit_code, Some(reason))
}
