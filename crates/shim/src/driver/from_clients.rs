//! Frames of clients: requests, and what belongs to calls that are open.

use pyro_proto::shim::{Reply, Request, Subject};
use pyro_proto::window::WindowError;
use pyro_proto::{Channel, Frame, Kind, StreamId, agent, decode};
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::{Driver, Fault, Session, refused};
use crate::call::{ClientId, Owner, Work};
use crate::client::ClientEvent;
use crate::failure::stopped;
use crate::limits::{CALLS_OPEN_MAX, CLIENTS_MAX};

impl<V: Vm> Driver<V> {
    /// `Ok(Some(_))` ends the VM.
    pub(super) fn on_client(&mut self, event: ClientEvent) -> Result<Option<Owner>, Fault> {
        match event {
            ClientEvent::Joined(id, client) => {
                if self.clients.len() < CLIENTS_MAX {
                    self.clients.insert(id, client);
                }
                Ok(None)
            }
            ClientEvent::Left(id) => Err(Fault::Client(id)),
            ClientEvent::Frame(id, _) if !self.clients.contains_key(&id) => Ok(None),
            ClientEvent::Frame(id, frame) if frame.kind == Kind::Open => {
                self.on_open((id, frame.stream), &frame)
            }
            ClientEvent::Frame(id, frame) => self.on_more((id, frame.stream), frame).map(|()| None),
        }
    }

    fn on_open(&mut self, owner: Owner, frame: &Frame) -> Result<Option<Owner>, Fault> {
        let (id, stream) = owner;
        if stream == StreamId::CONNECTION || self.has(owner) {
            return Err(Fault::Client(id));
        }
        let request = decode::<Request>(&frame.payload).map_err(|_| Fault::Client(id))?;
        if self.ending.is_some() {
            return self.open_too_late(owner, &request).map(|()| None);
        }
        let is_call = !matches!(request, Request::Stop { .. } | Request::Status | Request::SetTtl(_));
        if is_call && self.open_count() >= CALLS_OPEN_MAX {
            return self
                .answer(id, stream, &refused("too many calls are open in this VM at once"))
                .map(|()| None);
        }
        // Both only precede what a client has come for.
        if !matches!(request, Request::Status | Request::AwaitServices)
            && let Some(client) = self.clients.get_mut(&id)
        {
            client.expected_until = None;
        }
        match request {
            Request::Stop { discard } => {
                self.discards = discard;
                return Ok(Some(owner));
            }
            Request::Snapshot(snapshot) => self.open_snapshot(owner, &snapshot),
            Request::Pause => self.open_pause(owner),
            Request::Status => self.open_status(owner),
            Request::Start(_) => self.answer(id, stream, &refused("this VM is already started")),
            Request::Exec(exec) => self.open_exec(owner, exec),
            Request::Transfer(transfer) => self.open_transfer(owner, transfer),
            Request::Follow { subject: Subject::Command(sequence), .. } => self.follow(owner, sequence),
            Request::Follow { subject: Subject::Shell(shell), from } => {
                self.follow_shell(owner, &shell, from)
            }
            Request::Follow { subject: Subject::Service(name), from } => {
                self.follow_service(owner, &name, from)
            }
            Request::OpenShell(command) => self.open_shell(owner, command),
            Request::Shell { id: shell, order } => self.order_shell(owner, &shell, order),
            Request::Attach { id: shell, from } => self.attach(owner, &shell, from),
            Request::StartService { name, service } => self.open_service(owner, &name, *service),
            Request::StopService { name, grace_ms } => self.stop_service(owner, &name, grace_ms),
            Request::RestartService { name, grace_ms } => self.restart_service(owner, &name, grace_ms),
            Request::AwaitServices => self.await_services(owner),
            Request::SetTtl(seconds) => self.set_ttl(owner, seconds),
        }
        .map(|()| None)
    }

