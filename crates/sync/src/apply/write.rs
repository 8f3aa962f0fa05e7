//! Writes a plan: prepares all, then moves all into place, and takes everything back when one thing fails.

use std::os::fd::{AsFd, AsRawFd};

use pyro_proto::tree::TreePath;
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::{ApplyError, failed};
use super::host::{Fingerprint, HostTree};
use super::plan::{Plan, Step, StepChange};
use super::staging::Staging;
use crate::landing::beneath;
use crate::landing::rename::rename_new;

/// How to take something back.
#[derive(Debug)]
enum Undo {
    /// What was put there goes.
    TakeAway { path: TreePath, slot: String },
    /// What was there comes back.
    PutBack { path: TreePath, slot: String },
    /// Both change places again.
    Exchange { path: TreePath, slot: String },
    /// The mode is as it was.
    Mode { path: TreePath, mode: u32 },
}

/// Everything that moves during one write.
struct Writer<'a> {
    tree: &'a HostTree,
    staging: &'a Staging,
    undo: Vec<Undo>,
}

impl Plan {
    /// Writes everything, or nothing: refused with conflicts, and where the host would run what is written
    /// unless that was allowed. Gives the number of paths changed.
    pub fn write(mut self, allow_executables: bool) -> Result<usize, ApplyError> {
        if let Some(first) = self.conflicts.first() {
            return Err(ApplyError::Conflicts { count: self.conflicts.len(), first: first.path.clone() });
        }
        if let (Some(first), false) = (self.executables.first(), allow_executables) {
            return Err(ApplyError::Executables { count: self.executables.len(), first: first.path.clone() });
        }
        if self.steps.is_empty() {
            return Ok(0);
        }
        order(&mut self.steps);
        let staging = Staging::new(&self.tree)?;
        for (index, step) in self.steps.iter().enumerate() {
            staging.prepare(&slot(index), step, &self.spool)?;
        }
        let sync = |tree: &HostTree| {
            rustix::fs::syncfs(&tree.root).map_err(|error| failed("sync", &TreePath::root(), error))
        };
        // Contents first: a name must not be on the disk before what it names.
        sync(&self.tree)?;
        let mut writer = Writer { tree: &self.tree, staging: &staging, undo: Vec::new() };
        let written =
            self.steps.iter().enumerate().try_for_each(|(index, step)| writer.apply(&slot(index), step));
        if let Err(error) = written.and_then(|()| sync(&self.tree)) {
            let failures = writer.take_back();
            if failures > 0 {
                let kept_in = staging.keep(&self.tree);
                return Err(ApplyError::NotTakenBack { failures, kept_in, source: Box::new(error) });
            }
            return Err(error);
        }
        Ok(self.actions.len())
    }
}

/// What goes, inner first, before what comes, outer first.
fn order(steps: &mut [Step]) {
    steps.sort_by(|one, other| {
        let rank = |step: &Step| match step.change {
            StepChange::Delete => 0,
            StepChange::DeleteDirectory => 1,
            _ => 2,
        };
        let by_path = if rank(one) == 1 { other.path.cmp(&one.path) } else { one.path.cmp(&other.path) };
        rank(one).cmp(&rank(other)).then(by_path)
    });
}

fn slot(index: usize) -> String {
    format!("{index}")
}

