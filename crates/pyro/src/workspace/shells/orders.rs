//! What is done to shells.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use pyro_proto::agent::{Exec, Terminal, TerminalSize};
use pyro_proto::limits::SHELL_WRITE_BYTES_MAX;
use pyro_proto::shim::{self, ShellOrder};

use super::super::{Starting, Workspace};
use super::ShellInfo;
use crate::connection::unexpected;
use crate::limits::{GRACE_SECONDS_MAX, SHELL_PROMPT_SECONDS_MAX, SHELL_WRITE_SECONDS_MAX};
use crate::{Code, Failure, Output, Pyro};

/// Value of `TERM`, which every image's terminal database has.
const TERM: &str = "xterm-256color";

/// A shell to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellRequest {
    /// Program and arguments; none for the user's own shell.
    pub command: Vec<OsString>,
    /// Variables on top of the defaults.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// The directory to start in.
    pub directory: OsString,
    /// As whom.
    pub user: Option<String>,
    /// Size of its terminal.
    pub size: TerminalSize,
}

impl ShellRequest {
    fn into_exec(self) -> Exec {
        Exec {
            argv: self.command.into_iter().map(OsString::into_vec).collect(),
            environment: self.environment,
            directory: Some(self.directory.into_vec()),
            user: self.user,
            terminal: Some(Terminal { size: self.size, term: TERM.to_owned() }),
            stdin: true,
            timeout_ms: None,
        }
    }
}

