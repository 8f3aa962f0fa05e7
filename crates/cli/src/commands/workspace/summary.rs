//! `pyro workspace summary`

use pyro::{Failure, HistoryEntry, Pyro, WorkspaceSummary};

use super::block::block;
use super::connect;
use crate::arguments::workspace::Connected;
use crate::exit::Status;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: &Connected) -> Result<Status, Failure> {
    let mut workspace = connect(pyro, arguments).await?;
    let summary = pyro.workspace_summary(&mut workspace).await?;
    let written = if arguments.one.json { report::json(&summary) } else { terminal::result(&page(&summary)) };
    Ok(report::written(written))
}

fn page(summary: &WorkspaceSummary) -> String {
    let mut text = block(&summary.workspace);
    let commands = summary.commands;
    text.push_str(&format!(
        "Commands: {} total, {} succeeded, {} failed, {} running\n",
        commands.total, commands.succeeded, commands.failed, commands.running
    ));
    section(&mut text, "Failed", &summary.failed_commands);
    section(&mut text, "Last", &summary.last_commands);
    let changes = &summary.changes;
    text.push_str(&format!(
        "Changes: {} total, {} added, {} modified, {} deleted, {} type changed, {} in .git\n",
        changes.total, changes.added, changes.modified, changes.deleted, changes.type_changed, changes.in_git
    ));
    for changed in &changes.paths {
        text.push_str(&format!("- {} {}\n", changed.status, printable(changed.path.as_bytes())));
    }
    let shown = changes.paths.len() as u64;
    if changes.total > shown {
        text.push_str(&format!("- and {} more, see `pyro workspace diff --stat`\n", changes.total - shown));
    }
    text
}

fn section(text: &mut String, name: &str, entries: &[HistoryEntry]) {
    if entries.is_empty() {
        return;
    }
    text.push_str(&format!("{name}:\n"));
    for entry in entries {
        let code = entry.exit_code.map_or_else(|| entry.state.to_owned(), |code| code.to_string());
        let command = printable(entry.command.as_bytes());
        text.push_str(&format!("- {} [{code}] {}\n", entry.sequence, command.replace('\n', " ")));
    }
}
