//! What is known of workspaces without asking their guests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use pyro_proto::shim;
use pyro_store::{
    InvalidName, LabelFilter, LabelKey, LabelValue, Labels, WorkspaceChange, WorkspaceName, WorkspaceRecord,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::WORKSPACE;
use crate::{Code, Failure, Pyro, parse_seconds};

/// A workspace in lists and results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WorkspaceInfo {
    /// Its id.
    pub workspace_id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its environment.
    pub environment: String,
    /// `started`, `paused` or `stopped`.
    pub state: &'static str,
    /// Where it is in its guest.
    pub workspace_path: &'static str,
    /// What its baseline was filled with.
    pub workspace_seed: SeedInfo,
    /// What the guest may reach.
    pub network_policy: String,
    /// Virtual processors.
    pub vcpu_count: u8,
    /// Memory in MiB.
    pub mem_mib: u32,
    /// Its VM ends when it was not used for so many seconds.
    pub ttl_seconds: Option<u64>,
    /// Commands since it was made or reset.
    pub command_count: u64,
    /// How often it was reset.
    pub reset_count: u32,
    /// When it was made.
    pub created_at: String,
    /// When it was last used.
    pub last_used_at: String,
    /// How the guest is reached, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_mode: Option<&'static str>,
    /// `kvm` or `tcg`, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<&'static str>,
}

/// What a baseline was filled with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SeedInfo {
    /// `empty`, `directory` or `archive`.
    pub mode: &'static str,
    /// Where it came from.
    pub path: Option<PathBuf>,
}

/// Changes to a workspace's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateRequest {
    /// A new name, or none any more.
    pub name: Option<Option<String>>,
    /// Labels to set, `KEY=VALUE`.
    pub labels: Vec<String>,
    /// Labels to take away.
    pub clear_labels: Vec<String>,
    /// A new time to live.
    pub ttl_seconds: Option<u64>,
}

impl Pyro {
    /// Workspaces that have all of these labels (`KEY=VALUE`, or `KEY` with any value), oldest first.
    pub async fn workspaces(&self, labels: &[String]) -> Result<Vec<WorkspaceInfo>, Failure> {
        let mut infos = Vec::new();
        for record in self.store.workspaces(&filters_of(labels)?)? {
            infos.push(self.info_of(&record).await?);
        }
        Ok(infos)
    }

    /// The id of the workspace that a person means.
    pub fn workspace_id(&self, reference: &str) -> Result<String, Failure> {
        Ok(self.find_workspace(reference)?.workspace.id.as_str().to_owned())
    }

    /// One workspace.
    pub async fn workspace(&self, reference: &str) -> Result<WorkspaceInfo, Failure> {
        let record = self.find_workspace(reference)?;
        self.info_of(&record).await
    }

    /// Changes a workspace's name, labels or time to live: all of it, or nothing.
    pub async fn update_workspace(
        &self,
        reference: &str,
        request: UpdateRequest,
    ) -> Result<WorkspaceInfo, Failure> {
        let record = self.find_workspace(reference)?;
        let name = match request.name {
            Some(Some(name)) => Some(Some(parse_name(&name)?)),
            Some(None) => Some(None),
            None => None,
        };
        let ttl_seconds =
            request.ttl_seconds.map(|seconds| parse_seconds("--ttl-seconds", seconds)).transpose()?;
        let gone = |key: &String| LabelKey::parse(key).map_err(|error| no_label(key, &error));
        let change = WorkspaceChange {
            name,
            clear_labels: false,
            remove_labels: request.clear_labels.iter().map(gone).collect::<Result<_, _>>()?,
            set_labels: labels_of(&request.labels)?,
            ttl_seconds: ttl_seconds.map(Some),
        };
        self.store.update(&record.workspace.id, &change)?;
        if let (Some(seconds), Some(mut workspace)) = (ttl_seconds, self.connect(&record).await?) {
            // A VM that ends meanwhile starts with the new value.
            let _ = workspace.connection.request(&shim::Request::SetTtl(Some(seconds)), |_| {}).await;
        }
        self.workspace(record.workspace.id.as_str()).await
    }

