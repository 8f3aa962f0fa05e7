//! Between a disk and a workspace to work in.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use pyro_proto::agent::{Failure, Tally, WorkspaceDisk};

use super::attach::{self, SHOWN_AT};
use super::disk::Disk;
use super::error::{WorkspaceError, step};
use super::inlet::Inlet;
use super::record::Record;
use super::{Workspace, push, seed, transfer};
use crate::exec::CallIo;

/// A workspace that is not joined; commands are to come later.
#[derive(Debug)]
pub(crate) struct Unattached {
    pub(super) disk: Disk,
    /// A directory of the agent's own that holds [`super::JOINT`].
    pub(super) joints: OwnedFd,
}

/// What a root is given.
#[derive(Debug)]
pub(crate) enum Opened {
    /// One that waits for its baseline.
    Unseeded(Unattached),
    /// One to work in.
    Attached(Arc<Workspace>),
}

/// A workspace that was not taken apart.
#[derive(Debug)]
pub(crate) struct Undone {
    /// As it was; `None` when it is neither whole nor apart.
    pub(crate) workspace: Option<Arc<Workspace>>,
    /// Why.
    pub(crate) error: WorkspaceError,
}

/// Opens what `kind` announces.
pub(crate) fn open(unattached: Unattached, kind: WorkspaceDisk) -> Result<Opened, Failure> {
    let disk = &unattached.disk;
    match kind {
        WorkspaceDisk::Unseeded => return Ok(Opened::Unseeded(unattached)),
        WorkspaceDisk::Existing if !disk.is_sealed() => {
            return Err(WorkspaceError::Refused("the disk holds no workspace whose baseline is whole").into());
        }
        WorkspaceDisk::Existing => {}
        WorkspaceDisk::Empty => {
            disk.clear_baseline()?;
            disk.seal()?;
        }
        WorkspaceDisk::Plain => {
            disk.clear_baseline()?;
            disk.mark_sealed()?;
        }
    }
    Ok(Opened::Attached(Arc::new(unattached.attach(kind != WorkspaceDisk::Plain)?)))
}

impl Unattached {
    /// The workspace on the filesystem whose root is `scratch`, laid out as far as it is not.
    pub(crate) fn open(scratch: OwnedFd, joints: OwnedFd) -> Result<Unattached, Failure> {
        Ok(Unattached { disk: Disk::open(scratch)?, joints })
    }

    /// The record of whose disk it is.
    pub(crate) fn record(&self) -> Result<Record, Failure> {
        let home = rustix::io::fcntl_dupfd_cloexec(self.disk.home(), 0);
        Ok(Record::new(home.map_err(step("the workspace's disk cannot be opened"))?))
    }

    /// Fills the baseline and attaches the workspace. One that could not be filled can be seeded again.
    pub(crate) async fn seed(
        self,
        io: &CallIo,
    ) -> Result<(Arc<Workspace>, Tally), (Option<Unattached>, Failure)> {
        let seeded = transfer::receive(io, move |mut inlet: Inlet| {
            Ok(match seed::seed(&self.disk, &mut inlet) {
                Ok(tally) => {
                    self.attach(true).map(|workspace| (workspace, tally)).map_err(|error| (None, error))
                }
                Err(error) => Err((Some(self), error)),
            })
        });
        match seeded.await {
            Ok(Ok((workspace, tally))) => Ok((Arc::new(workspace), tally)),
            Ok(Err((unattached, error))) => Err((unattached, error.into())),
            Err(error) => Err((None, error.into())),
        }
    }

    /// Joins baseline and changes, undoes what a dying guest left half done, and shows the tree.
    fn attach(self, is_kept: bool) -> Result<Workspace, WorkspaceError> {
        self.attach_at(SHOWN_AT, is_kept)
    }

    pub(super) fn attach_at(self, target: &str, is_kept: bool) -> Result<Workspace, WorkspaceError> {
        let joint = attach::join(&self.disk, self.joints.as_fd())?;
        let workspace = Workspace::new(self.disk, joint, self.joints, is_kept);
        push::recover(&workspace.disk, workspace.sides())?;
        attach::show(&workspace.joint, target)?;
        Ok(workspace)
    }
}

impl Workspace {
    /// Takes a workspace apart that nothing was ever put into, so that it waits for a baseline again.
    pub(crate) fn undo(self: Arc<Self>) -> Result<Unattached, Undone> {
        self.undo_at(SHOWN_AT)
    }

    pub(super) fn undo_at(self: Arc<Self>, target: &str) -> Result<Unattached, Undone> {
        let whole = |workspace, error| Undone { workspace: Some(workspace), error };
        let workspace = Arc::try_unwrap(self)
            .map_err(|workspace| whole(workspace, WorkspaceError::Refused("the workspace is in use")))?;
        let hidden = match workspace.disk.is_empty() {
            Ok(true) => attach::hide(target),
            Ok(false) => Err(WorkspaceError::Refused("the workspace has its baseline already")),
            Err(error) => Err(error),
        };
        if let Err(error) = hidden {
            return Err(whole(Arc::new(workspace), error));
        }
        let Workspace { disk, joint, joints, .. } = workspace;
        match attach::part(joint, joints.as_fd()).and_then(|()| disk.unseal()) {
            Ok(()) => Ok(Unattached { disk, joints }),
            Err(error) => Err(Undone { workspace: None, error }),
        }
    }
}