impl Pyro {
    /// A shell that runs, and its workspace. Nothing is started for it.
    pub async fn reach_shell(&self, reference: &str, shell: &str) -> Result<(Workspace, ShellInfo), Failure> {
        let shell = self.shell(reference, shell)?;
        let ended = |state: &str| {
            Failure::new(Code::ShellEnded, format!("the shell {} does not run", shell.shell_id))
                .because(format!("its state is {state}"))
                .fix("read what it printed with `pyro workspace shell read`, and open another one with `pyro workspace shell open`")
        };
        if !shell.is_up() {
            return Err(ended(shell.state));
        }
        match self.open_workspace(reference, Starting::Never, |_| {}).await {
            Ok(workspace) => Ok((workspace, shell)),
            // Its VM has ended without a word.
            Err(failure) if failure.code == Code::WorkspaceStopped => Err(ended("lost")),
            Err(failure) if failure.code == Code::WorkspacePaused => {
                Err(failure.fix(format!("run `pyro workspace resume {reference}` first")))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Closes a shell, and tells how its guest is reached. One that has ended already is what was wanted.
    pub async fn close_shell(
        &self,
        reference: &str,
        shell: &str,
        grace_seconds: u64,
    ) -> Result<(ShellInfo, Option<&'static str>), Failure> {
        let known = self.shell(reference, shell)?;
        if !known.is_up() {
            return Ok((known, None));
        }
        let (mut workspace, shell) = self.reach_shell(reference, shell).await?;
        match workspace.close_shell(&shell.shell_id, grace_seconds).await {
            // It has ended by itself meanwhile.
            Err(failure) if failure.code != Code::ShellEnded => return Err(failure),
            _ => {}
        }
        Ok((self.shell(workspace.id(), &shell.shell_id)?, Some(workspace.execution_mode())))
    }
}

impl Workspace {
    /// Opens a shell; gives its id once it runs. The user's own shell has its prompt then: what is typed at once comes
    /// behind it.
    pub async fn open_shell(&mut self, request: ShellRequest) -> Result<String, Failure> {
        let has_prompt = request.command.is_empty();
        let request = shim::Request::OpenShell(request.into_exec());
        match self.connection.request(&request, |_| {}).await? {
            shim::Reply::ShellOpened { id } => {
                if has_prompt {
                    self.await_output(&id).await?;
                }
                Ok(id)
            }
            // It had ended before anybody could be told that it runs: what it printed is kept.
            shim::Reply::Exited(_) => Err(Failure::new(Code::ShellEnded, "the shell has ended at once")
                .fix("see `pyro workspace shell list`, and read what it printed")),
            shim::Reply::Refused(failure) => Err(failure.into()),
            shim::Reply::Failed(failure) => Err(failure.into()),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until a shell has printed something, has ended, or seems to have nothing to say.
    async fn await_output(&mut self, id: &str) -> Result<(), Failure> {
        let mut seen = self.attach_shell(id, 0)?;
        let first = async {
            loop {
                match seen.next().await {
                    Ok(Output::Room | Output::Stderr(_)) => {}
                    // It has ended, or leaves no doubt later.
                    other => break other.is_ok_and(|output| !matches!(output, Output::Exited(_))),
                }
            }
        };
        let is_there = tokio::time::timeout(SHELL_PROMPT_SECONDS_MAX, first).await.unwrap_or(true);
        if is_there {
            seen.close_stdin()?;
            while !matches!(seen.next().await?, Output::Left | Output::Exited(_)) {}
        }
        Ok(())
    }

    /// Types bytes into a shell, with nobody else's between those of one piece of a MiB; returns when the guest has
    /// taken them.
    pub async fn write_shell(&mut self, id: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut typed = 0usize;
        for piece in bytes.chunks(SHELL_WRITE_BYTES_MAX) {
            let order = self.order_shell(id, ShellOrder::Write(piece.to_vec()));
            let written = tokio::time::timeout(SHELL_WRITE_SECONDS_MAX, order).await;
            written.unwrap_or_else(|_| Err(busy(typed, bytes.len())))?;
            typed += piece.len();
        }
        Ok(())
    }

    /// Sends a signal to the foreground of a shell.
    pub async fn signal_shell(&mut self, id: &str, signal: u8) -> Result<(), Failure> {
        self.order_shell(id, ShellOrder::Signal(signal)).await
    }

    /// Gives a shell's terminal another size.
    pub async fn resize_shell(&mut self, id: &str, size: TerminalSize) -> Result<(), Failure> {
        self.order_shell(id, ShellOrder::Resize(size)).await
    }

    /// Ends a shell with all that runs in it; what has not ended after `grace_seconds` is killed.
    pub async fn close_shell(&mut self, id: &str, grace_seconds: u64) -> Result<(), Failure> {
        let grace_ms = grace_ms(grace_seconds)?;
        self.order_shell(id, ShellOrder::Close { grace_ms }).await
    }

    async fn order_shell(&mut self, id: &str, order: ShellOrder) -> Result<(), Failure> {
        let request = shim::Request::Shell { id: id.to_owned(), order };
        match self.connection.request(&request, |_| {}).await? {
            shim::Reply::ShellServed => Ok(()),
            shim::Reply::Failed(failure) if failure.code == shim::FailureCode::Refused => {
                Err(Failure::new(Code::ShellBusy, failure.message).fix(BUSY))
            }
            shim::Reply::Failed(failure) => Err(failure.into()),
            other => Err(unexpected(&other)),
        }
    }
}

/// Reads how long something may take to end.
pub(in crate::workspace) fn grace_ms(seconds: u64) -> Result<u64, Failure> {
    match seconds {
        0..=GRACE_SECONDS_MAX => Ok(seconds * 1000),
        _ => Err(Failure::new(Code::InvalidArgument, format!("--grace-seconds {seconds} is too long"))
            .fix(format!("give {GRACE_SECONDS_MAX} at most"))),
    }
}

const BUSY: &str =
    "see what runs in it with `pyro workspace shell read`, or interrupt that with `shell signal`";

fn busy(typed: usize, of: usize) -> Failure {
    let seconds = SHELL_WRITE_SECONDS_MAX.as_secs();
    Failure::new(Code::ShellBusy, format!("the shell did not read what was typed within {seconds} s"))
        .because(format!(
            "its terminal is full: of {of} bytes {typed} are there for certain, and perhaps a part of the rest"
        ))
        .fix(BUSY)
}
