//! The commands that run in a guest whose memory is kept: noted for the shim that will go on with a copy, and taken over
//! by that.

use std::time::Duration;

use pyro_proto::{Channel, Frame, Kind, StreamId};
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::{Driver, Fault};
use crate::call::{Call, Work};
use crate::continued::{Continued, ContinuedCall, shortened};

impl<V: Vm> Driver<V> {
    /// The commands that run, as another shim has to know them.
    pub(super) fn continued(&mut self) -> Continued {
        let now = Instant::now();
        let Some(session) = &self.session else { return Continued::default() };
        let held_back = self.held_back.as_deref().unwrap_or_default();
        // Room that the guest has not been told of, it does not have in the copy.
        let room = |stream: StreamId, channel, call: &mut Call| {
            let granted =
                held_back.iter().filter(|frame| frame.stream == stream && frame.kind == Kind::Credit);
            let of_channel = granted.filter_map(|frame| frame.as_credit().ok());
            let untold: u32 = of_channel.filter(|(of, _)| *of == channel).map(|(_, bytes)| bytes).sum();
            call.room(channel).map(|room| room.saturating_sub(untold))
        };
        let running = self.calls.iter_mut().filter_map(|(stream, call)| {
            let Work::Exec { sequence, .. } = call.work else { return None };
            let exec = sequence.and_then(|sequence| session.recorder.exec(sequence));
            let exec = exec.unwrap_or_else(crate::recorder::unknown_exec);
            let left = call.deadline.map(|deadline| deadline.saturating_duration_since(now));
            Some(ContinuedCall {
                stream: stream.0,
                command: shortened(exec.command),
                directory: exec.directory,
                user: exec.user,
                stdout_room: room(stream, Channel::Stdout, call),
                stderr_room: room(stream, Channel::Stderr, call),
                takes_input: call.takes_input,
                left_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            })
        });
        let running = running.collect();
        Continued::new(self.link.last_stream(), running)
    }

    /// Takes over the commands that run in the guest since before this VM: recorded under new numbers, with
    /// nobody who gives them input.
    pub(super) fn take_over(&mut self, continued: &Continued) -> Result<(), Fault> {
        for running in &continued.calls {
            let stream = StreamId(running.stream);
            let recorded =
                self.session.as_mut().map(|session| session.recorder.begin_exec(&running.to_exec()));
            // A command that cannot be recorded goes on all the same.
            let sequence = recorded.and_then(Result::ok);
            let left = running.left_ms.map(Duration::from_millis);
            let deadline = left.and_then(|left| Instant::now().checked_add(left));
            let mut call = Call::continued(sequence, [running.stdout_room, running.stderr_room], deadline);
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
}
