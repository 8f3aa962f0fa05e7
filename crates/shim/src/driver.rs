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
//! queued within a bound, and a peer that overruns a bound is dropped. (It waits for the VMM alone, within QMP's
//! bound, when a client asks whether the VM is well, and while a snapshot is taken.) The history of a workspace is written
//! in this task as well ([`crate::recorder`]).

pub(crate) mod capture;
mod commands;
mod continued;
mod ending;
mod from_clients;
mod from_guest;
mod services;
mod shells;
mod transfers;

use std::collections::HashMap;
use std::time::Duration;

use pyro_proto::shim::{Accelerator, Failure, FailureCode, Reply, Status, Transport};
use pyro_proto::{Channel, Frame, Kind, StreamId, agent, encode};
use pyro_store::VmId;
use pyro_vmm::Vm;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::call::{ClientId, Internal, Owner, Work};
use crate::calls::Calls;
use crate::client::{Client, ClientEvent, reply};
use crate::clock::HostClock;
use crate::continued::Continued;
use crate::failure::{expired, failure, link_failed, stopped, vm_ended};
use crate::followers::Followers;
use crate::identity::realtime_ns;
use crate::layers::Layers;
use crate::lifetime::Lifetime;
use crate::limits::{
    CLOCK_CHECK_SECONDS, EXEC_STALLED_RECHECK, HELD_BACK_BYTES_MAX, HOLD_SECONDS_MAX, LAST_WORDS_SECONDS_MAX,
    VMM_GONE_SECONDS_MAX,
};
use crate::link::AgentLink;
use crate::process::private_kib;
use crate::recorder::Recorder;
use crate::services::Services;
use crate::shells::Shells;
use crate::signals::Signals;
use crate::turns::Turns;

use capture::{Advanced, Capture};
pub(crate) use ending::Ending;
use transfers::Waiting;

/// A VM that is up.
#[derive(Debug)]
pub(crate) struct Driver<V> {
    pub(crate) vm_id: VmId,
    pub(crate) accelerator: Accelerator,
    pub(crate) transport: Transport,
    pub(crate) vm: V,
    pub(crate) link: AgentLink,
    /// Whose leaving ends the VM, if anybody's.
    pub(crate) starter: Option<ClientId>,
    pub(crate) born: Instant,
    pub(crate) lifetime: Lifetime,
    pub(crate) session: Option<Session>,
    pub(crate) calls: Calls,
    pub(crate) clients: HashMap<ClientId, Client>,
    pub(crate) followers: Followers,
    pub(crate) transfers: Turns<Waiting>,
    /// The snapshot that is being taken.
    pub(crate) capture: Option<Capture>,
    /// What waits for a guest that must not be spoken to for a moment.
    pub(crate) held_back: Option<Vec<Frame>>,
    pub(crate) clock: HostClock,
    /// The workspace will be reset: what is not on its disk yet need not be.
    pub(crate) discards: bool,
    /// The guest's processors stand.
    pub(crate) is_stopped: bool,
    /// The VM's services are ending, and the VM with them.
    pub(crate) ending: Option<Ending>,
}

/// The workspace of a VM.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) recorder: Recorder,
    pub(crate) shells: Shells,
    pub(crate) services: Services,
    pub(crate) layers: Layers,
    /// Whether it exists; before, it is to be seeded.
    pub(crate) is_ready: bool,
    /// Its seeding has begun.
    pub(crate) is_seeding: bool,
}

/// Who is still there when a VM's life is over.
#[derive(Debug)]
pub(crate) struct End<V> {
    pub(crate) vm: V,
    pub(crate) link: AgentLink,
    /// Who asked for it and waits to hear that it is done, and what they hear.
    pub(crate) stopper: Option<(Owner, Reply)>,
    /// Why it is over.
    pub(crate) failure: Failure,
    /// Whether the guest is well, and has to be asked to write its disk out.
    pub(crate) wants_disk: bool,
    /// Whether its workspace, if it has one, exists.
    pub(crate) is_ready: bool,
    /// Calls that are not answered yet: those of a workspace that will not be.
    pub(crate) unanswered: Vec<Owner>,
    /// Every client.
    pub(crate) clients: HashMap<ClientId, Client>,
}

