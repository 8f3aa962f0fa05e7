//! `pyro workspace shell`

mod attach;
mod read;

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use pyro::results::{ShellList, ShellResult};
use pyro::{Code, Failure, Pyro, ShellInfo, ShellRequest, parse_signal, terminal_size, working_directory};

use super::connect;
use crate::arguments::workspace::{
    One, Shell, ShellClose, ShellOne, ShellOpen, ShellResize, ShellSignal, ShellWrite,
};
use crate::exec_request::variables;
use crate::exit::Status;
use crate::interrupt::unless_interrupted;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: Shell) -> Result<Status, Failure> {
    match arguments {
        Shell::Open(arguments) => unless_interrupted(open_shell(pyro, arguments)).await,
        Shell::List(arguments) => list(pyro, &arguments),
        Shell::Read(arguments) => unless_interrupted(read::run(pyro, &arguments)).await,
        Shell::Write(arguments) => unless_interrupted(write(pyro, &arguments)).await,
        Shell::Signal(arguments) => unless_interrupted(signal(pyro, &arguments)).await,
        Shell::Resize(arguments) => unless_interrupted(resize(pyro, &arguments)).await,
        Shell::Close(arguments) => unless_interrupted(close(pyro, &arguments)).await,
        Shell::Attach(arguments) => attach::run(pyro, &arguments).await,
    }
}

pub(super) fn wants_json(arguments: &Shell) -> bool {
    match arguments {
        Shell::Open(arguments) => arguments.connected.one.json,
        Shell::List(arguments) => arguments.json,
        Shell::Read(arguments) => arguments.which.one.json,
        Shell::Write(arguments) => arguments.which.one.json,
        Shell::Signal(arguments) => arguments.which.one.json,
        Shell::Resize(arguments) => arguments.which.one.json,
        Shell::Close(arguments) => arguments.which.one.json,
        Shell::Attach(arguments) => arguments.one.json,
    }
}

async fn open_shell(pyro: &Pyro, arguments: ShellOpen) -> Result<Status, Failure> {
    let request = ShellRequest {
        size: terminal_size(arguments.size.cols, arguments.size.rows)?,
        environment: variables(&arguments.env)?,
        directory: working_directory(arguments.cwd.as_deref()),
        user: arguments.user.clone(),
        command: arguments.command.clone(),
    };
    let mut workspace = connect(pyro, &arguments.connected).await?;
    let id = workspace.open_shell(request).await?;
    let shell = pyro.shell(workspace.id(), &id)?;
    if arguments.id_only {
        return Ok(report::written(terminal::result(&id)));
    }
    if arguments.connected.one.json {
        return Ok(told(workspace.id(), &shell, workspace.execution_mode()));
    }
    terminal::note(&format!(
        "[workspace-shell-open] workspace_id={} shell_id={id} state={} cwd={} cols={} rows={} execution_mode={}",
        workspace.id(),
        shell.state,
        printable(shell.cwd.as_bytes()),
        shell.cols,
        shell.rows,
        workspace.execution_mode()
    ));
    Ok(Status::SUCCESS)
}

fn list(pyro: &Pyro, arguments: &One) -> Result<Status, Failure> {
    let shells = pyro.shells(&arguments.workspace)?;
    let id = pyro.workspace_id(&arguments.workspace)?;
    if arguments.json {
        let count = shells.len();
        return Ok(report::written(report::json(&ShellList { workspace_id: id, count, shells })));
    }
    let running = shells.iter().filter(|shell| shell.state == "running").count();
    let mut text = format!("Workspace: {id}\nShells: {} total, {running} running\n", shells.len());
    for shell in &shells {
        text.push_str(&format!(
            "- {} [{}] cwd={} cols={} rows={} command={}\n",
            shell.shell_id,
            shell.state,
            printable(shell.cwd.as_bytes()),
            shell.cols,
            shell.rows,
            printable(shell.command.as_bytes())
        ));
    }
    Ok(report::written(terminal::result(&text)))
}

async fn write(pyro: &Pyro, arguments: &ShellWrite) -> Result<Status, Failure> {
    let bytes = match &arguments.input {
        Some(input) => typed(input.clone(), arguments.no_newline),
        None => read_input()?,
    };
    let (mut workspace, shell) = running(pyro, &arguments.which).await?;
    workspace.write_shell(&shell.shell_id, &bytes).await?;
    tell(pyro, &workspace, &shell.shell_id, &arguments.which, "write", "")
}

