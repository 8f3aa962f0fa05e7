//! Shells: opened, typed into, sat at, closed. They go on whoever leaves.

use pyro_proto::limits::{DATA_BYTES_MAX, SHELL_WRITE_BYTES_MAX};
use pyro_proto::shim::{FailureCode, Reply, ShellOrder};
use pyro_proto::{Channel, Frame, Kind, StreamId, agent, decode, encode};
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::{Driver, Fault, refused};
use crate::call::{Call, ClientId, Owner, ShellKey};
use crate::failure::failure;
use crate::followers::{Followed, Source};
use crate::limits::SIGNAL_HANGUP;
use crate::shells::Attached;
use crate::typing::Typist;

impl<V: Vm> Driver<V> {
    pub(super) fn open_shell(&mut self, owner: Owner, command: agent::Exec) -> Result<(), Fault> {
        let (id, stream) = owner;
        let has_size = |terminal: &agent::Terminal| terminal.size.is_possible();
        if !command.terminal.as_ref().is_some_and(has_size) || !command.stdin || command.timeout_ms.is_some()
        {
            return self.answer(id, stream, &refused("this is no shell"));
        }
        let Some(session) = self.session.as_mut().filter(|session| session.is_ready) else {
            return self.answer(id, stream, &no_workspace());
        };
        let agent_stream = self.link.next_stream();
        let key = match session.shells.begin(&command, agent_stream) {
            Ok(key) => key,
            Err(failure) => return self.answer(id, stream, &Reply::Failed(failure)),
        };
        let payload = encode(&agent::Request::Exec(command)).map_err(|_| Fault::Client(id))?;
        self.calls.open(agent_stream, Call::shell(owner, key));
        self.tell_guest(Frame { stream: agent_stream, kind: Kind::Open, payload })
    }

    /// The guest has started it.
    pub(super) fn shell_started(&mut self, agent_stream: StreamId, key: ShellKey) -> Result<(), Fault> {
        let shell = self.session.as_mut().and_then(|session| session.shells.get(key));
        let Some(id) = shell.map(|shell| shell.new.id.to_string()) else { return Ok(()) };
        match self.calls.detach(agent_stream) {
            Some((client, stream)) => self.answer(client, stream, &Reply::ShellOpened { id }),
            None => Ok(()),
        }
    }

    pub(super) fn order_shell(&mut self, owner: Owner, id: &str, order: ShellOrder) -> Result<(), Fault> {
        let Some((key, agent_stream)) = self.find_shell(id) else { return self.no_shell(owner) };
        self.lifetime.used(Instant::now());
        match order {
            ShellOrder::Write(bytes) => return self.write_shell(owner, key, bytes),
            ShellOrder::Signal(signal) => self.steer(agent_stream, agent::Input::Signal(signal))?,
            ShellOrder::Resize(size) => self.resize_shell((key, agent_stream), size)?,
            ShellOrder::Close { grace_ms } => {
                let shell = self.session.as_mut().and_then(|session| session.shells.get(key));
                let Some(shell) = shell else { return Ok(()) };
                shell.closers.push(owner);
                // Answered when it has ended.
                return self.steer(agent_stream, agent::Input::Stop { signal: SIGNAL_HANGUP, grace_ms });
            }
        }
        self.answer(owner.0, owner.1, &Reply::ShellServed)
    }

    fn write_shell(&mut self, owner: Owner, key: ShellKey, bytes: Vec<u8>) -> Result<(), Fault> {
        let (id, stream) = owner;
        if bytes.len() > SHELL_WRITE_BYTES_MAX {
            return self.answer(id, stream, &refused("more than a shell takes at once"));
        }
        let Some(shell) = self.session.as_mut().and_then(|session| session.shells.get(key)) else {
            return Ok(());
        };
        match shell.typing.put(Typist::Writer(owner), bytes) {
            true => self.type_on(key),
            false => self.answer(id, stream, &refused("the shell does not read what waits for it already")),
        }
    }

