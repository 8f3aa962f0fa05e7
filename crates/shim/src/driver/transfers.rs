//! Trees into and out of the workspace: who waits for whom, and their ends. Captures wait in the same queue.
//!
//! A transfer that waits has no call at the agent yet. What its client sends meanwhile is held, within the
//! window that the client has to keep anyway.

use pyro_proto::limits::DATA_BYTES_MAX;
use pyro_proto::shim::{Reply, Transfer as Request};
use pyro_proto::{Channel, Frame, Kind, StreamId, agent, decode, encode};
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::capture::Capture;
use super::from_guest::out_of_turn;
use super::{Driver, Fault, refused};
use crate::call::{Call, ClientId, Owner, Transfer};
use crate::failure::agent_failed;

/// Something whose turn has not come.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A tree to be moved.
    Transfer(Box<WaitingTransfer>),
    /// A snapshot to be taken.
    Capture(Box<Capture>),
}

/// A transfer whose turn has not come.
#[derive(Debug)]
pub(crate) struct WaitingTransfer {
    owner: Owner,
    call: Call,
    /// What the agent will be asked.
    request: Vec<u8>,
    /// What the client has sent.
    held: Vec<u8>,
}

impl Waiting {
    /// Who waits.
    pub(crate) fn owner(&self) -> Option<Owner> {
        match self {
            Waiting::Transfer(waiting) => Some(waiting.owner),
            Waiting::Capture(capture) => capture.owner,
        }
    }
}

impl<V: Vm> Driver<V> {
    pub(super) fn open_transfer(&mut self, owner: Owner, request: Request) -> Result<(), Fault> {
        let (id, stream) = owner;
        let Some(session) = &mut self.session else {
            return self.answer(id, stream, &refused("this VM has no workspace"));
        };
        let is_seed = request == Request::Seed;
        if is_seed == session.is_ready {
            let why =
                if is_seed { "the workspace has its baseline" } else { "the workspace is not seeded yet" };
            return self.answer(id, stream, &refused(why));
        }
        if is_seed && (self.starter != Some(id) || std::mem::replace(&mut session.is_seeding, true)) {
            return self.answer(id, stream, &refused("only who makes a workspace seeds it, and once"));
        }
        let (transfer, request) = match request {
            Request::Seed => (Transfer::Seed, agent::Request::Seed),
            Request::Push(push) => (Transfer::Push, agent::Request::Push(push)),
            Request::Changes(changes) => (Transfer::Changes, agent::Request::Changes(changes)),
            Request::Export(export) => (Transfer::Export, agent::Request::Export(export)),
        };
        let request = encode(&request).map_err(|_| Fault::Client(id))?;
        let call = Call::transfer(owner, transfer);
        let waiting = WaitingTransfer { owner, call, request, held: Vec::new() };
        self.transfers.ask(transfer.turn(), Waiting::Transfer(Box::new(waiting)));
        self.begin_transfers()
    }

    /// Begins what has its turn.
    pub(super) fn begin_transfers(&mut self) -> Result<(), Fault> {
        while let Some(waiting) = self.transfers.next() {
            let waiting = match waiting {
                Waiting::Transfer(waiting) => *waiting,
                Waiting::Capture(capture) => {
                    self.begin_capture(*capture)?;
                    continue;
                }
            };
            let WaitingTransfer { mut call, request, held, .. } = waiting;
            call.flow(Instant::now());
            let (stream, has_ended) = (self.link.next_stream(), !call.takes_input);
            let expects_input = call.work_takes_input();
            self.calls.open(stream, call);
            self.tell_guest(Frame { stream, kind: Kind::Open, payload: request })?;
            for piece in held.chunks(DATA_BYTES_MAX) {
                self.tell_guest(Frame::data(stream, Channel::Stdin, piece))?;
            }
            if expects_input && has_ended {
                self.tell_guest(Frame::eof(stream, Channel::Stdin))?;
            }
        }
        Ok(())
    }