/// A line as a person types it: with Enter behind it.
fn typed(input: OsString, no_newline: bool) -> Vec<u8> {
    let mut bytes = input.into_vec();
    if !no_newline {
        bytes.push(b'\n');
    }
    bytes
}

fn read_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let bound = pyro::limits::SHELL_READ_CHARS_MAX;
    terminal::raw_stdin().take(bound + 1).read_to_end(&mut bytes).map_err(|error| {
        Failure::new(Code::System, "standard input cannot be read")
            .because(error)
            .fix("check where it comes from")
    })?;
    if bytes.len() as u64 > bound {
        return Err(Failure::new(Code::InvalidArgument, "that is too much to type")
            .because(format!("more than {bound} bytes"))
            .fix("bring it in as a file with `pyro workspace file write`"));
    }
    Ok(bytes)
}

async fn signal(pyro: &Pyro, arguments: &ShellSignal) -> Result<Status, Failure> {
    let number = parse_signal(&arguments.signal)?;
    let (mut workspace, shell) = running(pyro, &arguments.which).await?;
    workspace.signal_shell(&shell.shell_id, number).await?;
    let extra = format!(" signal={}", arguments.signal);
    tell(pyro, &workspace, &shell.shell_id, &arguments.which, "signal", &extra)
}

async fn resize(pyro: &Pyro, arguments: &ShellResize) -> Result<Status, Failure> {
    let size = terminal_size(arguments.cols, arguments.rows)?;
    let (mut workspace, shell) = running(pyro, &arguments.which).await?;
    workspace.resize_shell(&shell.shell_id, size).await?;
    let extra = format!(" cols={} rows={}", size.columns, size.rows);
    tell(pyro, &workspace, &shell.shell_id, &arguments.which, "resize", &extra)
}

async fn close(pyro: &Pyro, arguments: &ShellClose) -> Result<Status, Failure> {
    let which = &arguments.which;
    let closed = pyro.close_shell(&which.one.workspace, &which.shell, arguments.grace_seconds).await?;
    let (shell, mode) = closed;
    Ok(told_of(pyro, which, &shell, mode.unwrap_or("none"), "close", ""))
}

/// A shell that runs, and its workspace.
async fn running(pyro: &Pyro, which: &ShellOne) -> Result<(pyro::Workspace, ShellInfo), Failure> {
    pyro.reach_shell(&which.one.workspace, &which.shell).await
}

fn tell(
    pyro: &Pyro,
    workspace: &pyro::Workspace,
    id: &str,
    which: &ShellOne,
    what: &str,
    extra: &str,
) -> Result<Status, Failure> {
    let shell = pyro.shell(workspace.id(), id)?;
    Ok(told_of(pyro, which, &shell, workspace.execution_mode(), what, extra))
}

fn told_of(
    pyro: &Pyro,
    which: &ShellOne,
    shell: &ShellInfo,
    execution_mode: &'static str,
    what: &str,
    extra: &str,
) -> Status {
    let id = pyro.workspace_id(&which.one.workspace).unwrap_or_default();
    if which.one.json {
        return told(&id, shell, execution_mode);
    }
    // The transcript's line of `write` has the size, that of the others what they are about.
    let size =
        if what == "write" { format!(" cols={} rows={}", shell.cols, shell.rows) } else { String::new() };
    let code = shell.exit_code.map(|code| format!(" exit_code={code}")).unwrap_or_default();
    terminal::note(&format!(
        "[workspace-shell-{what}] workspace_id={id} shell_id={} state={} cwd={}{size} execution_mode={execution_mode}{extra}{code}",
        shell.shell_id,
        shell.state,
        printable(shell.cwd.as_bytes())
    ));
    Status::SUCCESS
}

fn told(workspace_id: &str, shell: &ShellInfo, execution_mode: &'static str) -> Status {
    report::written(report::json(&ShellResult::new(workspace_id, shell, execution_mode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enter is pressed unless that was not wanted.
    #[test]
    fn lines_end_with_enter() {
        assert_eq!(typed("pwd".into(), false), b"pwd\n");
        assert_eq!(typed("\u{3}".into(), true), b"\x03");
    }
}
