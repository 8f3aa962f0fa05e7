//! Frames of the guest: counted and checked, then told to the client they are for. Everything here is hostile.

use pyro_proto::shim::{self, Reply};
use pyro_proto::{Channel, Frame, Kind, StreamId, agent, decode};
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::{Driver, Fault};
use crate::call::{Owner, Work};
use crate::client::event;
use crate::failure::link_failed;
use crate::followers::Followed;
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
                    _ if let Work::Shell(key) = work => self.type_on(key),
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
        let fed = match self.keep(work, channel, content) {
            Some(followed) => {
                let frames = self.followers.feed(followed);
                self.to_clients(frames)
            }
            None => Ok(()),
        };
        let is_swallowed = owner.is_none() || is_kept_only(work);
        let relayed = self.relay_output(work, owner, frame);
        if is_swallowed {
            self.swallow(agent_stream, channel, bytes)?;
        }
        fed.and(relayed)
    }

    /// Keeps what a process of the workspace has written; gives whose output that was.
    fn keep(&mut self, work: Work, channel: Channel, content: &[u8]) -> Option<Followed> {
        let session = self.session.as_mut()?;
        match work {
            Work::Exec { sequence: Some(sequence), .. } => {
                session.recorder.append(sequence, channel, content);
                Some(Followed::Command(sequence))
            }
            Work::Shell(key) => {
                session.shells.append(key, content);
                self.lifetime.used(Instant::now());
                Some(Followed::Shell(key))
            }
            Work::Service(key) => {
                session.services.append(key, channel, content);
                Some(Followed::Service(key))
            }
            Work::Exec { sequence: None, .. } | Work::Transfer(_) | Work::Internal(_) => None,
        }
    }

    /// What a detached command, a shell or a service writes is kept, and followed from there.
    fn relay_output(&mut self, work: Work, owner: Option<Owner>, frame: Frame) -> Result<(), Fault> {
        match owner {
            Some((client, stream)) if !is_kept_only(work) => {
                self.to_client(client, Frame { stream, ..frame })
            }
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
            (Work::Shell(key), agent::Event::Started { .. }) => self.shell_started(agent_stream, key),
            (Work::Service(key), news) => self.on_service_news(key, news),
            (Work::Transfer(_), agent::Event::Progress { done, total }) => {
                let Some((client, stream)) = owner else { return Ok(()) };
                match event(stream, &shim::Event::Progress { done, total }) {
                    Some(frame) => self.to_client(client, frame),
                    None => Ok(()),
                }
            }
            (Work::Exec { .. } | Work::Shell(_) | Work::Transfer(_) | Work::Internal(_), _) => {
                Err(out_of_turn(Kind::Event))
            }
        }
    }

    fn on_reply(&mut self, frame: &Frame) -> Result<(), Fault> {
        let answer = decode::<agent::Reply>(&frame.payload).map_err(guest_broke)?;
        let Some(call) = self.calls.of_agent(frame.stream) else { return Ok(()) };
        if !matches!(answer, agent::Reply::Failed(_)) {
            call.check_ended().map_err(guest_broke)?;
        }
        let work = call.work;
        let ended = |answer| match answer {
            agent::Reply::Exited(exited) => Ok(Ok(exited)),
            agent::Reply::Failed(error) => Ok(Err(error)),
            _ => Err(out_of_turn(Kind::Reply)),
        };
        match work {
            Work::Exec { sequence, .. } => self.end_exec(frame.stream, sequence, ended(answer)?),
            Work::Shell(key) => self.end_shell(frame.stream, key, ended(answer)?),
            Work::Service(key) => self.end_service(frame.stream, key, ended(answer)?),
            Work::Transfer(transfer) => self.end_transfer(frame.stream, transfer, answer),
            Work::Internal(internal) => self.end_internal(frame.stream, internal, answer),
        }
    }
}

fn is_kept_only(work: Work) -> bool {
    matches!(work, Work::Exec { detached: true, .. } | Work::Shell(_) | Work::Service(_))
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
