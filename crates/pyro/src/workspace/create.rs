//! Making a workspace.

use std::path::PathBuf;
use std::time::Instant;

use pyro_proto::shim::{HostPath, NewWorkspace, SeedSource, Transfer, WorkspaceOrder};
use pyro_store::{VmId, WorkspaceId};
use pyro_sync::source::GitRules;

use super::Workspace;
use super::info::{labels_of, parse_name};
use super::push::Source;
use super::transfer::Progress;
use crate::launch::Notice;
use crate::{Code, Failure, Pyro, Shape};

/// A workspace to be.
#[derive(Debug)]
pub struct CreateRequest {
    /// Its environment, which must be installed.
    pub environment: String,
    /// Its size.
    pub shape: Shape,
    /// Its VM ends when it was not used for so many seconds.
    pub ttl_seconds: u64,
    /// A name that no other has.
    pub name: Option<String>,
    /// Labels, `KEY=VALUE`.
    pub labels: Vec<String>,
    /// What it starts from; nothing without.
    pub seed: Option<Source>,
}

/// Files that a workspace starts from.
#[derive(Clone, Debug)]
pub struct Seed {
    /// A directory or an archive.
    pub path: PathBuf,
    /// What is left out of a directory.
    pub rules: SeedRules,
}

/// What is left out of a directory.
#[derive(Clone, Debug)]
pub enum SeedRules {
    /// Nothing.
    Everything,
    /// What git ignores, by these rules and those of the directory.
    Gitignore(GitRules),
}

impl Pyro {
    /// Makes a workspace and starts it. Dropped before it is done, or failing, it leaves nothing.
    pub async fn create_workspace(
        &self,
        request: CreateRequest,
        progress: &Progress,
        mut on_notice: impl FnMut(Notice<'_>),
    ) -> Result<Workspace, Failure> {
        let begun = Instant::now();
        let name = request.name.as_deref().map(parse_name).transpose()?;
        let labels = labels_of(&request.labels)?;
        let source = request.seed;
        let environment = self.installed(&request.environment)?;
        let _hold = environment.hold().map_err(crate::environments::image_failure)?;
        let guest = self.guest(&environment, request.shape).await?;
        let blank_recipe =
            guest.blank.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let order = NewWorkspace {
            name: name.as_ref().map(|name| name.as_str().to_owned()),
            labels: labels
                .iter()
                .map(|(key, value)| (key.as_str().to_owned(), value.as_str().to_owned()))
                .collect(),
            base: HostPath::from(guest.base.as_path()),
            base_digest: guest.base_digest.clone(),
            blank: HostPath::from(guest.blank.as_path()),
            blank_recipe,
            seed: source.as_ref().map(|source| SeedSource {
                kind: source.kind().to_owned(),
                path: HostPath::from(source.path()),
            }),
        };
        let mut id = None;
        let start = |vm_id: &VmId| {
            let order = WorkspaceOrder::Create(order.clone());
            // Another one each time: what a try that failed has left goes by itself, and is in nobody's way.
            let id = id.insert(new_workspace_id()?);
            Ok(self.workspace_start(id, Some(request.ttl_seconds), (&guest, &guest.ready), vm_id, order))
        };
        let up = self.bring_up(&guest, &guest.ready, begun, start, &mut on_notice).await?;
        let mut supervisor = up.supervisor;
        if let Some(source) = source {
            on_notice(Notice::Seeding);
            // Until this is done the shim is held: dropped, it takes everything back.
            let stream = source.into_stream(progress);
            let seeded = supervisor.connection.send_tree(Transfer::Seed, stream).await;
            if let Err(failure) = seeded {
                supervisor.ended().await;
                return Err(failure);
            }
        }
        let record = self.find_workspace(id.as_ref().map(WorkspaceId::as_str).unwrap_or_default())?;
        Ok(Workspace::up(record, supervisor.detach(), &guest, &up.started, up.timings))
    }
}

/// A new workspace's id.
pub(super) fn new_workspace_id() -> Result<WorkspaceId, Failure> {
    WorkspaceId::random()
        .map_err(|error| Failure::new(Code::System, "no random numbers can be had").because(error))
}
