//! `pyro workspace list`

use std::collections::BTreeMap;

use pyro::{Failure, Pyro, WorkspaceInfo, WorkspaceSize};
use serde::Serialize;
use serde_json::json;

use super::block::labels;
use crate::arguments::workspace::List;
use crate::exit::Status;
use crate::sizes::bytes;
use crate::untrusted::printable;
use crate::{report, terminal};

/// A workspace, and what it takes where that was asked for.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    info: WorkspaceInfo,
    #[serde(flatten)]
    size: Option<WorkspaceSize>,
}

pub(super) async fn run(pyro: &Pyro, arguments: &List) -> Result<Status, Failure> {
    let infos = pyro.workspaces(&arguments.labels).await?;
    let sizes = if arguments.sizes { pyro.workspace_sizes()? } else { BTreeMap::new() };
    let with_size = |info: WorkspaceInfo| Entry { size: sizes.get(&info.workspace_id).copied(), info };
    let entries: Vec<Entry> = infos.into_iter().map(with_size).collect();
    if arguments.json {
        return Ok(report::written(report::json(&json!({ "count": entries.len(), "workspaces": entries }))));
    }
    let line = if arguments.id_only { id } else { describe };
    let text: String = entries.iter().map(|entry| line(entry) + "\n").collect();
    if text.is_empty() {
        if !arguments.id_only {
            terminal::note("no workspaces; make one with `pyro workspace create debian:12`");
        }
        return Ok(Status::SUCCESS);
    }
    Ok(report::written(terminal::result(&text)))
}

fn id(entry: &Entry) -> String {
    entry.info.workspace_id.clone()
}

/// `ID [state] environment=… commands=… last_used=… private=… shared=… name=… label …`
fn describe(Entry { info, size }: &Entry) -> String {
    let mut line = format!(
        "{} [{}] environment={} commands={} last_used={}",
        info.workspace_id, info.state, info.environment, info.command_count, info.last_used_at
    );
    if let Some(WorkspaceSize { private_bytes, shared_bytes }) = size {
        line.push_str(&format!(" private={} shared={}", bytes(*private_bytes), bytes(*shared_bytes)));
    }
    if let Some(name) = &info.name {
        line.push_str(&format!(" name={name}"));
    }
    if !info.labels.is_empty() {
        line.push(' ');
        line.push_str(&labels(info));
    }
    printable(line.as_bytes())
}
