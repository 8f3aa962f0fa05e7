//! The steps of a push, done one after the other by renames.

use std::os::fd::OwnedFd;

use pyro_proto::tree::TreePath;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::super::directory::{Directories, open_child, open_directory};
use super::super::error::{WorkspaceError, shown, step, unwritable};
use super::super::node::{mode, timestamps};
use super::Sides;
use super::plan::{Plan, Step};
use super::staging::OLD;

/// Where a plan's paths lead.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(super) tree: Directories,
    pub(super) staged: Directories,
    pub(super) old: OwnedFd,
}

impl Ground {
    /// The ground of one plan.
    pub(crate) fn open(sides: Sides<'_>, plan: &Plan) -> Result<Ground, WorkspaceError> {
        let open = || {
            let home = open_child(sides.stage, plan.number.to_string().as_bytes())?;
            let old = open_child(&home, OLD.as_bytes())?;
            let tree = open_directory(sides.tree, &TreePath::root())?;
            Ok(Ground { tree: Directories::below(tree), staged: Directories::below(home), old })
        };
        open().map_err(step("the push cannot be found on the stage"))
    }

    /// Does everything, in order, up to the first failure.
    pub(crate) fn apply(&mut self, plan: &Plan) -> Result<(), WorkspaceError> {
        for step in &plan.steps {
            self.step(step).map_err(|errno| at_place(step.place(), errno))?;
        }
        for touched in &plan.directories {
            if let Some((bits, mtime)) = touched.becomes {
                self.set_directory(&touched.place, (bits, mtime), touched.was.0)
                    .map_err(unwritable(&touched.place))?;
            }
        }
        Ok(())
    }

    /// Does one step.
    pub(crate) fn step(&mut self, step: &Step) -> rustix::io::Result<()> {
        match step {
            Step::Take { place, old } => {
                let (parent, name) = self.tree.parent_of(place)?;
                let old = old_name(*old);
                let taken = rustix::fs::renameat_with(parent, name, &self.old, &*old, RenameFlags::NOREPLACE);
                self.tree.forget();
                taken
            }
            Step::Replace { staged, place, old } => {
                self.keep(place, *old)?;
                let (from, from_name) = self.staged.parent_of(staged)?;
                let (to, to_name) = self.tree.parent_of(place)?;
                rustix::fs::renameat(from, from_name, to, to_name)
            }
            Step::Put { staged, place } => {
                let (from, from_name) = self.staged.parent_of(staged)?;
                let (to, to_name) = self.tree.parent_of(place)?;
                rustix::fs::renameat_with(from, from_name, to, to_name, RenameFlags::NOREPLACE)
            }
        }
    }

    /// Keeps what is at a place under a second name, so that the place is never empty.
    pub(super) fn keep(&mut self, place: &TreePath, old: u64) -> rustix::io::Result<()> {
        let (parent, name) = self.tree.parent_of(place)?;
        rustix::fs::linkat(parent, name, &self.old, &*old_name(old), AtFlags::empty())
    }

    /// Gives a directory of the tree a mode, where it has another, and a time.
    pub(super) fn set_directory(
        &mut self,
        place: &TreePath,
        (bits, mtime): (u32, pyro_proto::tree::Mtime),
        known: u32,
    ) -> rustix::io::Result<()> {
        let directory = open_directory(self.tree.root(), place)?;
        if bits != known {
            rustix::fs::fchmod(&directory, mode(bits))?;
        }
        rustix::fs::futimens(&directory, &timestamps(mtime))
    }
}

impl Step {
    /// The place in the tree.
    pub(super) fn place(&self) -> &TreePath {
        match self {
            Step::Take { place, .. } | Step::Replace { place, .. } | Step::Put { place, .. } => place,
        }
    }
}

/// Name of what was taken or replaced.
pub(super) fn old_name(old: u64) -> Vec<u8> {
    old.to_string().into_bytes()
}

/// A command in the guest has changed what was looked at a moment ago, or the system failed.
fn at_place(place: &TreePath, errno: Errno) -> WorkspaceError {
    match errno {
        Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP => {
            WorkspaceError::Changed(shown(place))
        }
        errno => unwritable(place)(errno),
    }
}
