//! Frames of the guest: counted and checked, then told to the client they are for. Everything here is hostile.

use pyro_proto::shim::{self, Reply};
use pyro_proto::{Channel, Frame, Kind, StreamId, agent, decode};
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::{Driver, Fault};
use crate::call::{Owner, Work};
use crate::client::event;
use crate::failure::link_failed;
use crate::link::LinkError;

impl<V: Vm> Driver<V> {
    pub(super) fn on_guest(&mut self, frame: Result<Frame, LinkError>) -> Result<(), Fault> {
        let frame = frame.map_err(|error| Fault::Guest(link_failed(&error, &self.vm.console_tail())))?;
        let Some(call) = self.calls.of_agent(frame.stream) else {
            return Ok(()); // a straggler of a call that has ended
        };
        let now = Instant::now();
        call.flow(now);
        let (work, owner) = (call.work, call.owner);
        match frame.kind {
            Kind::Data => {
                let (channel, bytes) = frame.as_data().map_err(guest_broke)?;
                expected(&frame, call.receive(channel, bytes.len()))?;
                self.on_output(work, owner, frame)
            }
            Kind::Eof => {
                let channel = frame.as_eof().map_err(guest_broke)?;
                expected(&frame, call.end_output(channel))?;
                if self.session.is_some() {
                    call.await_flush(now);
                }
                self.relay_output(work, owner, frame)
            }
            Kind::Credit => {
                let (channel, bytes) = frame.as_credit().map_err(guest_broke)?;
                if matches!(work, Work::Internal(_)) {
                    return Ok(()); // the last word on its lane of a guest that falls silent
                }
                if channel != Channel::Stdin {
                    return Err(out_of_turn(frame.kind));
                }
                call.grant_input(bytes).map_err(guest_broke)?;
                match owner {
                    Some((client, stream)) => self.to_client(client, Frame { stream, ..frame }),
                    None => Ok(()),
                }
            }
            Kind::Event => {
                call.hear(now).map_err(guest_broke)?;
                let news = decode::<agent::Event>(&frame.payload).map_err(guest_broke)?;
                self.on_news(work, owner, frame.stream, news)
            }
            Kind::Reply => self.on_reply(&frame),
            Kind::Hello | Kind::Open | Kind::Input | Kind::Barrier => Err(out_of_turn(frame.kind)),
        }
    }

    fn on_output(&mut self, work: Work, owner: Option<Owner>, frame: Frame) -> Result<(), Fault> {
        let (agent_stream, bytes) = (frame.stream, frame.payload.len().saturating_sub(1));
        let (channel, content) = frame.as_data().map_err(guest_broke)?;
        let mut fed = Ok(());
        if let Work::Exec { sequence: Some(sequence), .. } = work
            && let Some(session) = &mut self.session
        {
            session.recorder.append(sequence, channel, content);
            let frames = self.followers.feed(sequence);
            fed = self.to_clients(frames);
        }
        let is_swallowed = owner.is_none() || is_detached(work);
        let relayed = self.relay_output(work, owner, frame);
        if is_swallowed {
            self.swallow(agent_stream, channel, bytes)?;
        }
        fed.and(relayed)
    }

    /// What a detached command writes is for the history alone.
    fn relay_output(&mut self, work: Work, owner: Option<Owner>, frame: Frame) -> Result<(), Fault> {
        match owner {
            Some((client, stream)) if !is_detached(work) => self.to_client(client, Frame { stream, ..frame }),
            _ => Ok(()),
        }
    }

    /// Lets a call flow whose output nobody takes.
    fn swallow(&mut self, stream: StreamId, channel: Channel, bytes: usize) -> Result<(), Fault> {
        let Some(call) = self.calls.of_agent(stream) else { return Ok(()) };
        match call.window(channel).consume(bytes) {
            Some(grant) => self.tell_guest(Frame::credit(stream, channel, grant)),
            None => Ok(()),
        }
    }

    fn on_news(
        &mut self,
        work: Work,
        owner: Option<Owner>,
        agent_stream: StreamId,
        news: agent::Event,
    ) -> Result<(), Fault> {
        match (work, news) {
            (Work::Exec { detached: true, .. }, agent::Event::Started { .. }) => {
                match self.calls.detach(agent_stream) {
                    Some((client, stream)) => self.answer(client, stream, &Reply::Detached),
                    None => Ok(()),
                }
            }
            (Work::Exec { .. }, agent::Event::Started { .. }) => Ok(()),
            (Work::Transfer(_), agent::Event::Progress { done, total }) => {
                let Some((client, stream)) = owner else { return Ok(()) };
                match event(stream, &shim::Event::Progress { done, total }) {
                    Some(frame) => self.to_client(client, frame),
                    None => Ok(()),
                }
            }
            (Work::Exec { .. }, agent::Event::Progress { .. })
            | (Work::Transfer(_), agent::Event::Started { .. })
            | (Work::Internal(_), _) => Err(out_of_turn(Kind::Event)),
        }
    }

    fn on_reply(&mut self, frame: &Frame) -> Result<(), Fault> {
        let answer = decode::<agent::Reply>(&frame.payload).map_err(guest_broke)?;
        let Some(call) = self.calls.of_agent(frame.stream) else { return Ok(()) };
        if !matches!(answer, agent::Reply::Failed(_)) {
            call.check_ended().map_err(guest_broke)?;
        }
        match call.work {
            Work::Exec { sequence, .. } => match answer {
                agent::Reply::Exited(exited) => self.end_exec(frame.stream, sequence, Ok(exited)),
                agent::Reply::Failed(error) => self.end_exec(frame.stream, sequence, Err(error)),
                _ => Err(out_of_turn(Kind::Reply)),
            },
            Work::Transfer(transfer) => self.end_transfer(frame.stream, transfer, answer),
            Work::Internal(internal) => self.end_internal(frame.stream, internal, answer),
        }
    }
}

fn is_detached(work: Work) -> bool {
    matches!(work, Work::Exec { detached: true, .. })
}

/// `None`: the guest used a channel that is not its own.
fn expected<E: std::error::Error>(frame: &Frame, checked: Option<Result<(), E>>) -> Result<(), Fault> {
    match checked {
        Some(result) => result.map_err(guest_broke),
        None => Err(out_of_turn(frame.kind)),
    }
}

pub(super) fn out_of_turn(kind: Kind) -> Fault {
    guest_broke(LinkError::OutOfTurn(kind))
}

pub(super) fn guest_broke<E: std::error::Error>(error: E) -> Fault {
    Fault::Guest(crate::failure::guest_broke(&error))
}
