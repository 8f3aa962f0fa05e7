//! `pyro workspace shell attach`

use pyro::{Code, Failure, Input, Pyro};

use super::running;
use crate::arguments::workspace::ShellOne;
use crate::exit::Status;
use crate::interrupt::Interrupts;
use crate::pump::{Ended, Streams, pump};
use crate::terminal;
use crate::terminal_guard::TerminalGuard;

/// Ctrl-], as `telnet` has it.
const DETACH_KEY: u8 = 0x1d;

pub(super) async fn run(pyro: &Pyro, arguments: &ShellOne) -> Result<Status, Failure> {
    if arguments.one.json {
        return Err(Failure::new(Code::InvalidArgument, "a terminal cannot be printed as JSON")
            .fix("use `pyro workspace shell read --json`"));
    }
    if !terminal::stdin_is_terminal() || !terminal::stdout_is_terminal() {
        return Err(Failure::new(Code::InvalidArgument, "attaching needs a terminal")
            .because("standard input or standard output is none")
            .fix("use `pyro workspace shell read` and `write` from a program"));
    }
    let mut interrupts = Interrupts::install()
        .map_err(|error| Failure::new(Code::System, "signals cannot be handled").because(error))?;
    let (mut workspace, shell) = running(pyro, arguments).await?;
    let (workspace_id, id) = (workspace.id().to_owned(), shell.shell_id);
    if let Some(size) = terminal::size().filter(|size| size.rows > 0 && size.columns > 0) {
        // What is drawn below is what the shell's program makes of the size that it has now.
        let _ = workspace.resize_shell(&id, size).await;
    }
    terminal::note(&format!("attached to the shell {id}; Ctrl-] leaves it running"));
    let drawn = pyro.draw_shell(&workspace_id, &id)?;
    let guard = TerminalGuard::start();
    let raw = terminal::RawMode::enter().map_err(|error| {
        Failure::new(Code::System, "the terminal cannot be set to raw mode").because(error)
    })?;
    terminal::begin_modes();
    terminal::show_modes(&drawn.bytes)
        .map_err(|error| Failure::new(Code::System, "the terminal cannot be written to").because(error))?;
    let mut execution = workspace.attach_shell(&id, drawn.cursor)?;
    if let Some(size) = terminal::size().filter(|size| size.rows > 0 && size.columns > 0) {
        let _ = execution.input(Input::Resize(size));
    }
    let streams = Streams { stdin: true, resize: true, capture: false, detach_key: Some(DETACH_KEY) };
    let ended = pump(&mut execution, streams, &mut interrupts).await;
    drop(raw);
    drop(guard);
    finish(pyro, (&workspace_id, &id), ended)
}

fn finish(pyro: &Pyro, (workspace, id): (&str, &str), ended: Ended) -> Result<Status, Failure> {
    let shell = pyro.shell(workspace, id)?;
    let tell = |detached: &str| {
        let code = shell.exit_code.map(|code| format!(" exit_code={code}")).unwrap_or_default();
        terminal::note(&format!(
            "[workspace-shell-attach] workspace_id={workspace} shell_id={id} state={} detached={detached}{code}",
            shell.state
        ));
    };
    match ended {
        Ended::Left => {
            tell("True");
            Ok(Status::SUCCESS)
        }
        Ended::Command(exited, _) => {
            tell("False");
            Ok(Status::of_command(&exited))
        }
        Ended::Signal(signal) => Ok(Status::signal(signal)),
        Ended::ReaderLeft => Ok(Status::BROKEN_PIPE),
        Ended::Failed(failure) => Err(failure),
    }
}
