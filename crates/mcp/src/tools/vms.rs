//! VMs that stay without being anybody's workspace.

use pyro::results::Executed;
use pyro::{Catalog, Code, CreateRequest, Failure, Progress, Shape, WorkspaceInfo, parse_seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::{Command, default_timeout};
use super::workspaces::{default_environment, default_memory, default_processors, default_ttl};
use super::{Arguments, Effect, Tool};
use crate::answer::Answer;
use crate::call::Call;
use crate::profile::Profile;

/// What tells these VMs from workspaces.
const LABEL: (&str, &str) = ("pyro/vm", "mcp");

pub(super) fn add(tools: &mut Vec<Tool>) {
    tools.push(Tool::new::<ListEnvironments>(Profile::WorkspaceFull));
    tools.push(Tool::new::<VmCreate>(Profile::WorkspaceFull));
    tools.push(Tool::new::<VmStart>(Profile::WorkspaceFull));
    tools.push(Tool::new::<VmExec>(Profile::WorkspaceFull));
    tools.push(Tool::new::<VmStop>(Profile::WorkspaceFull));
    tools.push(Tool::new::<VmDelete>(Profile::WorkspaceFull));
    tools.push(Tool::new::<VmStatus>(Profile::WorkspaceFull));
    tools.push(Tool::new::<VmNetworkInfo>(Profile::WorkspaceFull));
    tools.push(Tool::new::<ReapExpired>(Profile::WorkspaceFull));
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListEnvironments {}

impl Arguments for ListEnvironments {
    const NAME: &'static str = "vm_list_environments";
    const DESCRIPTION: &'static str =
        "The environments that VMs and workspaces can be made of, and whether they are installed.";
    const EFFECT: Effect = Effect::Reads;
    type Output = Catalog;

    async fn run(self, call: &Call) -> Result<Answer<Catalog>, Failure> {
        let catalog = call.pyro.catalog();
        let line = |entry: &pyro::CatalogEntry| {
            let state = if entry.installed { "installed" } else { "not installed" };
            format!("{} [{state}] {}\n", entry.name, entry.description)
        };
        let text: String = catalog.environments.iter().map(line).collect();
        Ok(Answer::new(catalog, text))
    }
}

/// A VM as it stands.
#[derive(Debug, Serialize, JsonSchema)]
struct VmInfo {
    vm_id: String,
    environment: String,
    state: &'static str,
    vcpu_count: u8,
    mem_mib: u32,
    ttl_seconds: Option<u64>,
    network_policy: String,
    created_at: String,
    last_used_at: String,
    execution_mode: Option<&'static str>,
    accelerator: Option<&'static str>,
}

impl From<WorkspaceInfo> for VmInfo {
    fn from(info: WorkspaceInfo) -> VmInfo {
        VmInfo {
            vm_id: info.workspace_id,
            environment: info.environment,
            state: info.state,
            vcpu_count: info.vcpu_count,
            mem_mib: info.mem_mib,
            ttl_seconds: info.ttl_seconds,
            network_policy: info.network_policy,
            created_at: info.created_at,
            last_used_at: info.last_used_at,
            execution_mode: info.execution_mode,
            accelerator: info.accelerator,
        }
    }
}

impl VmInfo {
    fn into_answer(self) -> Answer<VmInfo> {
        let text = format!("vm_id={} state={} environment={}", self.vm_id, self.state, self.environment);
        Answer::new(self, text)
    }
}

/// Workspaces are none of these tools' business.
async fn find(call: &Call, vm_id: &str) -> Result<WorkspaceInfo, Failure> {
    let info = call.info(vm_id).await?;
    match info.labels.get(LABEL.0).is_some_and(|value| value == LABEL.1) {
        true => Ok(info),
        false => Err(Failure::new(
            Code::WorkspaceUnknown,
            format!("{vm_id} is a workspace, not a VM of vm_create"),
        )
        .fix("use the workspace tools with it")),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VmCreate {
    #[serde(default = "default_environment")]
    environment: String,
    #[serde(default = "default_processors")]
    vcpu_count: u64,
    #[serde(default = "default_memory")]
    mem_mib: u64,
    /// It stops when it was not used for so long, and vm_reap_expired deletes it.
    #[serde(default = "default_ttl")]
    ttl_seconds: u64,
}

impl Arguments for VmCreate {
    const NAME: &'static str = "vm_create";
    const DESCRIPTION: &'static str =
        "Make a VM for several commands, without files of the host. It runs at once.";
    const EFFECT: Effect = Effect::Adds;
    type Output = VmInfo;

    async fn run(self, call: &Call) -> Result<Answer<VmInfo>, Failure> {
        let request = CreateRequest {
            environment: self.environment.clone(),
            shape: Shape::parse(self.vcpu_count, self.mem_mib)?,
            ttl_seconds: parse_seconds("ttl_seconds", self.ttl_seconds)?,
            name: None,
            labels: vec![format!("{}={}", LABEL.0, LABEL.1)],
            seed: None,
        };
        call.environment(&self.environment).await?;
        let _refilling = call.pyro.refill_at_end(&self.environment, request.shape);
        let notice = |notice: pyro::Notice<'_>| call.report.notice(notice);
        let vm = call.pyro.create_workspace(request, &Progress::default(), notice).await?;
        Ok(VmInfo::from(call.info(vm.id()).await?).into_answer())
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VmStart {
    vm_id: String,
}

impl Arguments for VmStart {
    const NAME: &'static str = "vm_start";
    const DESCRIPTION: &'static str = "Start a VM that was stopped.";
    const EFFECT: Effect = Effect::Adds;
    type Output = VmInfo;

    async fn run(self, call: &Call) -> Result<Answer<VmInfo>, Failure> {
        let vm = call.workspace(&find(call, &self.vm_id).await?.workspace_id).await?;
        Ok(VmInfo::from(call.info(vm.id()).await?).into_answer())
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VmExec {
    vm_id: String,
    /// A line for sh.
    command: String,
    #[serde(default = "default_timeout")]
    timeout_seconds: u64,
    /// Of each output, shown.
    max_bytes: Option<u64>,
}

impl Arguments for VmExec {
    const NAME: &'static str = "vm_exec";
    const DESCRIPTION: &'static str = "Run a command in a VM of vm_create.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = Executed;

    async fn run(self, call: &Call) -> Result<Answer<Executed>, Failure> {
        let command = Command {
            line: &self.command,
            cwd: None,
            timeout_seconds: self.timeout_seconds,
            max_bytes: self.max_bytes,
        };
        command.run(call, &find(call, &self.vm_id).await?.workspace_id).await
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VmStop {
    vm_id: String,
}

impl Arguments for VmStop {
    const NAME: &'static str = "vm_stop";
    const DESCRIPTION: &'static str = "Stop a VM. Its disk stays.";
    const EFFECT: Effect = Effect::Adds;
    type Output = VmInfo;

    async fn run(self, call: &Call) -> Result<Answer<VmInfo>, Failure> {
        let id = find(call, &self.vm_id).await?.workspace_id;
        call.pyro.stop_workspace(&id).await?;
        Ok(VmInfo::from(call.info(&id).await?).into_answer())
    }
}

/// VMs that are gone.
#[derive(Debug, Serialize, JsonSchema)]
struct Reaped {
    count: usize,
    deleted: Vec<String>,
}

impl Reaped {
    fn into_answer(self) -> Answer<Reaped> {
        let text = format!("deleted {}: {}", self.count, self.deleted.join(" "));
        Answer::new(self, text.trim_end_matches(": ").to_owned())
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VmDelete {
    vm_id: String,
}

impl Arguments for VmDelete {
    const NAME: &'static str = "vm_delete";
    const DESCRIPTION: &'static str = "Delete a VM with everything in it.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = Reaped;

    async fn run(self, call: &Call) -> Result<Answer<Reaped>, Failure> {
        let id = find(call, &self.vm_id).await?.workspace_id;
        Ok(Reaped { count: 1, deleted: vec![call.pyro.delete_workspace(&id).await?] }.into_answer())
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VmStatus {
    vm_id: String,
}

impl Arguments for VmStatus {
    const NAME: &'static str = "vm_status";
    const DESCRIPTION: &'static str = "How a VM stands.";
    const EFFECT: Effect = Effect::Reads;
    type Output = VmInfo;

    async fn run(self, call: &Call) -> Result<Answer<VmInfo>, Failure> {
        Ok(VmInfo::from(find(call, &self.vm_id).await?).into_answer())
    }
}

/// What a VM can reach.
#[derive(Debug, Serialize, JsonSchema)]
struct NetworkInfo {
    vm_id: String,
    network_policy: String,
    network_enabled: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VmNetworkInfo {
    vm_id: String,
}

impl Arguments for VmNetworkInfo {
    const NAME: &'static str = "vm_network_info";
    const DESCRIPTION: &'static str = "What a VM can reach over the network.";
    const EFFECT: Effect = Effect::Reads;
    type Output = NetworkInfo;

    async fn run(self, call: &Call) -> Result<Answer<NetworkInfo>, Failure> {
        let info = find(call, &self.vm_id).await?;
        let network_enabled = info.network_policy != "off";
        let text = format!("vm_id={} network_policy={}", info.workspace_id, info.network_policy);
        let network =
            NetworkInfo { vm_id: info.workspace_id, network_policy: info.network_policy, network_enabled };
        Ok(Answer::new(network, text))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReapExpired {}

impl Arguments for ReapExpired {
    const NAME: &'static str = "vm_reap_expired";
    const DESCRIPTION: &'static str =
        "Delete the VMs of vm_create whose time to live is over. Workspaces stay.";
    const EFFECT: Effect = Effect::Destroys;
    type Output = Reaped;

    async fn run(self, call: &Call) -> Result<Answer<Reaped>, Failure> {
        let deleted = call.pyro.delete_expired(&[format!("{}={}", LABEL.0, LABEL.1)]).await?;
        Ok(Reaped { count: deleted.len(), deleted }.into_answer())
    }
}
