//! `pyro workspace list`

use pyro::{Failure, Pyro, WorkspaceInfo};
use serde_json::json;

use super::block::labels;
use crate::arguments::workspace::List;
use crate::exit::Status;
use crate::untrusted::printable;
use crate::{report, terminal};

pub(super) async fn run(pyro: &Pyro, arguments: &List) -> Result<Status, Failure> {
    let infos = pyro.workspaces(&arguments.labels).await?;
    if arguments.json {
        return Ok(report::written(report::json(&json!({ "count": infos.len(), "workspaces": infos }))));
    }
    let line = if arguments.id_only { id } else { describe };
    let text: String = infos.iter().map(|info| line(info) + "\n").collect();
    if text.is_empty() {
        if !arguments.id_only {
            terminal::note("no workspaces; make one with `pyro workspace create debian:12`");
        }
        return Ok(Status::SUCCESS);
    }
    Ok(report::written(terminal::result(&text)))
}

fn id(info: &WorkspaceInfo) -> String {
    info.workspace_id.clone()
}

/// `ID [state] environment=… commands=… last_used=… name=… label …`
fn describe(info: &WorkspaceInfo) -> String {
    let mut line = format!(
        "{} [{}] environment={} commands={} last_used={}",
        info.workspace_id, info.state, info.environment, info.command_count, info.last_used_at
    );
    if let Some(name) = &info.name {
        line.push_str(&format!(" name={name}"));
    }
    if !info.labels.is_empty() {
        line.push(' ');
        line.push_str(&labels(info));
    }
    printable(line.as_bytes())
}
