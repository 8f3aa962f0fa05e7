//! The driver of one running VM: the one task that owns its state.
//!
//! ```text
//!   clients ──frames──►┌────────┐──frames──► agent
//!           ◄──frames──│ driver │◄──frames──
//!                      └────────┘◄── exit of the VMM, deadlines, signals, time to live
//! ```
//!
//! It relays calls with their streams renumbered, counts what the guest sends against what it was
//! allowed, and decides when the VM's life is over. It never waits for a peer: what cannot be sent now is
//! queued within a bound, and a peer that overruns a bound is dropped.

use std::collections::HashMap;
use std::time::Duration;

use pyro_proto::shim::{Failure, FailureCode, Reply, Request, Status};
use pyro_proto::window::WindowError;
use pyro_proto::{Channel, Frame, Kind, StreamId, agent, decode, encode};
use pyro_vmm::Vm;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::calls::{Calls, ClientId};
use crate::client::{Client, ClientEvent, reply};
use crate::failure::{link_failed, vm_ended};
use crate::limits::{
    CLIENTS_MAX, EXEC_GRACE_SECONDS, EXEC_SECONDS_MAX, EXEC_STALLED_RECHECK, LAST_WORDS_SECONDS_MAX,
};
use crate::link::{AgentLink, LinkError};
use crate::process::private_kib;
use crate::signals::Signals;

/// A VM that is up.
#[derive(Debug)]
pub(crate) struct Driver<V> {
    pub(crate) vm_id: String,
    pub(crate) vm: V,
    pub(crate) link: AgentLink,
    /// Whose leaving ends the VM.
    pub(crate) starter: ClientId,
    pub(crate) born: Instant,
    pub(crate) dies: Option<Instant>,
    pub(crate) calls: Calls,
    pub(crate) clients: HashMap<ClientId, Client>,
}

/// Who is still there when a VM's life is over.
#[derive(Debug)]
pub(crate) struct End {
    /// Who asked for it and waits to hear that it is done.
    pub(crate) stopper: Option<Stopper>,
    /// Every client; open calls have had their replies.
    pub(crate) clients: HashMap<ClientId, Client>,
}

/// A call of `Stop`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopper {
    pub(crate) client: ClientId,
    pub(crate) stream: StreamId,
}

/// A peer that has to go.
enum Fault {
    Client(ClientId),
    Guest(Failure),
}

