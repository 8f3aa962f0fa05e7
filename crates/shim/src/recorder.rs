//! The history of one workspace as its shim writes it: records in the database, outputs in files.
//!
//! Its writes are short and done in the driver's own task: a commit of one row, an append of one frame. A
//! command does not start unless it can be recorded; once it runs, no trouble of the history keeps its output
//! from its client.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use pyro_proto::Channel;
use pyro_proto::agent::{self, Exited, FailureKind, Outcome};
use pyro_proto::shim::{Failure, FailureCode, Reply};
use pyro_store::limits::HISTORY_OUTPUTS_KEPT;
use pyro_store::{
    ExecEnd, ExecOutcome, Keep, NewExec, OutputReader, OutputStream, Store, WorkspaceId, WorkspacePlace,
};

use crate::failure::{failure, record_failed, system};
use crate::followers::{Ended, Reader, Source};
use crate::tape::Tape;

/// The directory of commands that name none.
const DIRECTORY_DEFAULT: &str = "/workspace";

/// What is written of one workspace.
#[derive(Debug)]
pub(crate) struct Recorder {
    store: Rc<Store>,
    id: WorkspaceId,
    place: WorkspacePlace,
    running: HashMap<u64, Recording>,
    /// Ends that the database did not take; no further command is begun before it does.
    unsaved: HashMap<u64, ExecEnd>,
}

/// A command that runs.
#[derive(Debug)]
struct Recording {
    stdout: Tape,
    stderr: Tape,
}

impl Recorder {
    /// For who holds the workspace.
    pub(crate) fn new(store: Rc<Store>, id: WorkspaceId, place: WorkspacePlace) -> Recorder {
        Recorder { store, id, place, running: HashMap::new(), unsaved: HashMap::new() }
    }

    /// Records a command that is about to run; gives its number.
    pub(crate) fn begin(&mut self, command: &agent::Exec, detached: bool) -> Result<u64, Failure> {
        let lossy = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let exec = NewExec {
            command: command.argv.iter().map(lossy).collect(),
            directory: command.directory.as_ref().map_or_else(|| DIRECTORY_DEFAULT.to_owned(), lossy),
            user: command.user.clone(),
            detached,
        };
        self.begin_exec(&exec)
    }

    /// The same for a command that runs already, as a copy of another workspace's or from before a pause.
    pub(crate) fn begin_exec(&mut self, exec: &NewExec) -> Result<u64, Failure> {
        self.save_ends().map_err(|error| system("the history cannot be written", &error))?;
        let sequence = self.store.begin_exec(&self.id, exec).map_err(|error| record_failed(&error))?;
        self.prune(sequence);
        let tape = |stream| {
            Tape::create(&self.place.output(sequence, stream), Keep::HeadAndTail)
                .map_err(|error| system("the history cannot be written", &error))
        };
        let taped = tape(OutputStream::Stdout).and_then(|stdout| Ok((stdout, tape(OutputStream::Stderr)?)));
        match taped {
            Ok((stdout, stderr)) => {
                self.running.insert(sequence, Recording { stdout, stderr });
                Ok(sequence)
            }
            Err(failure) => {
                self.save_end(sequence, end(ExecOutcome::Failed, None, None));
                Err(failure)
            }
        }
    }

    /// Keeps bytes of an output.
    pub(crate) fn append(&mut self, sequence: u64, channel: Channel, bytes: &[u8]) {
        let Some(recording) = self.running.get_mut(&sequence) else { return };
        match channel {
            Channel::Stdout => recording.stdout.append(bytes),
            Channel::Stderr => recording.stderr.append(bytes),
            Channel::Stdin => {}
        }
    }

    /// Records how a command ended; what followers have to know of it.
    pub(crate) fn end(&mut self, sequence: u64, answer: &Result<Exited, agent::Failure>) -> Ended {
        let (end, reply) = match answer {
            Ok(exited) => (end_of(exited), Reply::Exited(*exited)),
            Err(error) => {
                let code = Some(exit_code_of(error.kind));
                (end(ExecOutcome::Failed, code, None), Reply::Refused(error.clone()))
            }
        };
        self.close(sequence, end, reply)
    }

    /// Records that the ends of all commands that run will never be known.
    pub(crate) fn lose_all(&mut self, failure: &Failure) {
        let sequences: Vec<u64> = self.running.keys().copied().collect();
        for sequence in sequences {
            let lost = end(ExecOutcome::Lost, None, None);
            self.close(sequence, lost, Reply::Failed(failure.clone()));
        }
        // The last time; what is not taken now is recorded as lost by who starts the workspace next.
        let _ = self.save_ends();
    }

    /// Where a command's outputs are; `None` when there is no such command.
    pub(crate) fn source(&self, sequence: u64) -> Result<Option<Source>, Failure> {
        let reader = |stream| {
            let reader = OutputReader::open(&self.place.output(sequence, stream));
            reader.ok().map(Reader::Output)
        };
        let ended = if self.running.contains_key(&sequence) {
            None
        } else if let Some(end) = self.unsaved.get(&sequence) {
            Some(ended(end))
        } else {
            let record = self.store.exec(&self.id, sequence);
            let record = record.map_err(|error| system("the history cannot be read", &error))?;
            let Some(record) = record else { return Ok(None) };
            Some(ended(&record.end.unwrap_or_else(|| end(ExecOutcome::Lost, None, None))))
        };
        let (stdout, stderr) = (reader(OutputStream::Stdout), reader(OutputStream::Stderr));
        Ok(Some(Source { stdout, stderr, from: 0, ended }))
    }

