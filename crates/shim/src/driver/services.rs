//! Services: started, stopped, brought back with their workspace. The agent supervises; they go on whoever leaves.

use pyro_proto::shim::{Failure, FailureCode, Reply};
use pyro_proto::{Frame, Kind, StreamId, agent, encode};
use pyro_store::ServiceName;
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::shells::no_workspace;
use super::{Driver, Fault, refused};
use crate::call::{Call, Owner, ServiceKey};
use crate::failure::failure;
use crate::followers::Followed;
use crate::limits::{SERVICE_GRACE_SECONDS, SIGNAL_TERMINATE};
use crate::services::{Again, Waiters, unknown};

impl<V: Vm> Driver<V> {
    pub(super) fn open_service(
        &mut self,
        owner: Owner,
        name: &str,
        definition: agent::Service,
    ) -> Result<(), Fault> {
        let command = &definition.command;
        if command.terminal.is_some() || command.stdin || command.timeout_ms.is_some() {
            return self.answer(owner.0, owner.1, &refused("this is no service"));
        }
        let Some((name, running)) = self.service_of(owner, name)? else { return Ok(()) };
        if running.is_some() {
            let taken = failure(FailureCode::ServiceTaken, format!("a service `{name}` runs already"));
            return self.answer(owner.0, owner.1, &Reply::Failed(taken));
        }
        self.begin_service((name, definition), Waiters::starter(owner), false)
    }

