//! Snapshots of a VM that runs: of its disk, and of its memory with it.
//!
//! ```text
//!   disk     new layer made, and Sync ─► Freeze ─► layer added, recorded ─► Thaw ─► answer
//!   memory   new layer made, copy of what the memory started as ─► Sync ─► Hold ─► stand still: layer added,
//!            recorded; memory written ─► Release ─► image stored, kept ─► answer
//!   pause    the same, but the image is stored while the guest stands still, and the VM ends
//!   baseline as for a disk, when a workspace was seeded; its existence is recorded with it
//! ```
//!
//! One at a time, in turn with trees that are moved. Between the moment from which the VM writes to a new layer and
//! the record of that the guest cannot write, so nothing that anybody was told of can be lost. If that record
//! cannot be made, the VM is ended: nobody would find what it writes.
//!
//! From Hold to Release no client is heard: the guest must not be told anything new, and what clients send waits
//! in their sockets.

mod memory;
mod steps;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pyro_proto::agent::{self, Tally, Written};
use pyro_proto::shim::{Captured, Failure, Reply, Snapshot};
use pyro_proto::{Frame, Kind, encode};
use pyro_store::{FileLock, LayerId};
use pyro_vmm::{Draft, TemplateKey, Vm};
use tokio::task::{JoinHandle, spawn_blocking};

use super::transfers::Waiting;
use super::{Driver, Fault, refused};
use crate::call::{Call, Internal, Owner, Step};
use crate::failure::system;
use crate::layers::{KeptBy, Sizes, Unrecorded};
use crate::limits::{CALLS_OPEN_MAX, EXEC_FLUSH_SECONDS_MAX, HOLD_SECONDS_MAX};
use crate::turns::Turn;

/// A snapshot that is being taken.
#[derive(Debug)]
pub(crate) struct Capture {
    /// Who waits for it.
    pub(crate) owner: Option<Owner>,
    purpose: Purpose,
    memory: Option<Memory>,
    written: Written,
    /// What the guest held for its disk is written, but for what it has thought of since.
    is_synced: bool,
    /// How long the guest stood still, or could not write.
    standstill: Duration,
    stood_still: Option<Instant>,
    sealed: Option<LayerId>,
    /// Work of another thread.
    job: Option<JoinHandle<Result<Done, Failure>>>,
    /// The layer that will be written.
    layer: Option<Unrecorded>,
    /// What came of it, once the guest only has to be let go on.
    outcome: Option<Result<(), Failure>>,
    /// What has happened and is to be acted on in the main loop, where the VMM can be waited for.
    due: VecDeque<Due>,
    /// Who asks, while the VM is paused, whether it is well. The answer is that it goes on, or the end of the connection:
    /// a command that came now would end with the VM.
    asking: Vec<Owner>,
}

/// Something that a capture goes on from.
#[derive(Debug)]
enum Due {
    /// The guest has done a step.
    Guest(Step, agent::Reply),
    /// Another thread has done its work.
    Job(Result<Done, Failure>),
}

/// What for.
#[derive(Debug)]
enum Purpose {
    /// To be kept.
    Keep(KeptBy),
    /// To go on later.
    Pause,
    /// What a seed has filled.
    Baseline(Tally),
}

/// What another thread has done for it.
#[derive(Debug)]
enum Done {
    /// The layer is made, and where there is memory, what that started as is copied.
    Prepared(Box<Unrecorded>),
    /// The whole image is stored.
    Stored,
}

/// The memory's part.
#[derive(Debug, Default)]
struct Memory {
    draft: Option<(Draft, TemplateKey)>,
    /// The guest was let go on.
    is_released: bool,
    copied_bytes: u64,
    copied_in: Duration,
    /// Keeps those away who remove images that no record knows.
    birth: Option<FileLock>,
}

/// How a step of a capture ended, where it did not just go on.
pub(super) enum Advanced {
    /// It goes on.
    On,
    /// The VM is paused for good: its life is over.
    Paused(Owner, Captured),
}

impl Capture {
    fn new(owner: Option<Owner>, purpose: Purpose, memory: bool) -> Capture {
        Capture {
            owner,
            purpose,
            memory: memory.then(Memory::default),
            written: Written::default(),
            is_synced: false,
            standstill: Duration::ZERO,
            stood_still: None,
            sealed: None,
            job: None,
            layer: None,
            outcome: None,
            due: VecDeque::new(),
            asking: Vec::new(),
        }
    }

    /// Whether it has this call.
    pub(super) fn has(&self, owner: Owner) -> bool {
        self.owner == Some(owner) || self.asking.contains(&owner)
    }

    /// The baseline of a workspace that was just seeded.
    pub(crate) fn baseline(owner: Option<Owner>, tally: Tally) -> Capture {
        Capture::new(owner, Purpose::Baseline(tally), false)
    }

    fn sizes(&self) -> Sizes {
        Sizes { entries: self.written.entries, bytes: self.written.bytes }
    }

    fn captured(&self) -> Captured {
        let memory = self.memory.as_ref();
        Captured {
            layer: self.sealed.as_ref().map(ToString::to_string).unwrap_or_default(),
            entries: self.written.entries,
            written_bytes: self.written.bytes,
            write_us: self.written.duration_us,
            standstill_us: micros(self.standstill),
            memory_bytes: memory.map_or(0, |memory| memory.copied_bytes),
            memory_us: memory.map_or(0, |memory| micros(memory.copied_in)),
        }
    }
}

