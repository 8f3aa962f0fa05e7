//! `/workspace`: files that outlive their VM, with a baseline to compare them with.
//!
//! ```text
//!   Unattached ──seed (or an empty baseline)──► sealed ──attach──► Workspace ──► push, changes, export
//!        ▲                                                            │
//!        └─────────── undo, while both are empty ─────────────────────┘
//! ```
//!
//! Owns everything below `workspace/` on the scratch disk. Must never follow a symlink out of the tree, change
//! the baseline once it is sealed, or answer before what it did is on the disk.

mod attach;
mod changes;
mod contents;
mod directory;
mod disk;
mod error;
mod export;
mod inlet;
mod node;
mod opening;
mod order;
mod outlet;
mod push;
mod record;
mod remove;
mod resolve;
mod seed;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;
mod writer;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyro_proto::agent::{Changes, Export, Failure, Push, Reply, Tally};
use pyro_proto::{Channel, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use self::attach::JOINT;
use self::attach::Joint;
use self::changes::{Views, Wanted};
use self::disk::Disk;
use self::error::WorkspaceError;
use self::inlet::Inlet;
pub(crate) use self::opening::{Opened, Unattached, Undone, open};
use self::push::{Sides, Unpushed};
pub(crate) use self::record::Record;
use crate::console::warn;
use crate::exec::CallIo;
use crate::failure::errno_text;
use crate::limits::TRANSFERS_MAX;

/// A workspace that commands work in.
#[derive(Debug)]
pub(crate) struct Workspace {
    disk: Disk,
    joint: Joint,
    /// A directory of the agent's own that holds [`JOINT`].
    joints: OwnedFd,
    /// Whether it outlives its VM.
    is_kept: AtomicBool,
    /// Places of transfers that go on at once.
    transfers: Arc<Semaphore>,
    /// The place of the one push.
    pushes: Arc<Semaphore>,
    /// Number of the next push.
    number: AtomicU64,
    /// A push is neither whole nor undone.
    is_stuck: AtomicBool,
}

impl Workspace {
    fn new(disk: Disk, joint: Joint, joints: OwnedFd, is_kept: bool) -> Workspace {
        Workspace {
            disk,
            joint,
            joints,
            is_kept: AtomicBool::new(is_kept),
            transfers: Arc::new(Semaphore::new(TRANSFERS_MAX)),
            pushes: Arc::new(Semaphore::new(1)),
            number: AtomicU64::new(1),
            is_stuck: AtomicBool::new(false),
        }
    }

    /// Says whether it outlives its VM from now on.
    pub(crate) fn set_kept(&self, is_kept: bool) {
        self.is_kept.store(is_kept, Ordering::Relaxed);
    }

    /// Returns when everything that was written so far is on the disk; at once when that goes with the VM.
    pub(crate) async fn settle(self: &Arc<Self>) -> Result<(), Failure> {
        if !self.is_kept.load(Ordering::Relaxed) {
            return Ok(());
        }
        let workspace = Arc::clone(self);
        Ok(transfer::settle(move || workspace.disk.sync()).await?)
    }

    /// Takes a push to its reply. The stage is swept behind the reply, and before the next push.
    pub(crate) async fn push(self: &Arc<Self>, request: Push, io: &CallIo) -> Result<Reply, Failure> {
        let turn = transfer::place(io, &self.pushes).await?;
        let place = transfer::place(io, &self.transfers).await?;
        let workspace = Arc::clone(self);
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let pushed = transfer::receive(io, move |mut inlet: Inlet| {
            let pushed = workspace.take_push(number, &request.directory, &mut inlet);
            tokio::task::spawn_blocking(move || workspace.sweep(number, (turn, place)));
            pushed
        });
        Ok(Reply::Pushed(pushed.await?))
    }

    /// Sends what differs from the baseline.
    pub(crate) async fn changes(self: &Arc<Self>, request: Changes, io: &CallIo) -> Result<Reply, Failure> {
        let place = transfer::place(io, &self.transfers).await?;
        let wanted = Wanted::parse(request)?;
        let workspace = Arc::clone(self);
        let sent = transfer::send(io, move |outlet| {
            let _place = place;
            let views = Views {
                base: workspace.disk.baseline()?,
                merged: directory::open_directory(&workspace.joint.tree, &pyro_proto::tree::TreePath::root())
                    .map_err(error::step("the tree cannot be opened"))?,
                upper: workspace.disk.upper()?,
                has_aliases: workspace.disk.has_aliases()?,
            };
            changes::changes(views, &wanted, outlet)
        });
        let tally = sent.await?;
        end_outputs(io).await;
        Ok(Reply::Changed(tally))
    }

    /// Sends a file or directory.
    pub(crate) async fn export(self: &Arc<Self>, request: Export, io: &CallIo) -> Result<Reply, Failure> {
        let place = transfer::place(io, &self.transfers).await?;
        let workspace = Arc::clone(self);
        let sent = transfer::send(io, move |outlet| {
            let _place = place;
            export::export(workspace.joint.tree.as_fd(), &request, outlet)
        });
        let tally = sent.await?;
        end_outputs(io).await;
        Ok(Reply::Exported(tally))
    }

    fn sides(&self) -> Sides<'_> {
        Sides { tree: self.joint.tree.as_fd(), stage: self.joint.stage.as_fd() }
    }

    fn take_push(&self, number: u64, directory: &[u8], inlet: &mut Inlet) -> Result<Tally, WorkspaceError> {
        if self.is_stuck.load(Ordering::Relaxed) {
            return Err(WorkspaceError::Refused("an earlier push is undone at the next start"));
        }
        push::push(&self.disk, self.sides(), number, directory, inlet).map_err(|unpushed| match unpushed {
            Unpushed::Undone(error) => error,
            Unpushed::Stuck(error) => {
                self.is_stuck.store(true, Ordering::Relaxed);
                error
            }
        })
    }

    fn sweep(&self, number: u64, _turn: (OwnedSemaphorePermit, OwnedSemaphorePermit)) {
        // What is kept aside there is needed to undo it.
        if self.is_stuck.load(Ordering::Relaxed) {
            return;
        }
        if let Err(errno) = push::sweep(self.sides().stage, number) {
            warn(format_args!("the stage cannot be swept: {}", errno_text(errno)));
        }
    }
}

/// A reply comes behind the end of both outputs, as that of a command does.
async fn end_outputs(io: &CallIo) {
    io.bulk.send(Frame::eof(io.stream, Channel::Stdout)).await;
    io.bulk.send(Frame::eof(io.stream, Channel::Stderr)).await;
}