    /// Starts a service; who waits hears of it, also when it cannot be.
    fn begin_service(
        &mut self,
        (name, definition): (ServiceName, agent::Service),
        waiters: Waiters,
        is_recovering: bool,
    ) -> Result<(), Fault> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let Ok(payload) = encode(&agent::Request::Serve(Box::new(definition.clone()))) else { return Ok(()) };
        let stream = self.link.next_stream();
        let owners: Vec<Owner> = waiters.owners().collect();
        match session.services.begin((name.clone(), definition), stream, waiters, is_recovering) {
            Ok(key) => {
                self.calls.open(stream, Call::service(key));
                self.tell_guest(Frame { stream, kind: Kind::Open, payload })
            }
            Err(failure) => {
                if is_recovering {
                    session.services.not_recovered(&name, &failure);
                }
                let failed = Reply::Failed(failure);
                owners.into_iter().for_each(|(id, stream)| self.answer_or_drop(id, stream, &failed));
                Ok(())
            }
        }
    }

    pub(super) fn stop_service(&mut self, owner: Owner, name: &str, grace_ms: u64) -> Result<(), Fault> {
        let Some((name, running)) = self.service_of(owner, name)? else { return Ok(()) };
        let Some(session) = &mut self.session else { return Ok(()) };
        let Some(key) = running else {
            let answer = match session.services.forbid(&name) {
                Ok(()) => Reply::ServiceStopped,
                Err(failure) => Reply::Failed(failure),
            };
            return self.answer(owner.0, owner.1, &answer);
        };
        let is_news = session.services.get(key).is_some_and(|service| service.waiters.stop(owner));
        self.end_processes(key, grace_ms, is_news)
    }

    pub(super) fn restart_service(&mut self, owner: Owner, name: &str, grace_ms: u64) -> Result<(), Fault> {
        let Some((name, running)) = self.service_of(owner, name)? else { return Ok(()) };
        let Some(session) = &mut self.session else { return Ok(()) };
        let Some(key) = running else {
            return match session.services.definition(&name) {
                Ok((definition, is_wanted)) => {
                    let waiters = Waiters::starter(owner).returning(is_wanted);
                    self.begin_service((name, definition), waiters, false)
                }
                Err(failure) => self.answer(owner.0, owner.1, &Reply::Failed(failure)),
            };
        };
        let is_news = session.services.get(key).is_some_and(|service| service.waiters.restart(owner));
        self.end_processes(key, grace_ms, is_news)
    }

    fn end_processes(&mut self, key: ServiceKey, grace_ms: u64, is_news: bool) -> Result<(), Fault> {
        let service = self.session.as_mut().and_then(|session| session.services.get(key));
        match service.map(|service| service.stream) {
            Some(stream) if is_news => {
                self.steer(stream, agent::Input::Stop { signal: SIGNAL_TERMINATE, grace_ms })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn follow_service(&mut self, owner: Owner, name: &str, from: u64) -> Result<(), Fault> {
        let Some((name, running)) = self.service_of(owner, name)? else { return Ok(()) };
        let Some(key) = running else {
            let stopped = failure(FailureCode::ServiceStopped, format!("the service `{name}` does not run"));
            return self.answer(owner.0, owner.1, &Reply::Failed(stopped));
        };
        let source = self.session.as_ref().and_then(|session| session.services.source(key, from));
        self.join(owner, Followed::Service(key), source)
    }

    /// What the agent tells of one.
    pub(super) fn on_service_news(&mut self, key: ServiceKey, news: agent::Event) -> Result<(), Fault> {
        let Some(session) = &mut self.session else { return Ok(()) };
        match news {
            agent::Event::Started { .. } => session.services.started(key),
            agent::Event::Restarting { ended, .. } => session.services.restarting(key, ended),
            agent::Event::Ready => {
                let told = session.services.ready(key);
                self.tell_all(&told);
                self.settle_services();
            }
            agent::Event::Progress { .. } => return Err(super::from_guest::out_of_turn(Kind::Event)),
        }
        Ok(())
    }

    /// Records the end before anybody hears of it.
    pub(super) fn end_service(
        &mut self,
        agent_stream: StreamId,
        key: ServiceKey,
        answer: Result<agent::Exited, agent::Failure>,
    ) -> Result<(), Fault> {
        self.lifetime.used(Instant::now());
        self.calls.close(agent_stream);
        let ended = self.session.as_mut().and_then(|session| session.services.end(key, &answer));
        let Some(ended) = ended else { return Ok(()) };
        let frames = self.followers.finish(Followed::Service(key), &ended.ended);
        let followed = self.to_clients(frames);
        self.tell_all(&ended.told);
        if let Some(Again { name, definition, waiters }) = ended.again {
            self.begin_service((name, definition), waiters, false)?;
        }
        self.settle_services();
        followed
    }

    /// Starts those that come back with their workspace.
    pub(super) fn recover_services(&mut self) -> Result<(), Fault> {
        let Some(session) = self.session.as_ref().filter(|session| session.is_ready) else { return Ok(()) };
        for service in session.services.to_recover() {
            self.begin_service(service, Waiters::default(), true)?;
        }
        Ok(())
    }

    pub(super) fn await_services(&mut self, owner: Owner) -> Result<(), Fault> {
        let Some(session) = &mut self.session else {
            return self.answer(owner.0, owner.1, &no_workspace());
        };
        session.services.awaiting.push(owner);
        self.settle_services();
        Ok(())
    }

    /// Tells who waits that all have come back, or failed to.
    fn settle_services(&mut self) {
        let Some(session) = &mut self.session else { return };
        if session.services.are_pending() || session.services.awaiting.is_empty() {
            return;
        }
        let awaiting = std::mem::take(&mut session.services.awaiting);
        let settled = Reply::ServicesSettled(session.services.take_unrecovered());
        awaiting.into_iter().for_each(|(id, stream)| self.answer_or_drop(id, stream, &settled));
    }

    /// Has all services end in good order; whether any runs.
    pub(super) fn stop_services(&mut self) -> bool {
        let keys = self.session.as_ref().map(|session| session.services.keys()).unwrap_or_default();
        let grace_ms = u64::try_from(SERVICE_GRACE_SECONDS.as_millis()).unwrap_or(u64::MAX);
        for key in &keys {
            let service = self.session.as_mut().and_then(|session| session.services.get(*key));
            let is_news = service.is_some_and(|service| service.waiters.stop_with_workspace());
            // A guest that cannot be told is found out by its next frame.
            let _ = self.end_processes(*key, grace_ms, is_news);
        }
        !keys.is_empty()
    }

    fn tell_all(&self, told: &[(Owner, Reply)]) {
        told.iter().for_each(|((id, stream), reply)| self.answer_or_drop(*id, *stream, reply));
    }

    /// The name that a client gives, and the service that runs under it; `None` when the client has its answer.
    fn service_of(
        &mut self,
        (id, stream): Owner,
        name: &str,
    ) -> Result<Option<(ServiceName, Option<ServiceKey>)>, Fault> {
        let Some(session) = self.session.as_ref().filter(|session| session.is_ready) else {
            return self.answer(id, stream, &no_workspace()).map(|()| None);
        };
        match ServiceName::parse(name) {
            Ok(name) => {
                let key = session.services.find(&name);
                Ok(Some((name, key)))
            }
            Err(_) => {
                let failed: Failure = unknown(name);
                self.answer(id, stream, &Reply::Failed(failed)).map(|()| None)
            }
        }
    }
}
