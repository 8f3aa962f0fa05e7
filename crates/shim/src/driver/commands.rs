//! Commands: opening one, ending one, following one.

use std::time::Duration;

use pyro_proto::agent::{self, Exited};
use pyro_proto::shim::{Event, Exec, FailureCode, Reply};
use pyro_proto::{Frame, Kind, StreamId, encode};
use pyro_vmm::Vm;
use tokio::time::Instant;

use super::{Driver, Fault, refused};
use crate::call::{Call, Owner};
use crate::client::event;
use crate::failure::failure;
use crate::followers::Followed;
use crate::limits::{EXEC_GRACE_SECONDS, EXEC_SECONDS_MAX};

impl<V: Vm> Driver<V> {
    pub(super) fn open_exec(&mut self, owner: Owner, exec: Exec) -> Result<(), Fault> {
        let (id, stream) = owner;
        let Exec { command, detach } = exec;
        match &self.session {
            None if detach => return self.answer(id, stream, &refused("this VM has no workspace")),
            Some(session) if !session.is_ready => {
                return self.answer(id, stream, &refused("the workspace is not seeded yet"));
            }
            _ => {}
        }
        if detach && command.stdin {
            return self.answer(id, stream, &refused("a detached command has nobody to give it input"));
        }
        let sequence = match self.session.as_mut().map(|session| session.recorder.begin(&command, detach)) {
            None => None,
            Some(Ok(sequence)) => Some(sequence),
            Some(Err(failure)) => return self.answer(id, stream, &Reply::Failed(failure)),
        };
        let (takes_input, deadline) = (command.stdin, deadline(command.timeout_ms));
        let payload = encode(&agent::Request::Exec(command)).map_err(|_| Fault::Client(id))?;
        let agent_stream = self.link.next_stream();
        self.calls.open(agent_stream, Call::exec(owner, (sequence, detach), takes_input, deadline));
        self.tell_guest(Frame { stream: agent_stream, kind: Kind::Open, payload })?;
        match sequence.and_then(|sequence| event(stream, &Event::Recorded { sequence })) {
            Some(frame) => self.to_client(id, frame),
            None => Ok(()),
        }
    }

    /// Records the end before anybody hears of it.
    pub(super) fn end_exec(
        &mut self,
        agent_stream: StreamId,
        sequence: Option<u64>,
        answer: Result<Exited, agent::Failure>,
    ) -> Result<(), Fault> {
        self.lifetime.used(Instant::now());
        let owner = self.calls.close(agent_stream).and_then(|call| call.owner);
        let mut followed = Ok(());
        if let (Some(sequence), Some(session)) = (sequence, &mut self.session) {
            let ended = session.recorder.end(sequence, &answer);
            let frames = self.followers.finish(Followed::Command(sequence), &ended);
            followed = self.to_clients(frames);
        }
        let Some((client, stream)) = owner else { return followed };
        let answer = match answer {
            Ok(exited) => Reply::Exited(exited),
            Err(error) => Reply::Refused(error),
        };
        followed.and(self.answer(client, stream, &answer))
    }

    pub(super) fn follow(&mut self, owner: Owner, sequence: u64) -> Result<(), Fault> {
        let (id, stream) = owner;
        let Some(session) = self.session.as_ref().filter(|session| session.is_ready) else {
            return self.answer(
                id,
                stream,
                &refused("this VM has no workspace, or one that is not seeded yet"),
            );
        };
        match session.recorder.source(sequence) {
            Ok(Some(source)) => self.join(owner, Followed::Command(sequence), Some(source)),
            Ok(None) => {
                let unknown = format!("there is no command {sequence}");
                self.answer(id, stream, &Reply::Failed(failure(FailureCode::CommandUnknown, unknown)))
            }
            Err(failure) => self.answer(id, stream, &Reply::Failed(failure)),
        }
    }
}

fn deadline(timeout_ms: Option<u64>) -> Option<Instant> {
    let limit = Duration::from_millis(timeout_ms?).min(Duration::from_secs(EXEC_SECONDS_MAX));
    Instant::now().checked_add(limit + EXEC_GRACE_SECONDS)
}
