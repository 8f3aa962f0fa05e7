//! `pyro workspace exec`

use std::time::Instant;

use pyro::results::{Detached, Executed, shell_words};
use pyro::{Code, Failure, Finished, Pyro, Workspace};

use super::connect;
use crate::arguments::workspace::Exec;
use crate::exec_request::exec_of;
use crate::exit::Status;
use crate::interrupt::Interrupts;
use crate::outcome::explain;
use crate::pump::{Ended, attach};
use crate::untrusted::printable;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: Exec) -> Result<Status, Failure> {
    let directory = pyro::working_directory(arguments.cwd.as_deref());
    let exec = exec_of(&arguments.execute, Some(directory.clone()), &arguments.command)?;
    let mut interrupts = Interrupts::install()
        .map_err(|error| Failure::new(Code::System, "signals cannot be handled").because(error))?;
    let mut workspace = tokio::select! {
        workspace = connect(pyro, &arguments.connected) => workspace?,
        signal = interrupts.next() => return Ok(Status::signal(signal)),
    };
    let cwd = printable(directory.to_string_lossy().as_bytes());
    if arguments.detach {
        let sequence = workspace.exec_detached(exec).await?;
        return Ok(detached(&workspace, sequence, &cwd, &arguments));
    }
    let started = Instant::now();
    let mut execution = workspace.exec(exec)?;
    let json = arguments.connected.one.json;
    let ended = attach(&mut execution, &arguments.execute, json, &mut interrupts).await?;
    let sequence = execution.sequence();
    match ended {
        Ended::Command(exited, captured) => {
            let finished = captured.into_finished(exited, started.elapsed());
            Ok(report(&workspace, sequence, finished, &cwd, &arguments))
        }
        Ended::Signal(signal) => Ok(Status::signal(signal)),
        Ended::ReaderLeft => Ok(Status::BROKEN_PIPE),
        Ended::Left => Ok(Status::SUCCESS),
        Ended::Failed(failure) => Err(failure),
    }
}

fn detached(workspace: &Workspace, sequence: u64, cwd: &str, arguments: &Exec) -> Status {
    if arguments.connected.one.json {
        return report::written(report::json(&Detached {
            workspace_id: workspace.id().to_owned(),
            sequence,
            command: shell_words(&arguments.command),
            cwd: cwd.to_owned(),
            detached: true,
            origin: workspace.into(),
        }));
    }
    terminal::note(&format!(
        "[workspace-exec] workspace_id={} sequence={sequence} cwd={cwd} execution_mode={} detached=yes",
        workspace.id(),
        workspace.execution_mode()
    ));
    report::written(terminal::result(&sequence.to_string()))
}

fn report(
    workspace: &Workspace,
    sequence: Option<u64>,
    finished: Finished,
    cwd: &str,
    arguments: &Exec,
) -> Status {
    let status = Status::of_command(&finished.exited);
    if arguments.connected.one.json {
        let written = report::written(report::json(&Executed {
            workspace_id: workspace.id().to_owned(),
            sequence,
            command: shell_words(&arguments.command),
            cwd: cwd.to_owned(),
            origin: workspace.into(),
            end: finished.into(),
        }));
        return if written == Status::SUCCESS { status } else { written };
    }
    explain(&finished.exited, arguments.execute.timeout_seconds, u64::from(workspace.memory_mib()));
    terminal::note(&format!(
        "[workspace-exec] workspace_id={} sequence={} cwd={cwd} execution_mode={} exit_code={} duration_ms={}",
        workspace.id(),
        sequence.unwrap_or_default(),
        workspace.execution_mode(),
        status.number(),
        finished.duration.as_millis()
    ));
    status
}
