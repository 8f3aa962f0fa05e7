//! The workspace that a VM is started for: made or claimed before there is a VM, and what is known of it
//! while there is one.

mod making;

use std::path::PathBuf;

use pyro_proto::agent::WorkspaceDisk;
use pyro_proto::shim::{self, Failure, FailureCode, Start, WorkspaceOrder};
use pyro_store::{
    ClaimError, Directories, FileLock, KeptImage, LayerId, NewWorkspace, SnapshotName, Store, WorkspaceClaim,
    WorkspaceId, WorkspaceRecord,
};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use crate::failure::{claim_failed, failure, system};
use crate::limits::{DYING_SECONDS_MAX, WORKSPACE_POLL, WORKSPACE_WAIT_SECONDS_MAX};

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
    /// The layers on it that are not written any more, lowest first.
    pub(crate) layers: Vec<PathBuf>,
    /// The layer that is written.
    pub(crate) head: PathBuf,
    /// Where its VM comes from.
    pub(crate) coming: Coming,
    /// Whether it exists for others; one that does not goes with this shim.
    pub(crate) is_ready: bool,
    /// Until the VM is up, keeps those away who merge layers, or remove some that no record knows.
    pub(crate) birth: Option<FileLock>,
}

/// Where the VM of a workspace comes from, and so what is to be recorded once it is there.
#[derive(Debug)]
pub(crate) enum Coming {
    /// The workspace is made, and its baseline is empty.
    Empty,
    /// It is made, and its baseline is still to come.
    Unseeded,
    /// It is made, as a copy of another one.
    Forked {
        /// Of a running one, with its memory.
        memory: bool,
    },
    /// It was stopped.
    Stopped,
    /// It was paused, and goes on.
    Paused,
    /// It is set back to a layer of its own past.
    Reset(Box<Reset>),
}

/// A workspace that is set back.
#[derive(Debug)]
pub(crate) struct Reset {
    /// The layer that is written from now on, which has no record yet,
    pub(crate) head: LayerId,
    /// and the one below, which is the snapshot.
    pub(crate) parent: LayerId,
    memory: bool,
}

impl Coming {
    /// What the agent has to do with the disk.
    pub(crate) fn disk(&self) -> WorkspaceDisk {
        match self {
            Coming::Empty => WorkspaceDisk::Empty,
            Coming::Unseeded => WorkspaceDisk::Unseeded,
            _ => WorkspaceDisk::Existing,
        }
    }

    /// Whether the guest's memory comes from an image of its own.
    pub(crate) fn has_memory(&self) -> bool {
        match self {
            Coming::Forked { memory } => *memory,
            Coming::Reset(reset) => reset.memory,
            Coming::Paused => true,
            Coming::Empty | Coming::Unseeded | Coming::Stopped => false,
        }
    }

    /// Whether there may be two of this memory, one of which goes on elsewhere, or went on before.
    pub(crate) fn is_copy(&self) -> bool {
        self.has_memory() && !matches!(self, Coming::Paused)
    }

    /// Whether the layer that is written is a new one. A paused workspace has one that nobody has written to
    /// for good.
    pub(crate) fn makes_head(&self) -> bool {
        !matches!(self, Coming::Stopped)
    }
}

impl Opened {
    /// Makes or claims what `start` asks for.
    pub(crate) async fn from_order(
        store: &Store,
        directories: &Directories,
        start: &Start,
        order: &shim::Workspace,
    ) -> Result<Opened, Failure> {
        let id = WorkspaceId::parse(&order.id).map_err(|error| nonsense(&error))?;
        match &order.order {
            WorkspaceOrder::Create(new) => making::create(store, directories, start, order, (id, new)),
            WorkspaceOrder::Fork(fork) => making::fork(store, directories, start, order, (id, fork)),
            WorkspaceOrder::Open => open(store, directories, &id, order.memory).await,
            WorkspaceOrder::Reset { snapshot } => {
                reset(store, directories, &id, snapshot, order.memory).await
            }
        }
    }

