//! Workspaces: made, found, described, started, stopped, deleted.

use pyro::results::{Deleted, PushedResult, WorkspaceList};
use pyro::{
    Code, CreateRequest, Failure, GuestPath, Progress, Shape, UpdateRequest, WorkspaceInfo, WorkspaceSummary,
    parse_seconds,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Arguments, Effect, Tool};
use crate::answer::{Answer, bounded, first};
use crate::call::Call;
use crate::limits::{LISTED_MAX, OUTPUT_BYTES_DEFAULT};
use crate::profile::Profile;

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<WorkspaceCreate>(Profile::WorkspaceCore));
    tools.push(Tool::new::<Workspaces>(Profile::WorkspaceCore));
    tools.push(Tool::new::<Status>(Profile::WorkspaceCore));
    tools.push(Tool::new::<Push>(Profile::WorkspaceCore));
    tools.push(Tool::new::<Delete>(Profile::WorkspaceCore));
    tools.push(Tool::new::<Update>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Start>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Stop>(Profile::WorkspaceFull));
    tools.push(Tool::new::<Summary>(Profile::WorkspaceFull));
}

pub(super) fn default_environment() -> String {
    "debian:12".to_owned()
}

pub(super) fn default_processors() -> u64 {
    1
}

pub(super) fn default_memory() -> u64 {
    1024
}

pub(super) fn default_ttl() -> u64 {
    600
}

/// One line of a workspace.
fn described(info: &WorkspaceInfo) -> String {
    let name = info.name.as_ref().map(|name| format!(" name={name}")).unwrap_or_default();
    let seed = match &info.workspace_seed.path {
        Some(path) => format!("{} {}", info.workspace_seed.mode, path.display()),
        None => info.workspace_seed.mode.to_owned(),
    };
    format!(
        "workspace_id={}{name} state={} environment={} seed={seed} commands={} last_used={}",
        info.workspace_id, info.state, info.environment, info.command_count, info.last_used_at
    )
}

fn stands(info: WorkspaceInfo) -> Answer<WorkspaceInfo> {
    let text = described(&info);
    Answer::new(info, text)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WorkspaceCreate {
    #[serde(default = "default_environment")]
    environment: String,
    /// Directory or archive copied to /workspace. Default: the project.
    seed_path: Option<String>,
    /// Start with an empty /workspace.
    #[serde(default)]
    empty: bool,
    /// Copy what git ignores too.
    #[serde(default)]
    with_ignored: bool,
    name: Option<String>,
    /// KEY=VALUE
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default = "default_processors")]
    vcpu_count: u64,
    #[serde(default = "default_memory")]
    mem_mib: u64,
    #[serde(default = "default_ttl")]
    ttl_seconds: u64,
}