impl<V: Vm> Driver<V> {
    /// Runs the VM until its life is over; every open call has its reply then.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<ClientEvent>,
        signals: &mut Signals,
    ) -> (V, End) {
        let mut stopper = None;
        let failure = loop {
            let due = earliest(self.calls.next_deadline(), self.dies);
            let step = tokio::select! {
                frame = self.link.next() => self.on_guest(frame),
                Some(event) = events.recv() => match self.on_client(event) {
                    Ok(Some(asked)) => {
                        stopper = Some(asked);
                        break stopped();
                    }
                    Ok(None) => Ok(()),
                    Err(fault) => Err(fault),
                },
                exit = self.vm.wait() => {
                    self.last_words().await;
                    break vm_ended(&exit, &self.vm.console_tail());
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => match self.on_time() {
                    Some(failure) => break failure,
                    None => Ok(()),
                },
                () = signals.next() => break stopped(),
            };
            match step {
                Ok(()) => {}
                Err(Fault::Client(id)) if id == self.starter => break stopped(),
                Err(Fault::Client(id)) => self.drop_client(id),
                Err(Fault::Guest(failure)) => break failure,
            }
        };
        let failure = self.explain(failure).await;
        self.fail_open_calls(&failure);
        (self.vm, End { stopper, clients: self.clients })
    }

    /// Hands on what the guest sent before the VM ended.
    async fn last_words(&mut self) {
        let words = async {
            while let Ok(frame) = self.link.next().await {
                if self.on_guest(Ok(frame)).is_err() {
                    break;
                }
            }
        };
        // The lanes are closed at their far ends: this takes as long as reading what is there.
        let _ = tokio::time::timeout(LAST_WORDS_SECONDS_MAX, words).await;
    }

    /// A channel that closes says little; what the VMM says as it goes is the better reason.
    async fn explain(&mut self, failure: Failure) -> Failure {
        if failure.code != FailureCode::VmmDied {
            return failure;
        }
        match tokio::time::timeout(Duration::from_secs(1), self.vm.wait()).await {
            Ok(exit) => vm_ended(&exit, &self.vm.console_tail()),
            Err(_) => failure,
        }
    }

    fn on_guest(&mut self, frame: Result<Frame, LinkError>) -> Result<(), Fault> {
        let frame = frame.map_err(|error| Fault::Guest(link_failed(&error, &self.vm.console_tail())))?;
        let agent_stream = frame.stream;
        let Some(call) = self.calls.of_agent(agent_stream) else {
            return Ok(()); // a straggler of a call that has ended
        };
        let owner = call.owner;
        match frame.kind {
            Kind::Data => {
                let (channel, bytes) = frame.as_data().map_err(guest_broke)?;
                call.window(outward(channel)?).receive(bytes.len()).map_err(guest_broke)?;
                if owner.is_none() {
                    self.swallow(agent_stream, channel, bytes.len())?;
                }
            }
            Kind::Credit => {
                let (channel, bytes) = frame.as_credit().map_err(guest_broke)?;
                call.window(inward(channel)?).relay_grant(bytes).map_err(guest_broke)?;
            }
            Kind::Eof => {
                outward(frame.as_eof().map_err(guest_broke)?)?;
            }
            Kind::Event => {}
            Kind::Reply => return self.on_reply(&frame),
            Kind::Hello | Kind::Open | Kind::Input => {
                return Err(guest_broke(LinkError::OutOfTurn(frame.kind)));
            }
        }
        match owner {
            Some((client, stream)) => self.to_client(client, Frame { stream, ..frame }),
            None => Ok(()),
        }
    }

    fn on_reply(&mut self, frame: &Frame) -> Result<(), Fault> {
        let answer = decode::<agent::Reply>(&frame.payload).map_err(guest_broke)?;
        if !matches!(answer, agent::Reply::Exited(_) | agent::Reply::Failed(_)) {
            return Err(guest_broke(LinkError::OutOfTurn(Kind::Reply)));
        }
        match self.calls.close(frame.stream).and_then(|call| call.owner) {
            Some((client, stream)) => self.answer(client, stream, &Reply::Exec(answer)),
            None => Ok(()),
        }
    }

    /// Lets a call flow to its end after its client has left.
    fn swallow(&mut self, stream: StreamId, channel: Channel, bytes: usize) -> Result<(), Fault> {
        let Some(call) = self.calls.of_agent(stream) else { return Ok(()) };
        match call.window(channel).consume(bytes) {
            Some(grant) => self.to_guest(Frame::credit(stream, channel, grant)),
            None => Ok(()),
        }
    }

    /// `Ok(Some(_))` ends the VM.
    fn on_client(&mut self, event: ClientEvent) -> Result<Option<Stopper>, Fault> {
        match event {
            ClientEvent::Joined(id, client) => {
                if self.clients.len() < CLIENTS_MAX {
                    self.clients.insert(id, client);
                }
                Ok(None)
            }
            ClientEvent::Left(id) => Err(Fault::Client(id)),
            ClientEvent::Frame(id, _) if !self.clients.contains_key(&id) => Ok(None),
            ClientEvent::Frame(id, frame) if frame.kind == Kind::Open => self.on_open(id, frame),
            ClientEvent::Frame(id, frame) => self.relay(id, frame).map(|()| None),
        }
    }

    fn on_open(&mut self, id: ClientId, frame: Frame) -> Result<Option<Stopper>, Fault> {
        let stream = frame.stream;
        let request = decode::<Request>(&frame.payload).map_err(|_| Fault::Client(id))?;
        match request {
            Request::Exec(exec) => self.open_exec(id, stream, exec).map(|()| None),
            Request::Status => self.answer(id, stream, &Reply::Status(self.status())).map(|()| None),
            Request::Stop => Ok(Some(Stopper { client: id, stream })),
            Request::Start(_) => {
                self.answer(id, stream, &refused("this VM is already started")).map(|()| None)
            }
        }
    }

    fn open_exec(&mut self, id: ClientId, stream: StreamId, exec: agent::Exec) -> Result<(), Fault> {
        if self.calls.has(id, stream) || stream == StreamId::CONNECTION {
            return Err(Fault::Client(id));
        }
        if self.calls.len() >= pyro_proto::limits::CALLS_MAX {
            return self.answer(id, stream, &refused("too many commands run in this VM at once"));
        }
        let limit =
            exec.timeout_ms.map(|ms| Duration::from_millis(ms).min(Duration::from_secs(EXEC_SECONDS_MAX)));
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit + EXEC_GRACE_SECONDS));
        let takes_input = exec.stdin;
        let payload = encode(&agent::Request::Exec(exec)).map_err(|_| Fault::Client(id))?;
        let agent_stream = self.link.next_stream();
        self.calls.open(agent_stream, id, stream, deadline, takes_input);
        self.to_guest(Frame { stream: agent_stream, kind: Kind::Open, payload })
    }

    /// Everything of a call that its client sends after it has opened it.
    fn relay(&mut self, id: ClientId, frame: Frame) -> Result<(), Fault> {
        let Some((agent_stream, call)) = self.calls.of_client(id, frame.stream) else {
            return Ok(()); // the call has ended meanwhile
        };
        let cheat = |_: WindowError| Fault::Client(id);
        match frame.kind {
            Kind::Data => {
                let (channel, bytes) = frame.as_data().map_err(|_| Fault::Client(id))?;
                if !call.takes_input {
                    return Err(Fault::Client(id));
                }
                call.window(inward(channel).map_err(|_| Fault::Client(id))?)
                    .receive(bytes.len())
                    .map_err(cheat)?;
            }
            Kind::Credit => {
                let (channel, bytes) = frame.as_credit().map_err(|_| Fault::Client(id))?;
                call.window(outward(channel).map_err(|_| Fault::Client(id))?)
                    .relay_grant(bytes)
                    .map_err(cheat)?;
            }
            Kind::Eof => {
                let ends_input = frame.as_eof().is_ok_and(|channel| channel == Channel::Stdin);
                if !(ends_input && std::mem::replace(&mut call.takes_input, false)) {
                    return Err(Fault::Client(id));
                }
            }
            Kind::Input => {
                decode::<agent::Input>(&frame.payload).map_err(|_| Fault::Client(id))?;
            }
            Kind::Hello | Kind::Open | Kind::Event | Kind::Reply => return Err(Fault::Client(id)),
        }
        self.to_guest(Frame { stream: agent_stream, ..frame })
    }

    fn on_time(&mut self) -> Option<Failure> {
        let now = Instant::now();
        if self.dies.is_some_and(|dies| dies <= now) {
            return Some(Failure {
                code: FailureCode::Expired,
                message: "the VM's time to live is over".to_owned(),
                console: Vec::new(),
            });
        }
        self.calls.is_overdue(now, EXEC_STALLED_RECHECK).then(|| Failure {
            code: FailureCode::GuestSilent,
            message: "the guest did not end a command at its time limit".to_owned(),
            console: self.vm.console_tail(),
        })
    }

    fn drop_client(&mut self, id: ClientId) {
        self.clients.remove(&id);
        for stream in self.calls.orphan(id) {
            // A guest that cannot even be told is found out by its next frame or deadline.
            if let Ok(payload) = encode(&agent::Input::Kill) {
                let _ = self.link.send(Frame { stream, kind: Kind::Input, payload });
            }
            // Nobody grants room any more: without this, output that waits for some would keep the end away.
            for channel in [Channel::Stdout, Channel::Stderr] {
                let grant = self.calls.of_agent(stream).and_then(|call| call.window(channel).refill());
                if let Some(grant) = grant {
                    let _ = self.link.send(Frame::credit(stream, channel, grant));
                }
            }
        }
    }

    fn fail_open_calls(&self, failure: &Failure) {
        for (client, stream) in self.calls.owners() {
            if let (Some(client), Some(frame)) =
                (self.clients.get(&client), reply(stream, &Reply::Failed(failure.clone())))
            {
                let _ = client.outbox.send(frame);
            }
        }
    }

    fn status(&self) -> Status {
        Status {
            vm_id: self.vm_id.clone(),
            vmm_pid: self.vm.pid(),
            execs_running: u32::try_from(self.calls.len()).unwrap_or(u32::MAX),
            uptime_seconds: self.born.elapsed().as_secs(),
            private_kib: private_kib(self.vm.pid()),
        }
    }

    fn answer(&self, id: ClientId, stream: StreamId, answer: &Reply) -> Result<(), Fault> {
        match reply(stream, answer) {
            Some(frame) => self.to_client(id, frame),
            None => Err(Fault::Client(id)),
        }
    }

    fn to_client(&self, id: ClientId, frame: Frame) -> Result<(), Fault> {
        match self.clients.get(&id) {
            Some(client) => client.outbox.send(frame).map_err(|_| Fault::Client(id)),
            None => Ok(()),
        }
    }

    fn to_guest(&self, frame: Frame) -> Result<(), Fault> {
        self.link.send(frame).map_err(|error| Fault::Guest(link_failed(&error, &self.vm.console_tail())))
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Fault::Guest(failure)
    }
}

fn guest_broke<E: std::error::Error>(error: E) -> Fault {
    Fault::Guest(crate::failure::guest_broke(&error))
}

fn outward(channel: Channel) -> Result<Channel, Fault> {
    match channel {
        Channel::Stdout | Channel::Stderr => Ok(channel),
        Channel::Stdin => Err(guest_broke(LinkError::OutOfTurn(Kind::Data))),
    }
}

fn inward(channel: Channel) -> Result<Channel, Fault> {
    match channel {
        Channel::Stdin => Ok(channel),
        Channel::Stdout | Channel::Stderr => Err(guest_broke(LinkError::OutOfTurn(Kind::Data))),
    }
}

fn refused(why: &str) -> Reply {
    Reply::Failed(Failure { code: FailureCode::Refused, message: why.to_owned(), console: Vec::new() })
}

fn stopped() -> Failure {
    Failure { code: FailureCode::Stopped, message: "the VM was stopped".to_owned(), console: Vec::new() }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
