//! `pyro workspace logs`

use pyro::results::{HistoryResult, LoggedCommand};
use pyro::{Failure, HistoryEntry, KeptOutput, Pyro, Starting};

use crate::arguments::workspace::Logs;
use crate::exit::Status;
use crate::interrupt::Interrupts;
use crate::pump::{Ended, Streams, pump};
use crate::untrusted::printable;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: &Logs) -> Result<Status, Failure> {
    let id = pyro.workspace_id(&arguments.one.workspace)?;
    let workspace = id.as_str();
    let sequence = match (arguments.sequence, arguments.follow) {
        (None, true) => pyro.history(workspace)?.last().map(|entry| entry.sequence),
        (sequence, _) => sequence,
    };
    if let (Some(sequence), true) = (sequence, arguments.follow)
        && pyro.history_entry(workspace, sequence)?.state == "running"
    {
        return follow(pyro, workspace, sequence).await;
    }
    let entries = match sequence {
        Some(sequence) => vec![pyro.history_entry(workspace, sequence)?],
        None => pyro.history(workspace)?,
    };
    if arguments.one.json {
        return Ok(report::written(report::json(&result(pyro, workspace, entries)?)));
    }
    for entry in &entries {
        if let status @ (Status::BROKEN_PIPE | Status::FAIL) = show(pyro, workspace, entry)? {
            return Ok(status);
        }
    }
    Ok(Status::SUCCESS)
}

/// The output so far and what comes, to the command's end; ends as the command does.
async fn follow(pyro: &Pyro, workspace: &str, sequence: u64) -> Result<Status, Failure> {
    let mut interrupts = Interrupts::install()
        .map_err(|error| Failure::new(pyro::Code::System, "signals cannot be handled").because(error))?;
    let mut opened = pyro.open_workspace(workspace, Starting::Never, |_| {}).await?;
    let mut execution = opened.follow(sequence)?;
    match pump(&mut execution, Streams::default(), &mut interrupts).await {
        Ended::Command(exited, _) => {
            drop(opened);
            let entry = pyro.history_entry(workspace, sequence)?;
            terminal::note(&marker(workspace, &entry));
            Ok(Status::of_command(&exited))
        }
        Ended::Signal(signal) => Ok(Status::signal(signal)),
        Ended::ReaderLeft => Ok(Status::BROKEN_PIPE),
        Ended::Left => Ok(Status::SUCCESS),
        Ended::Failed(failure) => Err(failure),
    }
}

/// A command with what is kept of its output, each stream on its own.
fn show(pyro: &Pyro, workspace: &str, entry: &HistoryEntry) -> Result<Status, Failure> {
    terminal::note(&format!("$ {}", printable(entry.command.as_bytes())));
    let [stdout, stderr] = pyro.kept_output(workspace, entry.sequence)?;
    let written =
        write(&stdout, terminal::output_to_stdout).and_then(|()| write(&stderr, terminal::bytes_to_stderr));
    let status = report::written(written);
    terminal::note(&marker(workspace, entry));
    Ok(status)
}

fn write(kept: &KeptOutput, sink: impl Fn(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    sink(&kept.head)?;
    if kept.cut_bytes > 0 {
        sink(format!("\n[{} bytes are not kept]\n", kept.cut_bytes).as_bytes())?;
    }
    sink(&kept.tail)
}

fn marker(workspace: &str, entry: &HistoryEntry) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    format!(
        "[workspace-logs] workspace_id={workspace} sequence={} cwd={} state={} exit_code={} duration_ms={} started_at={}",
        entry.sequence,
        printable(entry.cwd.as_bytes()),
        entry.state,
        number(entry.exit_code.map(u64::from)),
        number(entry.duration_ms),
        entry.started_at
    )
}

fn result(pyro: &Pyro, workspace: &str, entries: Vec<HistoryEntry>) -> Result<HistoryResult, Failure> {
    let mut commands = Vec::new();
    for entry in entries {
        let kept = pyro.kept_output(workspace, entry.sequence)?;
        commands.push(LoggedCommand::new(entry, &kept));
    }
    Ok(HistoryResult { workspace_id: workspace.to_owned(), count: commands.len(), entries: commands })
}
