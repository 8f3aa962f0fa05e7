//! The workspace that a VM is started for: made or claimed before there is a VM, and what is known of it
//! while there is one.

use std::path::PathBuf;

use pyro_proto::agent::WorkspaceDisk;
use pyro_proto::shim::{self, Failure, FailureCode, Start, WorkspaceOrder};
use pyro_store::{
    ClaimError, Directories, ImageKey, KeptImage, Labels, NewWorkspace, Seed, SeedKind, Store,
    WorkspaceClaim, WorkspaceId, WorkspaceName,
};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use crate::failure::{claim_failed, failure, system};
use crate::limits::{WORKSPACE_POLL, WORKSPACE_WAIT_SECONDS_MAX};

/// A workspace that this shim holds.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) claim: WorkspaceClaim,
    /// The guest's name.
    pub(crate) hostname: String,
    /// The kept root image.
    pub(crate) base: PathBuf,
    /// The kept blank disk.
    pub(crate) blank: PathBuf,
    /// What the agent has to do with the disk.
    pub(crate) disk: WorkspaceDisk,
    /// Whether it exists for others; one that does not goes with this shim.
    pub(crate) is_ready: bool,
}

impl Opened {
    /// Makes or claims what `start` asks for.
    pub(crate) async fn from_order(
        store: &Store,
        directories: &Directories,
        start: &Start,
        order: &shim::Workspace,
    ) -> Result<Opened, Failure> {
        let id = WorkspaceId::parse(&order.id).map_err(|error| system("the order makes no sense", &error))?;
        match &order.order {
            WorkspaceOrder::Create(new) => create(store, directories, start, id, new),
            WorkspaceOrder::Open => open(store, directories, &id).await,
        }
    }

    /// 32 hexadecimal digits for `/etc/machine-id`, the same at every start.
    pub(crate) fn machine_id(&self) -> String {
        let digest = Sha256::digest(format!("pyro machine-id {}", self.claim.id));
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn create(
    store: &Store,
    directories: &Directories,
    start: &Start,
    id: WorkspaceId,
    new: &shim::NewWorkspace,
) -> Result<Opened, Failure> {
    let nonsense = |error: &(dyn std::error::Error + 'static)| system("the order makes no sense", error);
    let key = |text: &str| ImageKey::parse(text).map_err(|error| nonsense(&error));
    let name = new.name.as_deref().map(WorkspaceName::parse).transpose().map_err(|error| nonsense(&error))?;
    let labels = new.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let seed = new.seed.as_ref().map(|seed| {
        let kind = SeedKind::parse(&seed.kind)
            .ok_or_else(|| failure(FailureCode::System, "the order names no kind of seed"))?;
        Ok::<_, Failure>(Seed { kind, path: seed.path.to_path() })
    });
    let workspace = NewWorkspace {
        id,
        name,
        labels: Labels::parse(labels).map_err(|error| nonsense(&error))?,
        environment: start.environment.clone(),
        base_digest: key(&new.base_digest)?,
        blank_recipe: key(&new.blank_recipe)?,
        accelerator: start.machine.accelerator.as_str().to_owned(),
        vcpu_count: start.machine.vcpu_count,
        memory_mib: start.machine.memory_mib,
        ttl_seconds: start.ttl_seconds,
        seed: seed.transpose()?,
    };
    let claim = store
        .create_workspace(directories, &workspace, &new.base.to_path(), &new.blank.to_path())
        .map_err(|error| claim_failed(&error))?;
    let disk = if workspace.seed.is_some() { WorkspaceDisk::Unseeded } else { WorkspaceDisk::Empty };
    Ok(opened(directories, claim, &workspace, disk))
}

async fn open(store: &Store, directories: &Directories, id: &WorkspaceId) -> Result<Opened, Failure> {
    // A shim that is ending writes the guest's disk out and then lets go.
    let deadline = Instant::now() + WORKSPACE_WAIT_SECONDS_MAX;
    let claim = loop {
        match store.claim_workspace(directories, id) {
            Err(ClaimError::Held(_)) if Instant::now() < deadline => sleep(WORKSPACE_POLL).await,
            result => break result.map_err(|error| claim_failed(&error))?,
        }
    };
    let record = store.workspace(id).map_err(|error| system("the state cannot be used", &error))?;
    let record =
        record.ok_or_else(|| failure(FailureCode::WorkspaceGone, format!("there is no workspace {id}")))?;
    Ok(opened(directories, claim, &record.workspace, WorkspaceDisk::Existing))
}

fn opened(
    directories: &Directories,
    claim: WorkspaceClaim,
    workspace: &NewWorkspace,
    disk: WorkspaceDisk,
) -> Opened {
    Opened {
        hostname: workspace
            .name
            .as_ref()
            .map_or_else(|| workspace.id.to_string(), |name| name.as_str().to_owned()),
        base: directories.kept_image(KeptImage::Base(&workspace.base_digest)),
        blank: directories.kept_image(KeptImage::Blank(&workspace.blank_recipe)),
        is_ready: disk == WorkspaceDisk::Existing,
        disk,
        claim,
    }
}