    /// 32 hexadecimal digits for `/etc/machine-id`, the same at every start.
    pub(crate) fn machine_id(&self) -> String {
        let digest = Sha256::digest(format!("pyro machine-id {}", self.claim.id));
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

async fn open(
    store: &Store,
    directories: &Directories,
    id: &WorkspaceId,
    memory: bool,
) -> Result<Opened, Failure> {
    let claim = claim(store, directories, id).await?;
    let birth = birth_lock(directories)?;
    let record = record(store, id)?;
    // Whoever asks has looked before; between two who ask at once, the lock on starting decides.
    let coming = match (memory, &record.paused) {
        (false, None) => Coming::Stopped,
        (true, Some(_)) => Coming::Paused,
        (false, Some(_)) => return Err(failure(FailureCode::Refused, "the workspace is paused")),
        (true, None) => return Err(failure(FailureCode::Refused, "the workspace is not paused")),
    };
    let mut chain = chain(store, &record.head)?;
    let head = chain.pop().unwrap_or_else(|| record.head.clone());
    Ok(opened(directories, (claim, birth), &record.workspace, (chain, &head), coming))
}

async fn reset(
    store: &Store,
    directories: &Directories,
    id: &WorkspaceId,
    snapshot: &str,
    memory: bool,
) -> Result<Opened, Failure> {
    let name = SnapshotName::parse(snapshot).map_err(|error| nonsense(&error))?;
    let claim = claim(store, directories, id).await?;
    let birth = birth_lock(directories)?;
    let record = record(store, id)?;
    let found = store.snapshot(id, &name).map_err(|error| system("the state cannot be used", &error))?;
    let unknown = || failure(FailureCode::SnapshotUnknown, format!("there is no snapshot `{snapshot}`"));
    let found = found.ok_or_else(unknown)?;
    if memory && !found.has_memory {
        return Err(failure(FailureCode::Refused, format!("the snapshot `{snapshot}` has no memory")));
    }
    let head = new_layer_id()?;
    let chain = chain(store, &found.layer)?;
    let coming = Coming::Reset(Box::new(Reset { head: head.clone(), parent: found.layer, memory }));
    Ok(opened(directories, (claim, birth), &record.workspace, (chain, &head), coming))
}

/// To be held from the moment at which layers are looked up until all of them are open.
fn birth_lock(directories: &Directories) -> Result<FileLock, Failure> {
    pyro_store::birth_lock(directories).map_err(|error| system("the state cannot be used", &error))
}

/// Claims a workspace that is there. A shim that is ending writes the guest's disk out and then lets go. One that has come
/// up behind a client that was killed does not: whoever asked goes there.
async fn claim(
    store: &Store,
    directories: &Directories,
    id: &WorkspaceId,
) -> Result<WorkspaceClaim, Failure> {
    let begun = Instant::now();
    loop {
        match store.claim_workspace(directories, id) {
            Err(ClaimError::Held(_))
                if begun.elapsed() > DYING_SECONDS_MAX && is_up(store, directories, id) =>
            {
                return Err(failure(FailureCode::WorkspaceHeld, "the workspace has come up meanwhile"));
            }
            Err(ClaimError::Held(_)) if begun.elapsed() < WORKSPACE_WAIT_SECONDS_MAX => {
                sleep(WORKSPACE_POLL).await;
            }
            result => return result.map_err(|error| claim_failed(&error)),
        }
    }
}

/// Whether its VM takes clients: one that ends has no socket any more.
fn is_up(store: &Store, directories: &Directories, id: &WorkspaceId) -> bool {
    let vm = store.workspace(id).ok().flatten().and_then(|record| record.vm_id);
    vm.is_some_and(|vm| directories.vm(&vm).socket().exists())
}

fn record(store: &Store, id: &WorkspaceId) -> Result<WorkspaceRecord, Failure> {
    let record = store.workspace(id).map_err(|error| system("the state cannot be used", &error))?;
    record.ok_or_else(|| failure(FailureCode::WorkspaceGone, format!("there is no workspace {id}")))
}

fn chain(store: &Store, top: &LayerId) -> Result<Vec<LayerId>, Failure> {
    store.chain(top).map_err(|error| {
        let told = system("the layers of the workspace's disk are not known", &error);
        failure(FailureCode::LayerDamaged, told.message)
    })
}

/// A name for a layer to be.
pub(crate) fn new_layer_id() -> Result<LayerId, Failure> {
    LayerId::random().map_err(|error| system("no random numbers can be had", &error))
}

fn nonsense(error: &(dyn std::error::Error + 'static)) -> Failure {
    system("the order makes no sense", error)
}

fn opened(
    directories: &Directories,
    (claim, birth): (WorkspaceClaim, FileLock),
    workspace: &NewWorkspace,
    (layers, head): (Vec<LayerId>, &LayerId),
    coming: Coming,
) -> Opened {
    let name = workspace.name.as_ref().map(|name| name.as_str().to_owned());
    Opened {
        hostname: name.unwrap_or_else(|| workspace.id.to_string()),
        base: directories.kept_image(KeptImage::Base(&workspace.base_digest)),
        blank: directories.kept_image(KeptImage::Blank(&workspace.blank_recipe)),
        layers: layers.iter().map(|layer| directories.layer(layer)).collect(),
        head: directories.layer(head),
        is_ready: matches!(coming, Coming::Stopped | Coming::Paused | Coming::Reset(_)),
        coming,
        claim,
        birth: Some(birth),
    }
}
