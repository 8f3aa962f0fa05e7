//! Snapshots of workspaces.

use pyro::Failure;
use pyro::SnapshotScope;
use pyro::results::{SnapshotDeleted, SnapshotList, SnapshotResult};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Arguments, Effect, Tool};
use crate::answer::Answer;
use crate::call::Call;
use crate::profile::Profile;

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<Create>(Profile::WorkspaceFull));
    tools.push(Tool::new::<List>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Delete>(Profile::WorkspaceFull));
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    workspace_id: String,
    snapshot_name: String,
    /// Keep running processes too.
    #[serde(default)]
    memory: bool,
}

impl Arguments for Create {
    const NAME: &'static str = "snapshot_create";
    const DESCRIPTION: &'static str =
        "Keep the whole computer of a workspace as it is now, to reset or fork it to later.";
    const EFFECT: Effect = Effect::Adds;
    type Output = SnapshotResult;

    async fn run(self, call: &Call) -> Result<Answer<SnapshotResult>, Failure> {
        call.pyro.check_snapshot_name(&self.workspace_id, &self.snapshot_name)?;
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let scope = if self.memory { SnapshotScope::DiskAndMemory } else { SnapshotScope::Disk };
        let taken = workspace.snapshot(&self.snapshot_name, scope).await?;
        let text = format!("snapshot_name={} entry_count={}", self.snapshot_name, taken.entry_count);
        let result = SnapshotResult {
            workspace_id: workspace.id().to_owned(),
            snapshot_name: self.snapshot_name,
            kind: "named",
            taken,
            origin: (&workspace).into(),
        };
        Ok(Answer::new(result, text))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    workspace_id: String,
}

impl Arguments for List {
    const NAME: &'static str = "snapshot_list";
    const DESCRIPTION: &'static str = "The snapshots of a workspace, oldest first.";
    const EFFECT: Effect = Effect::Reads;
    type Output = SnapshotList;

    async fn run(self, call: &Call) -> Result<Answer<SnapshotList>, Failure> {
        let snapshots = call.pyro.snapshots(&self.workspace_id)?;
        let line = |snapshot: &pyro::SnapshotInfo| {
            format!("{} [{}] created_at={}\n", snapshot.snapshot_name, snapshot.kind, snapshot.created_at)
        };
        let text: String = snapshots.iter().map(line).collect();
        let workspace_id = call.pyro.workspace_id(&self.workspace_id)?;
        Ok(Answer::new(SnapshotList { workspace_id, count: snapshots.len(), snapshots }, text))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Delete {
    workspace_id: String,
    snapshot_name: String,
}

impl Arguments for Delete {
    const NAME: &'static str = "snapshot_delete";
    const DESCRIPTION: &'static str = "Delete a snapshot. The workspace and its copies stay.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = SnapshotDeleted;

    async fn run(self, call: &Call) -> Result<Answer<SnapshotDeleted>, Failure> {
        let freed_bytes = call.pyro.delete_snapshot(&self.workspace_id, &self.snapshot_name)?;
        let workspace_id = call.pyro.workspace_id(&self.workspace_id)?;
        let text = format!("deleted {} freed_bytes={freed_bytes}", self.snapshot_name);
        Ok(Answer::new(
            SnapshotDeleted { workspace_id, snapshot_name: self.snapshot_name, freed_bytes },
            text,
        ))
    }
}