impl<V: Vm> Driver<V> {
    pub(super) fn open_snapshot(&mut self, owner: Owner, snapshot: &Snapshot) -> Result<(), Fault> {
        match KeptBy::parse(&snapshot.keep) {
            Ok(kept_by) => self.ask_for(Capture::new(Some(owner), Purpose::Keep(kept_by), snapshot.memory)),
            Err(failure) => self.answer(owner.0, owner.1, &Reply::Failed(failure)),
        }
    }

    pub(super) fn open_pause(&mut self, owner: Owner) -> Result<(), Fault> {
        self.ask_for(Capture::new(Some(owner), Purpose::Pause, true))
    }

    /// Tells a client that the VM is well, as soon as that is certain.
    pub(super) fn open_status(&mut self, owner: Owner) -> Result<(), Fault> {
        if let Some(capture) = &mut self.capture
            && matches!(capture.purpose, Purpose::Pause)
            && capture.asking.len() < CALLS_OPEN_MAX
        {
            capture.asking.push(owner);
            return Ok(());
        }
        self.answer_status(owner)
    }

    fn ask_for(&mut self, capture: Capture) -> Result<(), Fault> {
        if !self.session.as_ref().is_some_and(|session| session.is_ready) {
            let Some((id, stream)) = capture.owner else { return Ok(()) };
            return self.answer(
                id,
                stream,
                &refused("this VM has no workspace, or one that is not seeded yet"),
            );
        }
        self.transfers.ask(Turn::Exclusive, Waiting::Capture(Box::new(capture)));
        self.begin_transfers()
    }

    /// Its turn has come.
    pub(super) fn begin_capture(&mut self, capture: Capture) -> Result<(), Fault> {
        let has_memory = capture.memory.is_some();
        let checked = match (&self.session, &capture.purpose) {
            (Some(session), Purpose::Keep(kept_by)) => session.layers.check(Some(kept_by)),
            (Some(session), Purpose::Pause) => session.layers.check(None),
            _ => Ok(()),
        };
        self.capture = Some(capture);
        match checked {
            Err(failure) => self.end_capture(Err(failure)),
            Ok(()) if has_memory => self.begin_memory(),
            Ok(()) => {
                let making = self.session.as_ref().map(|session| session.layers.making());
                if let (Some(capture), Some(making)) = (&mut self.capture, making) {
                    capture.job = Some(spawn_blocking(move || Ok(Done::Prepared(Box::new(making()?)))));
                }
                self.ask_guest(Step::Sync)
            }
        }
    }

    /// Waits for the work of another thread, where there is any, and notes what came of it. May be given up and called
    /// again.
    pub(super) async fn job(capture: &mut Option<Capture>) {
        let Some(capture) = capture.as_mut() else { return std::future::pending().await };
        let Some(job) = capture.job.as_mut() else { return std::future::pending().await };
        let done = job.await;
        capture.job = None;
        let done = done.unwrap_or_else(|error| Err(system("work on a snapshot failed", &error)));
        capture.due.push_back(Due::Job(done));
    }

    /// Asks the guest for the next step.
    fn ask_guest(&mut self, step: Step) -> Result<(), Fault> {
        let (request, patience) = match step {
            Step::Sync => (agent::Request::Sync, EXEC_FLUSH_SECONDS_MAX),
            Step::Freeze => (agent::Request::Freeze, EXEC_FLUSH_SECONDS_MAX),
            Step::Thaw => (agent::Request::Thaw, HOLD_SECONDS_MAX),
            Step::Hold => (agent::Request::Hold, HOLD_SECONDS_MAX),
            Step::Release => (agent::Request::Release, HOLD_SECONDS_MAX),
        };
        self.ask_internally(Internal::Capture(step), &request, patience)
    }

    /// Opens a call of the shim's own.
    pub(super) fn ask_internally(
        &mut self,
        work: Internal,
        request: &agent::Request,
        patience: Duration,
    ) -> Result<(), Fault> {
        let Ok(payload) = encode(request) else { return Ok(()) };
        let stream = self.link.next_stream();
        self.calls.open(stream, Call::internal(work, tokio::time::Instant::now().checked_add(patience)));
        self.tell_guest(Frame { stream, kind: Kind::Open, payload })
    }

    /// The guest has answered a call of the shim's own.
    pub(super) fn end_internal(
        &mut self,
        stream: pyro_proto::StreamId,
        internal: Internal,
        answer: agent::Reply,
    ) -> Result<(), Fault> {
        self.calls.close(stream);
        match (internal, &mut self.capture) {
            (Internal::Capture(step), Some(capture)) => capture.due.push_back(Due::Guest(step, answer)),
            (Internal::Clock, _) if answer != agent::Reply::ClockSet => self.clock.doubt(),
            _ => {}
        }
        Ok(())
    }

    /// A capture came to its end, good or bad: who waits is told, and the next one has its turn.
    fn end_capture(&mut self, result: Result<(), Failure>) -> Result<(), Fault> {
        let Some(capture) = self.capture.take() else { return Ok(()) };
        self.lifetime.used(tokio::time::Instant::now());
        let answer = match (result, &capture.purpose) {
            (Ok(()), Purpose::Baseline(tally)) => Reply::Transferred(*tally),
            (Ok(()), _) => Reply::Snapshotted(capture.captured()),
            // Half a workspace is none: its call is answered when nothing of it is left.
            (Err(failure), Purpose::Baseline(_)) => {
                self.capture = Some(capture);
                return Err(Fault::Guest(failure));
            }
            (Err(failure), _) => Reply::Failed(failure),
        };
        let mut answered = capture.owner.map_or(Ok(()), |(id, stream)| self.answer(id, stream, &answer));
        for owner in capture.asking {
            answered = answered.and(self.answer_status(owner));
        }
        self.transfers.done(Turn::Exclusive);
        self.begin_transfers().and(answered)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