    /// The VM is about to end. Who asks whether it is well hears its connection end with it: a command that came now
    /// would end as well.
    fn open_too_late(&mut self, owner: Owner, request: &Request) -> Result<(), Fault> {
        let Some(ending) = &mut self.ending else { return Ok(()) };
        if *request == (Request::Stop { discard: true }) {
            self.discards = true;
            ending.deadline = Instant::now();
        }
        match request {
            Request::Stop { .. } | Request::Status if ending.asking.len() < CALLS_OPEN_MAX => {
                ending.asking.push(owner);
                Ok(())
            }
            _ => self.answer(owner.0, owner.1, &Reply::Failed(stopped())),
        }
    }

    fn set_ttl(&mut self, (id, stream): Owner, seconds: Option<u64>) -> Result<(), Fault> {
        let answer = match self.lifetime.set_ttl(seconds, Instant::now()) {
            true => Reply::TtlSet,
            false => refused("this VM has no workspace"),
        };
        self.answer(id, stream, &answer)
    }

    fn has(&self, owner: Owner) -> bool {
        let waits = || self.transfers.waiting().any(|waiting| waiting.owner() == Some(owner));
        let is_captured = || self.capture.as_ref().is_some_and(|capture| capture.has(owner));
        let of_session = |session: &Session| session.shells.has(owner) || session.services.has(owner);
        let is_sessions = || self.session.as_ref().is_some_and(of_session);
        self.calls.has(owner) || self.followers.has(owner) || waits() || is_captured() || is_sessions()
    }

    /// Everything of a call that its client sends after it has opened it.
    fn on_more(&mut self, owner: Owner, frame: Frame) -> Result<(), Fault> {
        if matches!(frame.kind, Kind::Hello | Kind::Open | Kind::Event | Kind::Reply | Kind::Barrier) {
            return Err(Fault::Client(owner.0));
        }
        if self.calls.has(owner) {
            return self.relay(owner, frame);
        }
        if self.followers.has(owner) {
            return self.on_follower(owner, &frame);
        }
        // Or the call has ended meanwhile.
        self.hold(owner, &frame)
    }

    fn relay(&mut self, owner: Owner, frame: Frame) -> Result<(), Fault> {
        let id = owner.0;
        let cheat = |_: WindowError| Fault::Client(id);
        let Some((agent_stream, call)) = self.calls.of_client(owner) else { return Ok(()) };
        call.flow(Instant::now());
        match frame.kind {
            Kind::Data => {
                let (channel, bytes) = frame.as_data().map_err(|_| Fault::Client(id))?;
                if channel != Channel::Stdin || !call.takes_input || bytes.is_empty() {
                    return Err(Fault::Client(id));
                }
                call.window(channel).receive(bytes.len()).map_err(cheat)?;
            }
            Kind::Credit => {
                let (channel, bytes) = frame.as_credit().map_err(|_| Fault::Client(id))?;
                if channel == Channel::Stdin || bytes == 0 {
                    return Err(Fault::Client(id));
                }
                call.window(channel).relay_grant(bytes).map_err(cheat)?;
            }
            Kind::Eof => {
                let ends_input = frame.as_eof().is_ok_and(|channel| channel == Channel::Stdin);
                if !(ends_input && std::mem::replace(&mut call.takes_input, false)) {
                    return Err(Fault::Client(id));
                }
            }
            _ => {
                let input = decode::<agent::Input>(&frame.payload).map_err(|_| Fault::Client(id))?;
                if matches!(call.work, Work::Transfer(_)) && input != agent::Input::Kill {
                    return Ok(()); // there is no process that it could be for
                }
            }
        }
        self.tell_guest(Frame { stream: agent_stream, ..frame })
    }

    fn on_follower(&mut self, owner: Owner, frame: &Frame) -> Result<(), Fault> {
        if self.on_attached(owner, frame)? {
            return Ok(());
        }
        let id: ClientId = owner.0;
        let (channel, bytes) = match frame.kind {
            Kind::Credit => frame.as_credit().map_err(|_| Fault::Client(id))?,
            Kind::Input => return Ok(()), // a follower only looks on
            _ => return Err(Fault::Client(id)),
        };
        if channel == Channel::Stdin {
            return Err(Fault::Client(id));
        }
        let frames = self.followers.grant(owner, channel, bytes).map_err(|_| Fault::Client(id))?;
        self.lifetime.used(Instant::now());
        self.to_clients(frames)
    }
}