/// What becomes of the processes of a VM whose life is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They go on when their workspace does.
    Paused,
    /// They were told to end.
    Stopped,
    /// They ended with it.
    Lost,
}

/// A peer that has to go.
enum Fault {
    Client(ClientId),
    Guest(Failure),
}

/// Why a VM's life is over.
enum Over {
    /// It was decided; the guest is well.
    Asked(Failure),
    /// Something failed.
    Failed(Failure),
}

impl<V: Vm> Driver<V> {
    /// Runs the VM until its life is over. Every open call has its reply then, unless its workspace never came
    /// to be.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<ClientEvent>,
        signals: &mut Signals,
        continued: &Continued,
    ) -> End<V> {
        let mut stopper = None;
        let taken_over = self.take_over(continued).and_then(|()| self.recover_services());
        let mut clock_due = Instant::now() + CLOCK_CHECK_SECONDS;
        let over = loop {
            if let Err(Fault::Guest(failure)) = taken_over {
                break Over::Failed(failure);
            }
            if let Some(ending) = self.take_ended() {
                stopper = ending.stopper;
                break Over::Asked(ending.failure);
            }
            let due = earliest(self.calls.next_deadline(), self.end_of_life());
            let due = earliest(due, self.ending.as_ref().map(|ending| ending.deadline));
            let step = tokio::select! {
                () = std::future::ready(()), if self.has_step_due() => match self.advance().await {
                    Ok(Advanced::On) => Ok(()),
                    Ok(Advanced::Paused(owner, captured)) => {
                        stopper = Some((owner, Reply::Paused(captured)));
                        self.discards = true;
                        break Over::Asked(paused());
                    }
                    Err(fault) => Err(fault),
                },
                () = signals.next() => {
                    self.begin_end(stopped(), None);
                    Ok(())
                }
                () = Self::job(&mut self.capture) => Ok(()),
                () = sleep_until(clock_due), if self.held_back.is_none() => {
                    clock_due = Instant::now() + CLOCK_CHECK_SECONDS;
                    self.check_clock()
                }
                frame = self.link.next() => self.on_guest(frame),
                Some(event) = events.recv(), if self.held_back.is_none() => {
                    if event.asks_for_status() && self.vm.status().await.is_err() {
                        break Over::Failed(self.vmm_died().await);
                    }
                    match self.on_client(event) {
                        Ok(Some(asked)) => {
                            self.begin_end(stopped(), Some((asked, Reply::Stopped)));
                            Ok(())
                        }
                        Ok(None) => Ok(()),
                        Err(fault) => Err(fault),
                    }
                },
                exit = self.vm.wait() => {
                    self.last_words().await;
                    break Over::Failed(vm_ended(&exit, &self.vm.console_tail()));
                }
                // A guest that stands is late for nothing.
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && !self.is_stopped => match self.on_time() {
                    Some(Over::Asked(expired)) => {
                        self.begin_end(expired, None);
                        Ok(())
                    }
                    Some(over) => break over,
                    None => Ok(()),
                },
            };
            match step {
                Ok(()) => {}
                Err(Fault::Client(id)) if self.starter == Some(id) => break Over::Asked(stopped()),
                Err(Fault::Client(id)) => self.drop_client(id),
                Err(Fault::Guest(failure)) => break Over::Failed(failure),
            }
        };
        let (failure, wants_disk) = match over {
            Over::Asked(failure) => (failure, !self.discards),
            Over::Failed(failure) => (self.explain(failure).await, false),
        };
        if wants_disk {
            self.let_go_on().await;
        }
        let is_ready = self.session.as_ref().is_none_or(|session| session.is_ready);
        let fate = match (&stopper, wants_disk) {
            (Some((_, Reply::Paused(_))), _) => Fate::Paused,
            (_, true) => Fate::Stopped,
            _ => Fate::Lost,
        };
        let mut unanswered = self.end_calls(&failure, fate);
        if is_ready {
            let failed = Reply::Failed(failure.clone());
            for (client, stream) in unanswered.drain(..) {
                let _ = self.answer(client, stream, &failed);
            }
        }
        let (vm, link, clients) = (self.vm, self.link, self.clients);
        End { vm, link, stopper, failure, wants_disk, is_ready, unanswered, clients }
    }

    /// Hands on what the guest sent before the VM ended.
    async fn last_words(&mut self) {
        let words = async {
            while let Ok(frame) = self.link.next().await {
                if let Err(Fault::Guest(_)) = self.on_guest(Ok(frame)) {
                    break;
                }
            }
        };
        // The lanes are closed at their far ends: this takes as long as reading what is there.
        let _ = tokio::time::timeout(LAST_WORDS_SECONDS_MAX, words).await;
    }

    /// How the VMM ended that does not answer any more.
    async fn vmm_died(&mut self) -> Failure {
        match tokio::time::timeout(VMM_GONE_SECONDS_MAX, self.vm.wait()).await {
            Ok(exit) => vm_ended(&exit, &self.vm.console_tail()),
            Err(_) => failure(FailureCode::VmmDied, "the VMM does not answer"),
        }
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

    /// Whether somebody uses the VM now.
    fn is_busy(&self) -> bool {
        let unready = self.session.as_ref().is_some_and(|session| !session.is_ready);
        // A shell that is open is not in use for that; what is read, typed or printed is a use.
        let shells = self.calls.iter().filter(|(_, call)| matches!(call.work, Work::Shell(_))).count();
        unready || self.capture.is_some() || self.ending.is_some() || self.open_count() > shells
    }

    /// When the VM's time is over, if nothing happens. A workspace's goes on until every client that was told of it has had
    /// the time to say what it wants: it would be lost with a VM that ends just then.
    fn end_of_life(&self) -> Option<Instant> {
        let due = self.lifetime.due(self.is_busy())?;
        let expected = self.clients.values().filter_map(|client| client.expected_until).max();
        Some(expected.filter(|_| self.session.is_some()).map_or(due, |until| due.max(until)))
    }

    /// A guest that is in the middle of a snapshot can write its disk out only once it goes on.
    async fn let_go_on(&mut self) {
        if self.is_stopped && self.vm.resume().await.is_err() {
            return;
        }
        let held_back = self.held_back.take();
        for request in [agent::Request::Release, agent::Request::Thaw] {
            if self.capture.is_some() {
                // One of them is refused, and nobody waits for either.
                let _ = self.ask_internally(Internal::Clock, &request, HOLD_SECONDS_MAX);
            }
        }
        for frame in held_back.into_iter().flatten() {
            let _ = self.tell_guest(frame);
        }
    }

    /// Tells the guest the time where the host's clock has jumped.
    fn check_clock(&mut self) -> Result<(), Fault> {
        if !self.clock.has_jumped() {
            return Ok(());
        }
        let request = agent::Request::SetClock { realtime_ns: realtime_ns() };
        self.ask_internally(Internal::Clock, &request, HOLD_SECONDS_MAX)
    }

    fn open_count(&self) -> usize {
        self.calls.len() + self.followers.len() + self.transfers.waiting().count()
    }

    fn on_time(&mut self) -> Option<Over> {
        let now = Instant::now();
        if self.end_of_life().is_some_and(|due| due <= now) {
            return Some(Over::Asked(expired()));
        }
        self.calls.is_overdue(now, EXEC_STALLED_RECHECK).then(|| {
            Over::Failed(Failure {
                code: FailureCode::GuestSilent,
                message: "the guest did not end a command at its time limit, or a transfer that stood still"
                    .to_owned(),
                console: self.vm.console_tail(),
            })
        })
    }

    fn drop_client(&mut self, id: ClientId) {
        self.clients.remove(&id);
        if self.followers.forget(id) {
            self.lifetime.used(Instant::now());
        }
        let seats = self.session.as_ref().map(|session| session.shells.seats_of(id)).unwrap_or_default();
        for seat in seats {
            // A guest that cannot even be told is found out by its next frame or deadline.
            let _ = self.leave_shell(seat);
        }
        if let Some(session) = &mut self.session {
            session.shells.forget(id);
            session.services.forget(id);
        }
        for stream in self.calls.orphan(id) {
            let Some(call) = self.calls.of_agent(stream) else { continue };
            let goes_on = matches!(call.work, Work::Exec { detached: true, .. } | Work::Shell(_));
            // A guest that cannot even be told is found out by its next frame or deadline.
            if !goes_on && let Ok(payload) = encode(&agent::Input::Kill) {
                let _ = self.tell_guest(Frame { stream, kind: Kind::Input, payload });
            }
            // Nobody grants room any more: without this, output that waits for some would keep the end away.
            for channel in [Channel::Stdout, Channel::Stderr] {
                let grant = self.calls.of_agent(stream).and_then(|call| call.window(channel).refill());
                if let Some(grant) = grant {
                    let _ = self.tell_guest(Frame::credit(stream, channel, grant));
                }
            }
        }
        let _ = self.leave_queue(id);
    }

    /// Records that what runs will not be known to have ended; gives who waits for an answer.
    fn end_calls(&mut self, failure: &Failure, fate: Fate) -> Vec<Owner> {
        let mut of_session = Vec::new();
        if let Some(session) = &mut self.session {
            of_session.extend(session.shells.waiting().chain(session.services.waiting()));
            session.recorder.lose_all(failure);
            session.shells.end_all(fate);
            session.services.end_all(fate);
        }
        let waiting = self.transfers.waiting().filter_map(Waiting::owner);
        let captured = self.capture.as_ref().and_then(|capture| capture.owner);
        let of_calls = self.calls.owners().chain(self.followers.owners());
        of_calls.chain(waiting).chain(captured).chain(of_session).collect()
    }

    fn status(&self) -> Status {
        Status {
            vm_id: self.vm_id.to_string(),
            accelerator: self.accelerator,
            transport: self.transport,
            vmm_pid: self.vm.pid(),
            calls_open: u32::try_from(self.calls.len() + self.transfers.waiting().count())
                .unwrap_or(u32::MAX),
            services_pending: self.session.as_ref().is_some_and(|session| session.services.are_unsettled()),
            uptime_seconds: self.born.elapsed().as_secs(),
            private_kib: private_kib(self.vm.pid()),
        }
    }

    /// Tells a client that the VM is well: what it came for follows.
    fn answer_status(&mut self, (id, stream): Owner) -> Result<(), Fault> {
        if let Some(client) = self.clients.get_mut(&id) {
            client.expect(Instant::now());
        }
        self.answer(id, stream, &Reply::Status(self.status()))
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

    /// Sends to several; one that does not take it keeps nobody else from it.
    fn to_clients(&self, frames: Vec<(ClientId, Frame)>) -> Result<(), Fault> {
        let mut result = Ok(());
        for (id, frame) in frames {
            result = result.and(self.to_client(id, frame));
        }
        result
    }

    fn tell_guest(&mut self, frame: Frame) -> Result<(), Fault> {
        if let Some(held_back) = &mut self.held_back {
            // Windows keep honest traffic far below.
            let bytes: usize = held_back.iter().map(Frame::wire_bytes).sum();
            if bytes > HELD_BACK_BYTES_MAX {
                return Err(Fault::Guest(failure(FailureCode::GuestSilent, "the guest takes nothing")));
            }
            held_back.push(frame);
            return Ok(());
        }
        self.link.send(frame).map_err(|error| Fault::Guest(link_failed(&error, &self.vm.console_tail())))
    }
}

fn refused(why: &str) -> Reply {
    Reply::Failed(Failure { code: FailureCode::Refused, message: why.to_owned(), console: Vec::new() })
}

fn paused() -> Failure {
    Failure {
        code: FailureCode::Stopped,
        message: "the workspace was paused".to_owned(),
        console: Vec::new(),
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
