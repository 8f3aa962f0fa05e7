//! The steps of a push, undone in reverse.
//!
//! Says of each step by itself whether it has happened, from what is on the stage: a guest may have died
//! between any two of them, and in the middle of undoing too.

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::super::directory::{stat_at, stat_below};
use super::super::error::{WorkspaceError, unwritable};
use super::apply::{Ground, old_name};
use super::plan::{Plan, Step, Touched};

impl Ground {
    /// Puts the tree back as it was before the plan's first step, however many have happened.
    pub(crate) fn undo(&mut self, plan: &Plan) -> Result<(), WorkspaceError> {
        self.tree.forget();
        self.staged.forget();
        // One step that cannot be undone must not keep the others from it.
        let mut first = None;
        for step in plan.steps.iter().rev() {
            if let Err(errno) = self.undo_step(step) {
                first.get_or_insert((step.place(), errno));
            }
        }
        for touched in &plan.directories {
            if let Err(errno) = self.restore(touched) {
                first.get_or_insert((&touched.place, errno));
            }
        }
        first.map_or(Ok(()), |(place, errno)| Err(unwritable(place)(errno)))
    }

    /// Undoes one step, if it has happened.
    pub(super) fn undo_step(&mut self, step: &Step) -> rustix::io::Result<()> {
        match step {
            Step::Put { staged, place } => {
                if stat_below(self.staged.root(), staged)?.is_some() {
                    return Ok(());
                }
                let (to, to_name) = self.staged.parent_of(staged)?;
                let Some((from, from_name)) = there(self.tree.parent_of(place))? else { return Ok(()) };
                let back = rustix::fs::renameat_with(from, from_name, to, to_name, RenameFlags::NOREPLACE);
                self.tree.forget();
                there(back).map(drop)
            }
            Step::Take { place, old } => self.put_back(place, *old, RenameFlags::NOREPLACE),
            // The name kept aside and the place may still be the same file: then nothing is renamed, and the
            // name goes with the stage.
            Step::Replace { place, old, .. } => self.put_back(place, *old, RenameFlags::empty()),
        }
    }

    fn put_back(
        &mut self,
        place: &pyro_proto::tree::TreePath,
        old: u64,
        flags: RenameFlags,
    ) -> rustix::io::Result<()> {
        let old = old_name(old);
        if stat_at(&self.old, &old)?.is_none() {
            return Ok(());
        }
        let (parent, name) = self.tree.parent_of(place)?;
        let back = rustix::fs::renameat_with(&self.old, &*old, parent, name, flags);
        self.tree.forget();
        back
    }

    fn restore(&mut self, touched: &Touched) -> rustix::io::Result<()> {
        let mode_now = match stat_below(self.tree.root(), &touched.place)? {
            Some(stat) => stat.st_mode & super::super::node::MODE_BITS,
            None => return Ok(()),
        };
        self.set_directory(&touched.place, touched.was, mode_now)
    }
}

/// What is not there any more is no failure of an undoing.
fn there<T>(result: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
