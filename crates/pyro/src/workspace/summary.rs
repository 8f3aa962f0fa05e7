//! What happened in a workspace since it was made or reset, on one page.

use pyro_proto::tree::NodeKind;
use schemars::JsonSchema;
use serde::Serialize;

use super::Workspace;
use super::history::HistoryEntry;
use super::info::WorkspaceInfo;
use crate::limits::SUMMARY_ITEMS_MAX;
use crate::{Failure, Pyro};

/// One page on a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WorkspaceSummary {
    /// The workspace.
    pub workspace: WorkspaceInfo,
    /// Its commands, in numbers.
    pub commands: CommandCounts,
    /// The last commands that did not end with 0, newest last.
    pub failed_commands: Vec<HistoryEntry>,
    /// The last commands, newest last.
    pub last_commands: Vec<HistoryEntry>,
    /// What differs from the baseline.
    pub changes: ChangeCounts,
}

/// Commands by their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CommandCounts {
    /// All of them.
    pub total: u64,
    /// Those that ended with 0.
    pub succeeded: u64,
    /// Those that ended otherwise.
    pub failed: u64,
    /// Those that run.
    pub running: u64,
}

/// What differs from the baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangeCounts {
    /// All changes but those inside `.git`.
    pub total: u64,
    /// Files and directories that came.
    pub added: u64,
    /// Those with other contents or permissions.
    pub modified: u64,
    /// Those that went.
    pub deleted: u64,
    /// Those that are another kind of thing now.
    pub type_changed: u64,
    /// Changes inside `.git`.
    pub in_git: u64,
    /// The first of them, by path.
    pub paths: Vec<ChangedPath>,
}

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangedPath {
    /// Where; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// `added`, `modified`, `deleted` or `type_changed`.
    pub status: &'static str,
}

impl Pyro {
    /// What happened in a workspace since it was made or reset.
    pub async fn workspace_summary(&self, workspace: &mut Workspace) -> Result<WorkspaceSummary, Failure> {
        let history = self.history(workspace.id())?;
        let changes = workspace.change_counts().await?;
        let failed: Vec<HistoryEntry> = history.iter().filter(|entry| has_failed(entry)).cloned().collect();
        let running = history.iter().filter(|entry| entry.state == "running").count() as u64;
        let total = history.len() as u64;
        Ok(WorkspaceSummary {
            workspace: self.workspace(workspace.id()).await?,
            commands: CommandCounts {
                total,
                succeeded: total - failed.len() as u64 - running,
                failed: failed.len() as u64,
                running,
            },
            failed_commands: last(failed),
            last_commands: last(history),
            changes,
        })
    }
}

impl Workspace {
    /// What differs from the baseline, in numbers.
    pub async fn change_counts(&mut self) -> Result<ChangeCounts, Failure> {
        let mut counts = ChangeCounts::default();
        self.count_changes(|change| {
            if change.path.names().any(|name| name == b".git") {
                counts.in_git += 1;
                return;
            }
            counts.total += 1;
            let kind = |kind: &NodeKind| std::mem::discriminant(kind);
            let (count, status) = match (&change.before, &change.after) {
                (None, _) => (&mut counts.added, "added"),
                (_, None) => (&mut counts.deleted, "deleted"),
                (Some(before), Some(after)) if kind(&before.kind) != kind(&after.kind) => {
                    (&mut counts.type_changed, "type_changed")
                }
                _ => (&mut counts.modified, "modified"),
            };
            *count += 1;
            if counts.paths.len() < SUMMARY_ITEMS_MAX {
                let path = String::from_utf8_lossy(change.path.as_bytes()).into_owned();
                counts.paths.push(ChangedPath { path, status });
            }
        })
        .await?;
        Ok(counts)
    }
}

fn has_failed(entry: &HistoryEntry) -> bool {
    entry.state != "running" && entry.exit_code != Some(0)
}

fn last(mut entries: Vec<HistoryEntry>) -> Vec<HistoryEntry> {
    entries.split_off(entries.len().saturating_sub(SUMMARY_ITEMS_MAX))
}