    fn resize_shell(
        &mut self,
        (key, agent_stream): (ShellKey, StreamId),
        size: agent::TerminalSize,
    ) -> Result<(), Fault> {
        if !size.is_possible() {
            return Ok(());
        }
        if let Some(session) = &mut self.session {
            session.shells.resized(key, size);
        }
        self.steer(agent_stream, agent::Input::Resize(size))
    }

    /// Hands on what waits to be typed, as far as the guest takes it.
    pub(super) fn type_on(&mut self, key: ShellKey) -> Result<(), Fault> {
        loop {
            let Some(shell) = self.session.as_mut().and_then(|session| session.shells.get(key)) else {
                return Ok(());
            };
            let agent_stream = shell.stream;
            let Some(call) = self.calls.of_agent(agent_stream) else { return Ok(()) };
            let window = call.window(Channel::Stdin);
            let room = usize::try_from(window.room()).unwrap_or(usize::MAX).min(DATA_BYTES_MAX);
            let Some(piece) = shell.typing.take(room) else { return Ok(()) };
            if !piece.bytes.is_empty() {
                // As much as there is room for.
                let _ = window.receive(piece.bytes.len());
                self.tell_guest(Frame::data(agent_stream, Channel::Stdin, &piece.bytes))?;
            }
            match piece.typist {
                Typist::Writer((id, stream)) if piece.is_last => {
                    self.answer_or_drop(id, stream, &Reply::ShellServed)
                }
                Typist::Writer(_) => {}
                Typist::Attached(owner) => self.grant_attached(owner, piece.bytes.len()),
            }
        }
    }

    fn grant_attached(&mut self, owner: Owner, bytes: usize) {
        let attached = self.session.as_mut().and_then(|session| session.shells.attached.get_mut(&owner));
        if let Some(grant) = attached.and_then(|attached| attached.window.consume(bytes)) {
            // A client that takes nothing is dropped by what it is sent next.
            let _ = self.to_client(owner.0, Frame::credit(owner.1, Channel::Stdin, grant));
        }
    }

    pub(super) fn attach(&mut self, owner: Owner, id: &str, from: u64) -> Result<(), Fault> {
        let Some((key, _)) = self.find_shell(id) else { return self.no_shell(owner) };
        self.lifetime.used(Instant::now());
        let Some(session) = &mut self.session else { return Ok(()) };
        let Some(source) = session.shells.source(key, from) else { return Ok(()) };
        let followers = &self.followers;
        session.shells.attached.retain(|owner, _| followers.has(*owner));
        session.shells.attached.insert(owner, Attached::to(key));
        let frames = self.followers.join(owner, Followed::Shell(key), source);
        self.to_clients(frames)
    }

    pub(super) fn follow_shell(&mut self, owner: Owner, id: &str, from: u64) -> Result<(), Fault> {
        let Some((key, _)) = self.find_shell(id) else { return self.no_shell(owner) };
        let source = self.session.as_ref().and_then(|session| session.shells.source(key, from));
        self.join(owner, Followed::Shell(key), source)
    }

    pub(super) fn join(
        &mut self,
        owner: Owner,
        followed: Followed,
        source: Option<Source>,
    ) -> Result<(), Fault> {
        self.lifetime.used(Instant::now());
        let Some(source) = source else { return Ok(()) };
        let frames = self.followers.join(owner, followed, source);
        self.to_clients(frames)
    }

