//! From what is staged and what is there to the steps of a push. Changes nothing of the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;

use pyro_proto::tree::{Expect, TreePath};
use rustix::fs::{Mode, RenameFlags, Stat};
use rustix::io::Errno;

use super::super::directory::{
    Directories, is_directory, names, open_child, open_directory, stat_at, stat_below,
};
use super::super::error::{WorkspaceError, shown, step, unnameable, unreadable, unwritable};
use super::super::node::{MODE_BITS, mtime, version};
use super::super::resolve::{Last, Resolved, resolve};
use super::plan::{Plan, Step, Touched};
use super::staging::{ABOVE, ROOT, Staged};

/// Checks everything that a push asks for, and says how it is done.
pub(crate) fn plan(tree: BorrowedFd<'_>, staged: Staged, directory: &[u8]) -> Result<Plan, WorkspaceError> {
    let Resolved { existing, missing } = resolve(tree, directory, Last::Followed)?;
    let home = missing
        .iter()
        .try_fold(existing.clone(), |at, name| at.join(name).map_err(|error| unnameable(&at, name, error)))?;
    let mut planner = Planner {
        tree,
        home,
        taken: BTreeSet::new(),
        plan: Plan { number: staged.number, ..Plan::default() },
        touched: BTreeMap::new(),
        old: 0,
        places: Directories::below(tree.try_clone_to_owned().map_err(io_step)?),
    };
    planner.expect(&staged.expectations)?;
    planner.take(&staged.removals)?;
    match missing.first() {
        Some(first) => planner.put_home(&staged, &existing, first, &missing)?,
        None => planner.merge(&staged, &TreePath::root())?,
    }
    planner.plan.directories = planner.touched.into_values().collect();
    Ok(planner.plan)
}

struct Planner<'a> {
    tree: BorrowedFd<'a>,
    /// The push's directory in the tree.
    home: TreePath,
    /// Places that nothing will be at.
    taken: BTreeSet<TreePath>,
    plan: Plan,
    touched: BTreeMap<TreePath, Touched>,
    /// Things that were taken or replaced so far.
    old: u64,
    places: Directories,
}