impl Arguments for WorkspaceCreate {
    const NAME: &'static str = "workspace_create";
    const DESCRIPTION: &'static str = "Make a workspace: a Linux VM that stays, with a copy of the project in /workspace. \
        The project itself is never touched. Stopped after ttl_seconds without use, files kept; the next call starts it.";
    const EFFECT: Effect = Effect::Adds;
    const WHOLE_PROFILE_ONLY: &'static [&'static str] = &["labels", "vcpu_count"];
    type Output = WorkspaceInfo;

    async fn run(self, call: &Call) -> Result<Answer<WorkspaceInfo>, Failure> {
        let project = call.options().project.root().map(|root| root.to_string_lossy().into_owned());
        let seed = match (self.empty, self.seed_path.or(project)) {
            (false, Some(path)) => Some(call.source(&path, self.with_ignored).await?),
            _ => None,
        };
        let request = CreateRequest {
            environment: self.environment.clone(),
            shape: Shape::parse(self.vcpu_count, self.mem_mib)?,
            ttl_seconds: parse_seconds("ttl_seconds", self.ttl_seconds)?,
            name: self.name,
            labels: self.labels,
            seed,
        };
        call.environment(&self.environment).await?;
        // However it ends, another VM takes the place of the one that it takes.
        let _refilling = call.pyro.refill_at_end(&self.environment, request.shape);
        let progress = Progress::default();
        call.report.count(&progress);
        let notice = |notice: pyro::Notice<'_>| call.report.notice(notice);
        let workspace = call.pyro.create_workspace(request, &progress, notice).await?;
        Ok(stands(call.info(workspace.id()).await?))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Workspaces {
    /// Only with all of these: KEY=VALUE or KEY.
    #[serde(default)]
    labels: Vec<String>,
}

impl Arguments for Workspaces {
    const NAME: &'static str = "workspace_list";
    const DESCRIPTION: &'static str = "All workspaces, oldest first.";
    const EFFECT: Effect = Effect::Reads;
    const WHOLE_PROFILE_ONLY: &'static [&'static str] = &["labels"];
    type Output = WorkspaceList;

    async fn run(self, call: &Call) -> Result<Answer<WorkspaceList>, Failure> {
        let workspaces = call.pyro.workspaces(&self.labels).await?;
        let count = workspaces.len();
        let (workspaces, more) = first(workspaces, LISTED_MAX);
        let mut text: String = workspaces.iter().map(|info| described(info) + "\n").collect();
        if more > 0 {
            text.push_str(&format!("[{more} more]"));
        }
        if text.is_empty() {
            text.push_str("no workspaces; make one with workspace_create");
        }
        Ok(Answer::new(WorkspaceList { count, workspaces }, text))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Status {
    /// Id or name.
    workspace_id: String,
}

impl Arguments for Status {
    const NAME: &'static str = "workspace_status";
    const DESCRIPTION: &'static str = "How a workspace stands.";
    const EFFECT: Effect = Effect::Reads;
    type Output = WorkspaceInfo;

    async fn run(self, call: &Call) -> Result<Answer<WorkspaceInfo>, Failure> {
        Ok(stands(call.info(&self.workspace_id).await?))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Push {
    workspace_id: String,
    /// Directory or archive of the project.
    source_path: String,
    /// Default /workspace.
    dest: Option<String>,
    #[serde(default)]
    with_ignored: bool,
}

impl Arguments for Push {
    const NAME: &'static str = "workspace_sync_push";
    const DESCRIPTION: &'static str = "Copy files of the project into a workspace, all of them or none.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = PushedResult;

    async fn run(self, call: &Call) -> Result<Answer<PushedResult>, Failure> {
        let directory =
            self.dest.as_deref().map_or(Ok(GuestPath::root()), |path| GuestPath::parse(path.as_ref()))?;
        let source = call.source(&self.source_path, self.with_ignored).await?;
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let progress = Progress::default();
        call.report.say("pushing");
        call.report.count(&progress);
        let pushed = workspace.push(source, &directory, &progress).await?;
        let result = PushedResult::new(&workspace, &directory, pushed);
        let text = format!(
            "destination={} entry_count={} bytes_written={}",
            result.destination, result.entry_count, result.bytes_written
        );
        Ok(Answer::new(result, text))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Delete {
    workspace_id: String,
}

impl Arguments for Delete {
    const NAME: &'static str = "workspace_delete";
    const DESCRIPTION: &'static str = "Delete a workspace with everything in it. Take its changes first.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = Deleted;

    async fn run(self, call: &Call) -> Result<Answer<Deleted>, Failure> {
        let id = call.pyro.delete_workspace(&self.workspace_id).await?;
        let text = format!("deleted {id}");
        Ok(Answer::new(Deleted { deleted: vec![id] }, text))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Update {
    workspace_id: String,
    name: Option<String>,
    #[serde(default)]
    clear_name: bool,
    /// KEY=VALUE
    #[serde(default)]
    labels: Vec<String>,
    /// Keys.
    #[serde(default)]
    clear_labels: Vec<String>,
    ttl_seconds: Option<u64>,
}

impl Arguments for Update {
    const NAME: &'static str = "workspace_update";
    const DESCRIPTION: &'static str = "Change a workspace's name, labels or time to live.";
    const EFFECT: Effect = Effect::Adds;
    type Output = WorkspaceInfo;

    async fn run(self, call: &Call) -> Result<Answer<WorkspaceInfo>, Failure> {
        let request = UpdateRequest {
            name: if self.clear_name { Some(None) } else { self.name.map(Some) },
            labels: self.labels,
            clear_labels: self.clear_labels,
            ttl_seconds: self.ttl_seconds,
        };
        if request == UpdateRequest::default() {
            return Err(Failure::new(Code::InvalidArgument, "there is nothing to update")
                .fix("give name, clear_name, labels, clear_labels or ttl_seconds"));
        }
        Ok(stands(call.pyro.update_workspace(&self.workspace_id, request).await?))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    workspace_id: String,
}

impl Arguments for Start {
    const NAME: &'static str = "workspace_start";
    const DESCRIPTION: &'static str = "Start a workspace that was stopped or paused, with its services. Every other tool does so by itself.";
    const EFFECT: Effect = Effect::Adds;
    type Output = WorkspaceInfo;

    async fn run(self, call: &Call) -> Result<Answer<WorkspaceInfo>, Failure> {
        let workspace = call.workspace(&self.workspace_id).await?;
        Ok(stands(call.info(workspace.id()).await?))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stop {
    workspace_id: String,
}

impl Arguments for Stop {
    const NAME: &'static str = "workspace_stop";
    const DESCRIPTION: &'static str = "Stop a workspace. Its files stay, its processes end.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = WorkspaceInfo;

    async fn run(self, call: &Call) -> Result<Answer<WorkspaceInfo>, Failure> {
        call.pyro.stop_workspace(&self.workspace_id).await?;
        Ok(stands(call.info(&self.workspace_id).await?))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Summary {
    workspace_id: String,
}

impl Arguments for Summary {
    const NAME: &'static str = "workspace_summary";
    const DESCRIPTION: &'static str = "What happened in a workspace since it was made or reset, on one page: commands, failures, changed paths.";
    const EFFECT: Effect = Effect::Reads;
    type Output = WorkspaceSummary;

    async fn run(self, call: &Call) -> Result<Answer<WorkspaceSummary>, Failure> {
        let mut workspace = call.workspace(&self.workspace_id).await?;
        let summary = call.pyro.workspace_summary(&mut workspace).await?;
        let text = bounded(&page(&summary), OUTPUT_BYTES_DEFAULT as usize).0;
        Ok(Answer::new(summary, text))
    }
}

fn page(summary: &WorkspaceSummary) -> String {
    let (commands, changes) = (summary.commands, &summary.changes);
    let mut text = format!(
        "{}\ncommands: {} total, {} failed, {} running\n",
        described(&summary.workspace),
        commands.total,
        commands.failed,
        commands.running
    );
    for entry in &summary.failed_commands {
        let code = entry.exit_code.map_or_else(|| entry.state.to_owned(), |code| code.to_string());
        text.push_str(&format!("failed: {} [{code}] {}\n", entry.sequence, entry.command));
    }
    text.push_str(&format!(
        "changes: {} total, {} added, {} modified, {} deleted\n",
        changes.total, changes.added, changes.modified, changes.deleted
    ));
    for changed in &changes.paths {
        text.push_str(&format!("{} {}\n", changed.status, changed.path));
    }
    text
}