    /// How a command is recorded.
    pub(crate) fn exec(&self, sequence: u64) -> Option<NewExec> {
        self.store.exec(&self.id, sequence).ok().flatten().map(|record| record.exec)
    }

    /// The workspace was used, and perhaps changed.
    pub(crate) fn touch(&self, is_changed: bool) {
        // Only what lists show of it, and when deletion asks; the next use says it again.
        let _ = if is_changed { self.store.touch_changed(&self.id) } else { self.store.touch(&self.id) };
    }

    /// The workspace exists from now on, run by this VM.
    pub(crate) fn commit(&self, vm_id: &pyro_store::VmId) -> Result<(), Failure> {
        match self.store.set_ready(&self.id, Some(vm_id)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(failure(FailureCode::WorkspaceGone, "the workspace is being deleted")),
            Err(error) => Err(system("the workspace cannot be recorded", &error)),
        }
    }

    fn close(&mut self, sequence: u64, mut end: ExecEnd, reply: Reply) -> Ended {
        if let Some(recording) = self.running.remove(&sequence) {
            end.stdout_bytes = recording.stdout.seen_bytes();
            end.stderr_bytes = recording.stderr.seen_bytes();
        }
        self.save_end(sequence, end);
        Ended { reply, stdout_bytes: end.stdout_bytes, stderr_bytes: end.stderr_bytes }
    }

    fn save_end(&mut self, sequence: u64, end: ExecEnd) {
        self.unsaved.insert(sequence, end);
        // What is not taken now is tried again before the next command and at the end.
        let _ = self.save_ends();
    }

    fn save_ends(&mut self) -> Result<(), pyro_store::StoreError> {
        let sequences: Vec<u64> = self.unsaved.keys().copied().collect();
        for sequence in sequences {
            if let Some(end) = self.unsaved.get(&sequence) {
                self.store.end_exec(&self.id, sequence, end)?;
                self.unsaved.remove(&sequence);
            }
        }
        Ok(())
    }

    /// Removes the outputs that are now one too many; those of a command that still runs go at a later start.
    fn prune(&self, sequence: u64) {
        let Some(old) = sequence.checked_sub(HISTORY_OUTPUTS_KEPT) else { return };
        if !self.running.contains_key(&old) {
            for stream in [OutputStream::Stdout, OutputStream::Stderr] {
                remove(&self.place.output(old, stream));
            }
        }
    }
}

/// A command whose record is gone.
pub(crate) fn unknown_exec() -> NewExec {
    NewExec { command: Vec::new(), directory: DIRECTORY_DEFAULT.to_owned(), user: None, detached: true }
}

/// What cannot be removed now is removed when the workspace is started again.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

fn end(outcome: ExecOutcome, exit_code: Option<u8>, duration: Option<Duration>) -> ExecEnd {
    ExecEnd { outcome, exit_code, duration, stdout_bytes: 0, stderr_bytes: 0 }
}

/// Codes as shells and `docker run` have them.
pub(crate) fn end_of(exited: &Exited) -> ExecEnd {
    let (outcome, code) = match exited.outcome {
        Outcome::Code(code) => (ExecOutcome::Exited, code),
        Outcome::Signal(signal) => (ExecOutcome::Signaled, 128u8.saturating_add(signal)),
        Outcome::TimedOut => (ExecOutcome::TimedOut, 124),
        Outcome::OutOfMemory => (ExecOutcome::OutOfMemory, 128 + 9),
    };
    end(outcome, Some(code), Some(Duration::from_micros(exited.duration_us)))
}

fn exit_code_of(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::CommandNotFound => 127,
        FailureKind::CommandNotExecutable => 126,
        _ => 125,
    }
}

/// The reply that a recorded end stands for.
fn ended(end: &ExecEnd) -> Ended {
    let code = end.exit_code.unwrap_or_default();
    let exited = |outcome| {
        let duration = end.duration.unwrap_or_default().as_micros();
        Reply::Exited(Exited {
            outcome,
            out_of_memory_kills: u32::from(outcome == Outcome::OutOfMemory),
            duration_us: u64::try_from(duration).unwrap_or(u64::MAX),
        })
    };
    let reply = match end.outcome {
        ExecOutcome::Exited => exited(Outcome::Code(code)),
        ExecOutcome::Signaled => exited(Outcome::Signal(code.saturating_sub(128))),
        ExecOutcome::TimedOut => exited(Outcome::TimedOut),
        ExecOutcome::OutOfMemory => exited(Outcome::OutOfMemory),
        ExecOutcome::Failed => {
            let kind = match end.exit_code {
                Some(127) => FailureKind::CommandNotFound,
                Some(126) => FailureKind::CommandNotExecutable,
                _ => FailureKind::System,
            };
            Reply::Refused(agent::Failure { kind, detail: "the command could not be started".to_owned() })
        }
        ExecOutcome::Lost => {
            Reply::Failed(failure(FailureCode::VmmDied, "the VM ended before the command did"))
        }
    };
    Ended { reply, stdout_bytes: end.stdout_bytes, stderr_bytes: end.stderr_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a command's record says later is what its client heard.
    #[test]
    fn ends_survive_their_record() {
        for outcome in [Outcome::Code(7), Outcome::Signal(11), Outcome::TimedOut, Outcome::OutOfMemory] {
            let kills = u32::from(outcome == Outcome::OutOfMemory);
            let exited = Exited { outcome, out_of_memory_kills: kills, duration_us: 5_000 };
            assert_eq!(ended(&end_of(&exited)).reply, Reply::Exited(exited));
        }
        let lost = ended(&end(ExecOutcome::Lost, None, None)).reply;
        assert!(matches!(lost, Reply::Failed(failure) if failure.code == FailureCode::VmmDied));
    }
}
