//! A command, shell or service that runs in a guest, seen from its client.

use std::time::{Duration, Instant};

use pyro_proto::{Channel, agent, shim};

use crate::connection::{Call, Connection, News, unexpected};
use crate::{Capture, Failure};

/// What comes from a running command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes of its standard output.
    Stdout(Vec<u8>),
    /// Bytes of its standard error.
    Stderr(Vec<u8>),
    /// So many bytes of a followed command's output are not kept.
    Cut {
        /// Whether of standard error.
        of_stderr: bool,
        /// How many.
        bytes: u64,
    },
    /// Its standard input takes more again, see [`Execution::stdin_room`].
    Room,
    /// It ended; nothing comes after this.
    Exited(agent::Exited),
    /// This client has left it; nothing comes after this.
    Left,
}

/// A command that has ended, with what is kept of what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub exited: agent::Exited,
    /// Standard output.
    pub stdout: Capture,
    /// Standard error.
    pub stderr: Capture,
    /// How long its client waited for it.
    pub duration: Duration,
}

/// A running command. Dropping it leaves the command to the shim, which kills it when the connection goes.
#[derive(Debug)]
pub struct Execution<'a> {
    call: Call<'a>,
    sequence: Option<u64>,
}

impl Connection {
    /// Starts a command; its end comes from [`Execution::next`].
    pub(crate) fn exec(&mut self, command: agent::Exec) -> Result<Execution<'_>, Failure> {
        let call = self.call(&shim::Request::Exec(shim::Exec { command, detach: false }))?;
        Ok(Execution { call, sequence: None })
    }

    /// Follows a command of the workspace's history.
    pub(crate) fn follow(&mut self, sequence: u64) -> Result<Execution<'_>, Failure> {
        let subject = shim::Subject::Command(sequence);
        let followed = self.watch(&shim::Request::Follow { subject, from: 0 })?;
        Ok(Execution { sequence: Some(sequence), ..followed })
    }

    /// Takes the output of something that runs already.
    pub(crate) fn watch(&mut self, request: &shim::Request) -> Result<Execution<'_>, Failure> {
        Ok(Execution { call: self.call(request)?, sequence: None })
    }
}

impl Execution<'_> {
    /// The command's next output or its end. May be dropped at any await without losing anything.
    pub async fn next(&mut self) -> Result<Output, Failure> {
        loop {
            match self.call.next().await? {
                News::Data(Channel::Stderr, bytes) => return Ok(Output::Stderr(bytes)),
                News::Data(_, bytes) => return Ok(Output::Stdout(bytes)),
                News::Room => return Ok(Output::Room),
                News::Event(shim::Event::Recorded { sequence }) => self.sequence = Some(sequence),
                News::Event(shim::Event::Cut { of_stderr, bytes }) => {
                    return Ok(Output::Cut { of_stderr, bytes });
                }
                News::Event(_) => {}
                News::Reply(shim::Reply::Left) => return Ok(Output::Left),
                News::Reply(reply) => return end_of(reply).map(Output::Exited),
            }
        }
    }

    /// Waits for its end and keeps at most `bytes_max` of each stream; `on_output` sees all of it as it comes.
    pub async fn finish(
        &mut self,
        bytes_max: usize,
        mut on_output: impl FnMut(&[u8]),
    ) -> Result<Finished, Failure> {
        let begun = Instant::now();
        let (mut stdout, mut stderr) = (Capture::with_bound(bytes_max), Capture::with_bound(bytes_max));
        loop {
            match self.next().await? {
                Output::Stdout(bytes) => {
                    on_output(&bytes);
                    stdout.push(&bytes);
                }
                Output::Stderr(bytes) => {
                    on_output(&bytes);
                    stderr.push(&bytes);
                }
                Output::Cut { .. } | Output::Room => {}
                Output::Exited(exited) => {
                    return Ok(Finished { exited, stdout, stderr, duration: begun.elapsed() });
                }
                Output::Left => return Err(unexpected(&shim::Reply::Left)),
            }
        }
    }

    /// The command's number in its workspace's history, once it is told; none in a VM without a workspace.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Bytes of standard input that may be sent now; [`Self::next`] tells when there is more room.
    pub fn stdin_room(&self) -> usize {
        self.call.room()
    }

    /// Sends standard input, at most [`Self::stdin_room`] bytes.
    pub fn send_stdin(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.call.send(bytes)
    }

    /// Ends standard input.
    pub fn close_stdin(&mut self) -> Result<(), Failure> {
        self.call.close()
    }

    /// Resizes the terminal, signals or kills.
    pub fn input(&mut self, input: agent::Input) -> Result<(), Failure> {
        self.call.steer(input)
    }
}

fn end_of(reply: shim::Reply) -> Result<agent::Exited, Failure> {
    match reply {
        shim::Reply::Exited(exited) => Ok(exited),
        shim::Reply::Refused(failure) => Err(failure.into()),
        shim::Reply::Failed(failure) => Err(failure.into()),
        other => Err(unexpected(&other)),
    }
}
