//! A tree of entries, removals and expectations put into the workspace: all of it or nothing.
//!
//! ```text
//!   stream ──staging──► stage/N/root ──planner──► plan ──► disk ──apply──► tree
//!                                                           │                │ any failure
//!                                       guest dies: undone at the next start └──undo──► as it was
//! ```
//!
//! A push is put in place by renames alone, and what it replaces is kept until the plan is gone from the disk.
//! The plan's removal is the one moment at which a push has happened.

mod apply;
mod plan;
mod planner;
mod staging;
#[cfg(test)]
pub(super) mod tests;
mod undo;

use std::os::fd::BorrowedFd;

use pyro_proto::agent::Tally;

use self::apply::Ground;
use self::plan::Plan;
use self::staging::Staged;
use super::disk::Disk;
use super::error::WorkspaceError;
use super::inlet::Inlet;
use super::remove::{clear, remove};
use crate::limits::PLAN_BYTES_MAX;

/// The two sides of a workspace that a push works on, in one mount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides<'a> {
    pub(crate) tree: BorrowedFd<'a>,
    pub(crate) stage: BorrowedFd<'a>,
}

/// How a push that did not happen ended.
#[derive(Debug)]
pub(crate) enum Unpushed {
    /// The tree is as it was.
    Undone(WorkspaceError),
    /// The tree could not be put back: that waits for the next start, and until then no push may begin.
    Stuck(WorkspaceError),
}

/// Takes a push from its stream to the disk. What is left at `number` of the stage is the caller's to
/// [`sweep`], unless the push is stuck.
pub(crate) fn push(
    disk: &Disk,
    sides: Sides<'_>,
    number: u64,
    directory: &[u8],
    inlet: &mut Inlet,
) -> Result<Tally, Unpushed> {
    let staged = Staged::receive(sides.stage, number, inlet).map_err(Unpushed::Undone)?;
    let tally = staged.tally;
    let plan = planner::plan(sides.tree, staged, directory).map_err(Unpushed::Undone)?;
    let mut ground = Ground::open(sides, &plan).map_err(Unpushed::Undone)?;
    inlet.go_on().map_err(Unpushed::Undone)?;
    // What is staged must not be younger on the disk than the plan that renames it.
    disk.sync().map_err(Unpushed::Undone)?;
    disk.keep_plan(&plan.encode().map_err(Unpushed::Undone)?).map_err(Unpushed::Undone)?;
    let done = ground.apply(&plan).and_then(|()| disk.drop_plan());
    let Err(error) = done else { return Ok(tally) };
    match ground.undo(&plan).and_then(|()| disk.drop_plan()) {
        Ok(()) => Err(Unpushed::Undone(error)),
        Err(_) => Err(Unpushed::Stuck(error)),
    }
}

/// Removes what a push has left on the stage.
pub(crate) fn sweep(stage: BorrowedFd<'_>, number: u64) -> rustix::io::Result<()> {
    remove(stage, number.to_string().as_bytes())
}

/// Undoes a push that a dying guest has left half done, and empties the stage.
pub(crate) fn recover(disk: &Disk, sides: Sides<'_>) -> Result<(), WorkspaceError> {
    if let Some(plan) = disk.plan(PLAN_BYTES_MAX)? {
        let plan = Plan::decode(&plan)?;
        Ground::open(sides, &plan)?.undo(&plan)?;
        disk.drop_plan()?;
    }
    // What stays there costs room, and nothing else.
    if let Err(errno) = clear(sides.stage) {
        crate::console::warn(format_args!(
            "the stage cannot be emptied: {}",
            crate::failure::errno_text(errno)
        ));
    }
    Ok(())
}
