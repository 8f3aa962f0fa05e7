//! Workspaces set back, and copied.

use pyro::results::ResetResult;
use pyro::{Failure, ForkRequest, Forks, ResetRequest, SnapshotScope};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Arguments, Effect, Tool};
use crate::answer::Answer;
use crate::call::Call;
use crate::profile::Profile;

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<Reset>(Profile::WorkspaceCore));
    tools.push(Tool::new::<Fork>(Profile::WorkspaceCore));
}

fn scope(disk_only: bool) -> SnapshotScope {
    if disk_only { SnapshotScope::Disk } else { SnapshotScope::DiskAndMemory }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reset {
    workspace_id: String,
    /// Default: as it was made.
    snapshot: Option<String>,
    /// Leave out a snapshot's processes.
    #[serde(default)]
    disk_only: bool,
}

impl Arguments for Reset {
    const NAME: &'static str = "workspace_reset";
    const DESCRIPTION: &'static str = "Set a workspace back to what it was when it was made: the whole computer, its \
        history, shells and services. Changes since are lost.";
    const EFFECT: Effect = Effect::Destroys;
    const WHOLE_PROFILE_ONLY: &'static [&'static str] = &["snapshot", "disk_only"];
    type Output = ResetResult;

    async fn run(self, call: &Call) -> Result<Answer<ResetResult>, Failure> {
        let request = ResetRequest { snapshot: self.snapshot, scope: scope(self.disk_only) };
        let notice = |notice: pyro::Notice<'_>| call.report.notice(notice);
        let (workspace, reset) = call.pyro.reset_workspace(&self.workspace_id, &request, notice).await?;
        let info = call.info(workspace.id()).await?;
        let text = format!(
            "reset to {} ({}) entry_count={} reset_count={}",
            reset.snapshot_name, reset.kind, reset.entry_count, info.reset_count
        );
        Ok(Answer::new(ResetResult { reset, workspace: info }, text))
    }
}

fn default_count() -> usize {
    1
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fork {
    workspace_id: String,
    /// Default: as it is now.
    snapshot: Option<String>,
    #[serde(default)]
    disk_only: bool,
    #[serde(default = "default_count")]
    count: usize,
    /// Several get -1, -2 …
    name: Option<String>,
    /// KEY=VALUE
    #[serde(default)]
    labels: Vec<String>,
}

impl Arguments for Fork {
    const NAME: &'static str = "workspace_fork";
    const DESCRIPTION: &'static str = "Copy a workspace with its running processes, to try several ways at once. The \
        copies are independent.";
    const EFFECT: Effect = Effect::Adds;
    const WHOLE_PROFILE_ONLY: &'static [&'static str] = &["snapshot", "disk_only", "labels"];
    type Output = Forks;

    async fn run(self, call: &Call) -> Result<Answer<Forks>, Failure> {
        let request = ForkRequest {
            snapshot: self.snapshot,
            scope: scope(self.disk_only),
            count: self.count,
            name: self.name,
            labels: self.labels,
        };
        let notice = |notice: pyro::Notice<'_>| call.report.notice(notice);
        let forks = call.pyro.fork_workspace(&self.workspace_id, &request, notice).await?;
        let line = |fork: &pyro::Forked| {
            let name = fork.name.as_ref().map(|name| format!(" name={name}")).unwrap_or_default();
            format!("workspace_id={}{name}\n", fork.workspace_id)
        };
        let text: String = forks.forks.iter().map(line).collect();
        Ok(Answer::new(forks, text))
    }
}