    pub(super) fn end_transfer(
        &mut self,
        agent_stream: StreamId,
        transfer: Transfer,
        answer: agent::Reply,
    ) -> Result<(), Fault> {
        let answer = match (transfer, answer) {
            // It is answered when the baseline is a layer of its own.
            (Transfer::Seed, agent::Reply::Seeded(tally)) => {
                let owner = self.calls.close(agent_stream).and_then(|call| call.owner);
                return self.begin_capture(Capture::baseline(owner, tally));
            }
            // Half a baseline is none: its call is answered when nothing of the workspace is left.
            (Transfer::Seed, agent::Reply::Failed(error)) => return Err(Fault::Guest(agent_failed(&error))),
            (Transfer::Push, agent::Reply::Pushed(tally))
            | (Transfer::Changes, agent::Reply::Changed(tally))
            | (Transfer::Export, agent::Reply::Exported(tally)) => Reply::Transferred(tally),
            (_, agent::Reply::Failed(error)) => Reply::Refused(error),
            _ => return Err(out_of_turn(Kind::Reply)),
        };
        self.lifetime.used(Instant::now());
        if let Some(session) = &self.session {
            session.recorder.touch(transfer == Transfer::Push);
        }
        let owner = self.calls.close(agent_stream).and_then(|call| call.owner);
        let answered = owner.map_or(Ok(()), |(client, stream)| self.answer(client, stream, &answer));
        self.transfers.done(transfer.turn());
        self.begin_transfers()?;
        answered
    }

    /// What a client sends before its transfer's turn; of a call that has ended, nothing matters.
    pub(super) fn hold(&mut self, owner: Owner, frame: &Frame) -> Result<(), Fault> {
        let id = owner.0;
        let Some(waiting) = self.transfers.waiting_mut().find(|waiting| waiting.owner() == Some(owner))
        else {
            return Ok(());
        };
        match (frame.kind, waiting) {
            (Kind::Data, Waiting::Transfer(waiting)) => {
                let (channel, bytes) = frame.as_data().map_err(|_| Fault::Client(id))?;
                if channel != Channel::Stdin || !waiting.call.takes_input {
                    return Err(Fault::Client(id));
                }
                waiting.call.window(channel).receive(bytes.len()).map_err(|_| Fault::Client(id))?;
                waiting.held.extend_from_slice(bytes);
                Ok(())
            }
            (Kind::Eof, Waiting::Transfer(waiting)) => {
                let ends_input = frame.as_eof().is_ok_and(|channel| channel == Channel::Stdin);
                match ends_input && std::mem::replace(&mut waiting.call.takes_input, false) {
                    true => Ok(()),
                    false => Err(Fault::Client(id)),
                }
            }
            (Kind::Input, _) => match decode::<agent::Input>(&frame.payload) {
                Ok(agent::Input::Kill) => self.call_off(owner),
                Ok(_) => Ok(()),
                Err(_) => Err(Fault::Client(id)),
            },
            // Nothing was sent that room could be granted for.
            _ => Err(Fault::Client(id)),
        }
    }

    fn call_off(&mut self, owner: Owner) -> Result<(), Fault> {
        self.transfers.remove(|waiting| waiting.owner() == Some(owner));
        self.lifetime.used(Instant::now());
        let detail = "it was called off before it began".to_owned();
        let answer = Reply::Refused(agent::Failure { kind: agent::FailureKind::Canceled, detail });
        let answered = self.answer(owner.0, owner.1, &answer);
        self.begin_transfers()?;
        answered
    }

    /// A client that left no longer waits.
    pub(super) fn leave_queue(&mut self, id: ClientId) -> Result<(), Fault> {
        let is_his = |waiting: &Waiting| waiting.owner().is_some_and(|owner| owner.0 == id);
        if !self.transfers.remove(is_his).is_empty() {
            self.lifetime.used(Instant::now());
        }
        self.begin_transfers()
    }
}
