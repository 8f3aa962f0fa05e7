//! What runs in a guest whose memory is kept: noted for the shim that will go on with a copy, and taken over by that.

use std::time::Duration;

use pyro_proto::{Channel, Frame, Kind, StreamId};
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::{Driver, Fault, Session};
use crate::call::{Call, Rooms, Work};
use crate::continued::{Continued, ContinuedCall, Role, Standing, shortened};
use crate::recorder::unknown_exec;

impl<V: Vm> Driver<V> {
    /// What runs, as another shim has to know it.
    pub(super) fn continued(&mut self) -> Continued {
        let now = Instant::now();
        let Some(session) = &mut self.session else { return Continued::default() };
        let held_back = self.held_back.as_deref().unwrap_or_default();
        let running = self.calls.iter_mut().filter_map(|(stream, call)| {
            let (exec, role) = described(session, call, untold_input(held_back, stream))?;
            let left = call.deadline.map(|deadline| deadline.saturating_duration_since(now));
            Some(ContinuedCall {
                stream: stream.0,
                command: shortened(exec.command),
                directory: exec.directory,
                user: exec.user,
                stdout_room: told_room(held_back, stream, Channel::Stdout, call),
                stderr_room: told_room(held_back, stream, Channel::Stderr, call),
                takes_input: call.takes_input,
                left_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
                role,
            })
        });
        let mut running: Vec<ContinuedCall> = running.collect();
        // In the order they were started.
        running.sort_by_key(|call| call.stream);
        Continued::new(self.link.last_stream(), running)
    }

    /// Takes over what runs in the guest since before this VM: commands recorded under new numbers, with nobody who
    /// gives them input; shells and services under what they are called by.
    pub(super) fn take_over(&mut self, continued: &Continued) -> Result<(), Fault> {
        for running in &continued.calls {
            let stream = StreamId(running.stream);
            let work = self.adopted(running, stream);
            let input = if let Role::Shell { input_room, .. } = running.role { input_room } else { 0 };
            let rooms = Rooms { outputs: [running.stdout_room, running.stderr_room], input };
            let left = running.left_ms.map(Duration::from_millis);
            let deadline = left.and_then(|left| Instant::now().checked_add(left));
            let mut call = Call::continued(work, rooms, deadline);
            let grants = [Channel::Stdout, Channel::Stderr].map(|channel| {
                let is_open = call.room(channel).is_some();
                (channel, is_open.then(|| call.window(channel).refill()).flatten())
            });
            self.calls.open(stream, call);
            for (channel, grant) in grants {
                if let Some(grant) = grant {
                    self.tell_guest(Frame::credit(stream, channel, grant))?;
                }
            }
            if running.takes_input {
                self.tell_guest(Frame::eof(stream, Channel::Stdin))?;
            }
        }
        Ok(())
    }

    /// What cannot be recorded goes on all the same, as a command that nobody has heard of.
    fn adopted(&mut self, running: &ContinuedCall, stream: StreamId) -> Work {
        let nameless = Work::Exec { sequence: None, detached: true };
        let Some(session) = &mut self.session else { return nameless };
        if let Some(shell) = running.to_shell() {
            return session.shells.take_over(shell, stream).map_or(nameless, Work::Shell);
        }
        if let Some((name, definition, news)) = running.to_service() {
            let taken = session.services.take_over((name, definition), stream, news);
            return taken.map_or(nameless, Work::Service);
        }
        let sequence = session.recorder.begin_exec(&running.to_exec()).ok();
        Work::Exec { sequence, detached: true }
    }
}

/// How something that runs is recorded, and what it is; `None` for what is no process. `untold` are the bytes of input
/// that the guest has not been told yet.
fn described(session: &mut Session, call: &mut Call, untold: u32) -> Option<(pyro_store::NewExec, Role)> {
    match call.work {
        Work::Exec { sequence, .. } => {
            let exec = sequence.and_then(|sequence| session.recorder.exec(sequence));
            Some((exec.unwrap_or_else(unknown_exec), Role::Command))
        }
        Work::Shell(key) => {
            let input_room = call.window(Channel::Stdin).room().saturating_add(untold);
            let new = &session.shells.get(key)?.new;
            let exec = pyro_store::NewExec {
                command: new.command.clone(),
                directory: new.directory.clone(),
                user: new.user.clone(),
                detached: true,
            };
            let (id, columns, rows) = (new.id.to_string(), new.columns, new.rows);
            Some((exec, Role::Shell { id, columns, rows, input_room }))
        }
        Work::Service(key) => {
            let service = session.services.get(key)?;
            let definition = Box::new(service.definition.clone());
            let standing = Standing::of(service.news());
            Some((unknown_exec(), Role::Service { name: service.name.to_string(), definition, standing }))
        }
        Work::Transfer(_) | Work::Internal(_) => None,
    }
}

/// What the guest may still send of an output. Room that it has not been told of, it does not have in the copy.
fn told_room(held_back: &[Frame], stream: StreamId, channel: Channel, call: &mut Call) -> Option<u32> {
    let granted = held_back.iter().filter(|frame| frame.stream == stream && frame.kind == Kind::Credit);
    let of_channel = granted.filter_map(|frame| frame.as_credit().ok());
    let untold: u32 = of_channel.filter(|(of, _)| *of == channel).map(|(_, bytes)| bytes).sum();
    call.room(channel).map(|room| room.saturating_sub(untold))
}

/// Bytes of input that the guest has not been told, and will not be in the copy.
fn untold_input(held_back: &[Frame], stream: StreamId) -> u32 {
    let data = held_back.iter().filter(|frame| frame.stream == stream && frame.kind == Kind::Data);
    let bytes: usize = data.map(|frame| frame.payload.len().saturating_sub(1)).sum();
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