impl Planner<'_> {
    fn expect(&mut self, expectations: &[Expect]) -> Result<(), WorkspaceError> {
        for expect in expectations {
            let place = self.place(&expect.path)?;
            let stat = stat_below(self.tree, &place).map_err(unreadable(&place))?;
            if stat.as_ref().map(version) != expect.version {
                return Err(WorkspaceError::Changed(shown(&expect.path)));
            }
        }
        Ok(())
    }

    fn take(&mut self, removals: &[TreePath]) -> Result<(), WorkspaceError> {
        for path in removals {
            let place = self.place(path)?;
            let is_there = stat_below(self.tree, &place).map_err(unreadable(&place))?.is_some();
            if !is_there || self.is_taken(&place) {
                continue;
            }
            self.touch_parent(&place)?;
            let old = self.next_old();
            self.plan.steps.push(Step::Take { place: place.clone(), old });
            self.taken.insert(place);
        }
        Ok(())
    }

    /// The push's directory is not there: it comes whole, with what is missing above it.
    fn put_home(
        &mut self,
        staged: &Staged,
        existing: &TreePath,
        first: &[u8],
        missing: &[Vec<u8>],
    ) -> Result<(), WorkspaceError> {
        let place = existing.join(first).map_err(|error| unnameable(existing, first, error))?;
        if stat_below(self.tree, &place).map_err(unreadable(&place))?.is_some() {
            return Err(WorkspaceError::Conflict(format!("{} is no directory", shown(&place))));
        }
        let wrap = || {
            let mut above = open_child(&staged.home, ABOVE.as_bytes())?;
            let (last, between) = missing.split_last().ok_or(Errno::INVAL)?;
            for name in between {
                rustix::fs::mkdirat(&above, name.as_slice(), Mode::from_raw_mode(0o755))?;
                above = open_child(&above, name)?;
            }
            rustix::fs::renameat_with(&staged.home, ROOT, &above, last.as_slice(), RenameFlags::NOREPLACE)
        };
        wrap().map_err(unwritable(&self.home))?;
        self.touch_parent(&place)?;
        let staged = TreePath::parse(ABOVE)
            .and_then(|above| above.join(first))
            .map_err(|error| unnameable(&place, first, error))?;
        self.plan.steps.push(Step::Put { staged, place });
        Ok(())
    }

    /// A directory of the stream meets one of the tree.
    fn merge(&mut self, staged: &Staged, path: &TreePath) -> Result<(), WorkspaceError> {
        let place = self.place(path)?;
        if let Some(node) = staged.named.get(path) {
            self.touch(&place)?.becomes = Some(*node);
        }
        let staged_path = staged_path(path)?;
        let directory = open_directory(&staged.home, &staged_path).map_err(unreadable(path))?;
        for name in names(&directory).map_err(unreadable(path))? {
            let name = name.map_err(unreadable(path))?;
            let path = path.join(&name).map_err(|error| unnameable(path, &name, error))?;
            let Some(stat) = stat_at(&directory, &name).map_err(unreadable(&path))? else { continue };
            self.meet(staged, &path, &stat)?;
        }
        Ok(())
    }

    fn meet(&mut self, staged: &Staged, path: &TreePath, new: &Stat) -> Result<(), WorkspaceError> {
        let place = self.place(path)?;
        let there = match self.is_taken(&place) {
            true => None,
            false => {
                let (parent, name) = self.places.parent_of(&place).map_err(unreadable(&place))?;
                stat_at(&parent, name).map_err(unreadable(&place))?
            }
        };
        match there {
            None => {
                self.touch_parent(&place)?;
                self.plan.steps.push(Step::Put { staged: staged_path(path)?, place });
            }
            Some(there) if is_directory(&there) && is_directory(new) => self.merge(staged, path)?,
            Some(there) if is_directory(&there) => {
                return Err(WorkspaceError::Conflict(format!("{} is a directory there", shown(path))));
            }
            Some(_) if is_directory(new) => {
                return Err(WorkspaceError::Conflict(format!("{} is no directory there", shown(path))));
            }
            Some(_) => {
                self.touch_parent(&place)?;
                let old = self.next_old();
                self.plan.steps.push(Step::Replace { staged: staged_path(path)?, place, old });
            }
        }
        Ok(())
    }

    /// Where a path of the stream is in the tree.
    fn place(&self, path: &TreePath) -> Result<TreePath, WorkspaceError> {
        prefixed(&self.home, path)
    }

    fn is_taken(&self, place: &TreePath) -> bool {
        let mut above = Some(place.clone());
        while let Some(path) = above {
            if self.taken.contains(&path) {
                return true;
            }
            above = path.split().map(|(parent, _)| parent);
        }
        false
    }

    fn touch_parent(&mut self, place: &TreePath) -> Result<(), WorkspaceError> {
        match place.split() {
            Some((parent, _)) => self.touch(&parent).map(drop),
            None => Ok(()),
        }
    }

    fn touch(&mut self, place: &TreePath) -> Result<&mut Touched, WorkspaceError> {
        match self.touched.entry(place.clone()) {
            std::collections::btree_map::Entry::Occupied(touched) => Ok(touched.into_mut()),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                let stat = open_directory(self.tree, place)
                    .and_then(rustix::fs::fstat)
                    .map_err(unreadable(place))?;
                let was = (stat.st_mode & MODE_BITS, mtime(&stat));
                Ok(vacant.insert(Touched { place: place.clone(), was, becomes: None }))
            }
        }
    }

    fn next_old(&mut self) -> u64 {
        self.old += 1;
        self.old
    }
}

/// Where a path of the stream is on the stage.
fn staged_path(path: &TreePath) -> Result<TreePath, WorkspaceError> {
    let root = TreePath::parse(ROOT).map_err(|error| WorkspaceError::Invalid(error.to_string()))?;
    prefixed(&root, path)
}

fn prefixed(above: &TreePath, path: &TreePath) -> Result<TreePath, WorkspaceError> {
    if above.is_root() || path.is_root() {
        return Ok(if path.is_root() { above.clone() } else { path.clone() });
    }
    TreePath::parse([above.as_bytes(), b"/", path.as_bytes()].concat())
        .map_err(|error| WorkspaceError::Invalid(format!("{} {error}", shown(path))))
}

fn io_step(error: std::io::Error) -> WorkspaceError {
    step("the tree cannot be opened")(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