impl Writer<'_> {
    fn apply(&mut self, slot: &str, step: &Step) -> Result<(), ApplyError> {
        let path = &step.path;
        match (&step.change, step.expected) {
            (StepChange::Mode { mode }, Some(expected)) => self.set_mode(path, *mode, &expected),
            (StepChange::Delete, Some(expected)) => {
                self.move_out(path, slot)?;
                self.verify(path, slot, |found| *found == expected)
            }
            (StepChange::DeleteDirectory, Some(expected)) => {
                self.move_out(path, slot)?;
                self.verify(path, slot, |found| found.is_same_node(&expected))?;
                self.verify_empty(path, slot)
            }
            (StepChange::Mode { .. } | StepChange::Delete | StepChange::DeleteDirectory, None) => Ok(()),
            (_, None) => self.move_in(path, slot),
            (_, Some(expected)) => self.exchange(path, slot, &expected),
        }
    }

    fn set_mode(&mut self, path: &TreePath, mode: u32, expected: &Fingerprint) -> Result<(), ApplyError> {
        let node = beneath::open(self.tree.root.as_fd(), path.as_bytes(), OFlags::PATH, Mode::empty())
            .map_err(|error| moved_on(path, "open", error))?;
        let stat = rustix::fs::fstat(&node).map_err(|error| failed("look at", path, error))?;
        let found = Fingerprint::of(&stat);
        // Of a directory, the plan itself may have changed what is in it.
        let is_directory = expected.mode & 0o170_000 == 0o040_000;
        if found != *expected && !(is_directory && found.is_same_node(expected)) {
            return Err(ApplyError::HostChanged(path.clone()));
        }
        change_mode(&node, mode).map_err(|error| failed("set the mode of", path, error))?;
        self.undo.push(Undo::Mode { path: path.clone(), mode: expected.mode & 0o7777 });
        Ok(())
    }

    fn move_out(&mut self, path: &TreePath, slot: &str) -> Result<(), ApplyError> {
        let (parent, name) =
            beneath::open_parent(&self.tree.root, path).map_err(|error| moved_on(path, "open", error))?;
        rustix::fs::renameat(&parent, name, &self.staging.descriptor, slot)
            .map_err(|error| moved_on(path, "remove", error))?;
        self.undo.push(Undo::PutBack { path: path.clone(), slot: slot.to_owned() });
        Ok(())
    }

    fn move_in(&mut self, path: &TreePath, slot: &str) -> Result<(), ApplyError> {
        let (parent, name) =
            beneath::open_parent(&self.tree.root, path).map_err(|error| moved_on(path, "open", error))?;
        rename_new(&self.staging.descriptor, slot.as_bytes(), &parent, name)
            .map_err(|error| moved_on(path, "write", error))?;
        self.undo.push(Undo::TakeAway { path: path.clone(), slot: slot.to_owned() });
        Ok(())
    }

    /// Puts the new in the place of the old in one step; then looks whether the old was what the plan saw.
    fn exchange(&mut self, path: &TreePath, slot: &str, expected: &Fingerprint) -> Result<(), ApplyError> {
        let (parent, name) =
            beneath::open_parent(&self.tree.root, path).map_err(|error| moved_on(path, "open", error))?;
        let staging = &self.staging.descriptor;
        match rustix::fs::renameat_with(staging, slot, &parent, name, RenameFlags::EXCHANGE) {
            Ok(()) => {
                self.undo.push(Undo::Exchange { path: path.clone(), slot: slot.to_owned() });
                self.verify(path, slot, |found| found == expected)
            }
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS) => {
                let old = format!("{slot}-old");
                self.move_out(path, &old)?;
                self.verify(path, &old, |found| found == expected)?;
                self.move_in(path, slot)
            }
            Err(error) => Err(moved_on(path, "write", error)),
        }
    }

    fn verify(
        &self,
        path: &TreePath,
        slot: &str,
        fits: impl Fn(&Fingerprint) -> bool,
    ) -> Result<(), ApplyError> {
        let found = self.staging.fingerprint(slot).map_err(|error| failed("look at", path, error))?;
        if fits(&found) { Ok(()) } else { Err(ApplyError::HostChanged(path.clone())) }
    }

    fn verify_empty(&self, path: &TreePath, slot: &str) -> Result<(), ApplyError> {
        let directory = beneath::open_directory(&self.staging.descriptor, slot.as_bytes())
            .map_err(|error| failed("look at", path, error))?;
        let entries = rustix::fs::Dir::new(directory).map_err(|error| failed("list", path, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", path, error))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Err(ApplyError::HostChanged(path.clone()));
            }
        }
        Ok(())
    }

    /// Takes back all that was done, the last first; how much of it failed.
    fn take_back(&mut self) -> usize {
        let mut failures = 0;
        while let Some(undo) = self.undo.pop() {
            failures += usize::from(self.take_one_back(&undo).is_err());
        }
        failures
    }

    fn take_one_back(&self, undo: &Undo) -> Result<(), Errno> {
        let staging = &self.staging.descriptor;
        match undo {
            Undo::TakeAway { path, slot } => {
                let (parent, name) = beneath::open_parent(&self.tree.root, path)?;
                rustix::fs::renameat(&parent, name, staging, &slot[..])
            }
            Undo::PutBack { path, slot } => {
                let (parent, name) = beneath::open_parent(&self.tree.root, path)?;
                rename_new(staging, slot.as_bytes(), &parent, name)
            }
            Undo::Exchange { path, slot } => {
                let (parent, name) = beneath::open_parent(&self.tree.root, path)?;
                rustix::fs::renameat_with(staging, &slot[..], &parent, name, RenameFlags::EXCHANGE)
            }
            Undo::Mode { path, mode } => {
                let node =
                    beneath::open(self.tree.root.as_fd(), path.as_bytes(), OFlags::PATH, Mode::empty())?;
                change_mode(&node, *mode)
            }
        }
    }
}

/// By way of the descriptor's name, which works without permission to read the node.
fn change_mode(node: &impl AsRawFd, mode: u32) -> Result<(), Errno> {
    rustix::fs::chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), Mode::from_bits_truncate(mode))
}

/// What is not as the plan saw it has changed meanwhile; anything else is the file system's failure.
fn moved_on(path: &TreePath, what: &'static str, error: Errno) -> ApplyError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY => {
            ApplyError::HostChanged(path.clone())
        }
        error => failed(what, path, error),
    }
}