    async fn info_of(&self, record: &WorkspaceRecord) -> Result<WorkspaceInfo, Failure> {
        let mut info = describe(record);
        if let Some(workspace) = self.connect(record).await? {
            info.state = "started";
            info.execution_mode = Some(workspace.execution_mode());
            info.accelerator = Some(workspace.accelerator());
        }
        Ok(info)
    }
}

fn describe(record: &WorkspaceRecord) -> WorkspaceInfo {
    let workspace = &record.workspace;
    let labels = workspace.labels.iter();
    WorkspaceInfo {
        workspace_id: workspace.id.as_str().to_owned(),
        name: workspace.name.as_ref().map(|name| name.as_str().to_owned()),
        labels: labels.map(|(key, value)| (key.as_str().to_owned(), value.as_str().to_owned())).collect(),
        environment: workspace.environment.clone(),
        state: if record.paused.is_some() { "paused" } else { "stopped" },
        workspace_path: WORKSPACE,
        workspace_seed: match &workspace.seed {
            Some(seed) => SeedInfo { mode: seed.kind.as_str(), path: Some(seed.path.clone()) },
            None => SeedInfo { mode: "empty", path: None },
        },
        network_policy: record.network_policy.clone(),
        vcpu_count: workspace.vcpu_count,
        mem_mib: workspace.memory_mib,
        ttl_seconds: workspace.ttl_seconds,
        command_count: record.next_sequence.saturating_sub(1),
        reset_count: record.reset_count,
        created_at: timestamp(record.created),
        last_used_at: timestamp(record.last_used),
        execution_mode: None,
        accelerator: None,
    }
}

/// A guest's time. RFC 3339 knows the years up to 9999, and this host none before 1970: what is beyond is shown
/// as the nearest.
pub(super) fn system_time(time: pyro_proto::tree::Mtime) -> SystemTime {
    const LAST_SECOND: u64 = 253_402_300_799;
    let seconds = u64::try_from(time.seconds).unwrap_or_default().min(LAST_SECOND);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// RFC 3339, in UTC.
pub(crate) fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Reads a workspace's name.
pub(super) fn parse_name(text: &str) -> Result<WorkspaceName, Failure> {
    WorkspaceName::parse(text)
        .map_err(|error| Failure::new(Code::InvalidArgument, error.to_string()).fix("choose another name"))
}

/// Reads `KEY=VALUE` labels.
pub(super) fn labels_of(texts: &[String]) -> Result<Labels, Failure> {
    let pairs: Vec<(&str, &str)> = texts
        .iter()
        .map(|text| text.split_once('=').ok_or_else(|| no_label(text, &"it has no `=`")))
        .collect::<Result<_, _>>()?;
    Labels::parse(pairs).map_err(|error| no_label(&texts.join(" "), &error))
}

/// Reads what workspaces are found by: `KEY=VALUE`, or `KEY` with any value.
pub(super) fn filters_of(texts: &[String]) -> Result<Vec<LabelFilter>, Failure> {
    texts.iter().map(|text| filter_of(text)).collect()
}

fn filter_of(text: &str) -> Result<LabelFilter, Failure> {
    let parse = || -> Result<LabelFilter, InvalidName> {
        Ok(match text.split_once('=') {
            Some((key, value)) => {
                LabelFilter { key: LabelKey::parse(key)?, value: Some(LabelValue::parse(value)?) }
            }
            None => LabelFilter { key: LabelKey::parse(text)?, value: None },
        })
    };
    parse().map_err(|error| no_label(text, &error))
}

pub(super) fn no_label(text: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::InvalidArgument, format!("{text:?} is no label")).because(error).fix("write KEY=VALUE")
}