    /// What somebody who sits at a shell does; `false` when this is nobody who does.
    pub(super) fn on_attached(&mut self, owner: Owner, frame: &Frame) -> Result<bool, Fault> {
        let id: ClientId = owner.0;
        let Some(session) = &mut self.session else { return Ok(false) };
        let Some(attached) = session.shells.attached.get_mut(&owner) else { return Ok(false) };
        let key = attached.key;
        let agent_stream = session.shells.get(key).map(|shell| shell.stream);
        self.lifetime.used(Instant::now());
        match frame.kind {
            Kind::Data => {
                let (channel, bytes) = frame.as_data().map_err(|_| Fault::Client(id))?;
                if channel != Channel::Stdin || bytes.is_empty() {
                    return Err(Fault::Client(id));
                }
                let attached = session.shells.attached.get_mut(&owner);
                let received = attached.map_or(Ok(()), |attached| attached.window.receive(bytes.len()));
                received.map_err(|_| Fault::Client(id))?;
                // Its window keeps this below what a shell holds; what one typed into a shell that has ended is for
                // nobody.
                if let Some(shell) = session.shells.get(key) {
                    shell.typing.put(Typist::Attached(owner), bytes.to_vec());
                }
                self.type_on(key)?;
            }
            Kind::Eof => {
                self.leave_shell(owner)?;
                self.followers.leave(owner);
                self.answer(owner.0, owner.1, &Reply::Left)?;
            }
            Kind::Input => {
                let input = decode::<agent::Input>(&frame.payload).map_err(|_| Fault::Client(id))?;
                match (input, agent_stream) {
                    (agent::Input::Resize(size), Some(stream)) => {
                        session.shells.window_resized(owner, size);
                        self.resize_shell((key, stream), size)?;
                    }
                    (agent::Input::Signal(_), Some(stream)) => self.steer(stream, input)?,
                    _ => {} // leaving closes nothing
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Somebody does not sit there any more: the terminal has the size that the others see.
    pub(super) fn leave_shell(&mut self, owner: Owner) -> Result<(), Fault> {
        let Some(session) = &mut self.session else { return Ok(()) };
        match session.shells.leave(owner) {
            Some((key, stream, size)) => self.resize_shell((key, stream), size),
            None => Ok(()),
        }
    }

    /// Records the end before anybody hears of it.
    pub(super) fn end_shell(
        &mut self,
        agent_stream: StreamId,
        key: ShellKey,
        answer: Result<agent::Exited, agent::Failure>,
    ) -> Result<(), Fault> {
        self.lifetime.used(Instant::now());
        let opener = self.calls.close(agent_stream).and_then(|call| call.owner);
        let ended = self.session.as_mut().and_then(|session| session.shells.end(key, &answer));
        let Some(ended) = ended else { return Ok(()) };
        let frames = self.followers.finish(Followed::Shell(key), &ended.ended);
        let followed = self.to_clients(frames);
        for (id, stream) in ended.closers {
            self.answer_or_drop(id, stream, &Reply::ShellServed);
        }
        for (id, stream) in ended.writers {
            self.answer_or_drop(id, stream, &shell_ended());
        }
        if let Some((id, stream)) = opener {
            // It never ran, or it was over before that was told.
            let reply = match answer {
                Ok(exited) => Reply::Exited(exited),
                Err(error) => Reply::Refused(error),
            };
            self.answer_or_drop(id, stream, &reply);
        }
        followed
    }

    fn find_shell(&mut self, id: &str) -> Option<(ShellKey, StreamId)> {
        let session = self.session.as_mut().filter(|session| session.is_ready)?;
        let key = session.shells.find(id)?;
        session.shells.get(key).map(|shell| (key, shell.stream))
    }

    /// Whether there was one, its client can tell from the records.
    fn no_shell(&self, (id, stream): Owner) -> Result<(), Fault> {
        self.answer(id, stream, &shell_ended())
    }

    pub(super) fn steer(&mut self, stream: StreamId, input: agent::Input) -> Result<(), Fault> {
        match encode(&input) {
            Ok(payload) => self.tell_guest(Frame { stream, kind: Kind::Input, payload }),
            Err(_) => Ok(()),
        }
    }

    /// Answers one of several: one that does not take it is found out by its own connection.
    pub(super) fn answer_or_drop(&self, id: ClientId, stream: StreamId, answer: &Reply) {
        let _ = self.answer(id, stream, answer);
    }
}

pub(super) fn no_workspace() -> Reply {
    refused("this VM has no workspace, or one that is not seeded yet")
}

fn shell_ended() -> Reply {
    Reply::Failed(failure(FailureCode::ShellEnded, "the shell does not run"))
}
