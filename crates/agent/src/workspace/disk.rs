//! A workspace's place on the scratch disk, and what makes it durable.
//!
//! ```text
//!   workspace/base/tree/    the baseline
//!   workspace/base/stage/   empty; the lower side of what pushes are staged in
//!   workspace/sealed        there once the baseline is whole
//!   workspace/upper, work   the overlay's
//!   workspace/plan          a push that is being put in place
//!   workspace/identity      whose identity the root on this disk bears
//! ```
//!
//! Never writes to `upper` and `work`, which are the kernel's alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::directory::{names, open_child};
use super::error::{WorkspaceError, step};
use super::remove::{clear, remove};
use crate::small_file::{create_at, read_at, write_all};

const HOME: &[u8] = b"workspace";
const SEALED: &[u8] = b"sealed";
const PLAN: &[u8] = b"plan";
const PLAN_DRAFT: &[u8] = b"plan.draft";
const WORK: &[u8] = b"work";
const UPPER: &[u8] = b"upper";

/// Directories of a workspace, with their parents first.
const DIRECTORIES: [&str; 5] = ["base", "base/tree", "base/stage", "upper", "work"];

/// The disk of one workspace.
#[derive(Debug)]
pub(crate) struct Disk {
    scratch: OwnedFd,
    home: OwnedFd,
}

impl Disk {
    /// Lays out what is missing on a scratch filesystem whose root is `scratch`.
    pub(crate) fn open(scratch: OwnedFd) -> Result<Disk, WorkspaceError> {
        let open = || {
            make_directory(&scratch, HOME)?;
            let home = open_child(&scratch, HOME)?;
            DIRECTORIES.into_iter().try_for_each(|name| make_directory(&home, name.as_bytes()))?;
            Ok(home)
        };
        let home = open().map_err(step("the workspace cannot be laid out"))?;
        Ok(Disk { scratch, home })
    }

    /// The directory that holds all of it.
    pub(crate) fn home(&self) -> BorrowedFd<'_> {
        self.home.as_fd()
    }

    /// The baseline.
    pub(crate) fn baseline(&self) -> Result<OwnedFd, WorkspaceError> {
        self.directory("base/tree").map_err(step("the baseline cannot be opened"))
    }

    /// What the overlay holds of the tree; `None` while nothing was ever changed.
    pub(crate) fn upper(&self) -> Result<Option<OwnedFd>, WorkspaceError> {
        match self.directory("upper/tree") {
            Ok(upper) => Ok(Some(upper)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(step("the changed files cannot be opened")(errno)),
        }
    }

    /// Whether the overlay has copied up files of the baseline with several names: it lists them in its index.
    pub(crate) fn has_aliases(&self) -> Result<bool, WorkspaceError> {
        let is_empty = |index: OwnedFd| Ok(names(index)?.next().is_none());
        match self.directory("work/index").and_then(is_empty) {
            Ok(is_empty) => Ok(!is_empty),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(step("the changed files cannot be opened")(errno)),
        }
    }

    /// Whether the baseline is whole.
    pub(crate) fn is_sealed(&self) -> bool {
        rustix::fs::statat(&self.home, SEALED, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Says for good that the baseline is whole.
    pub(crate) fn seal(&self) -> Result<(), WorkspaceError> {
        self.sync()?;
        self.write_file(SEALED, b"").map_err(step("the baseline cannot be sealed"))?;
        self.sync()
    }

    /// The same without waiting for the disk: for a workspace that goes with its VM, or is written out by whoever
    /// keeps it.
    pub(crate) fn mark_sealed(&self) -> Result<(), WorkspaceError> {
        create_at(&self.home, "sealed", b"", Mode::RUSR | Mode::WUSR)
            .map_err(step("the baseline cannot be sealed"))
    }

    /// Whether baseline and changes are both empty.
    pub(crate) fn is_empty(&self) -> Result<bool, WorkspaceError> {
        let is_empty = names(self.baseline()?)
            .map(|mut names| names.next().is_none())
            .map_err(step("the baseline cannot be read"))?;
        Ok(is_empty && self.upper()?.is_none())
    }

    /// Makes of a disk that [`Self::is_empty`], and whose layers are not joined, one that waits for its baseline.
    pub(crate) fn unseal(&self) -> Result<(), WorkspaceError> {
        let unseal = || {
            rustix::fs::unlinkat(&self.home, SEALED, AtFlags::empty())?;
            // The kernel has noted there what the lower layer was.
            [WORK, UPPER].into_iter().try_for_each(|name| {
                remove(self.home.as_fd(), name)?;
                make_directory(&self.home, name)
            })
        };
        unseal().map_err(step("the baseline cannot be unsealed"))
    }

    /// Removes what a seed has left that did not come to its end.
    pub(crate) fn clear_baseline(&self) -> Result<(), WorkspaceError> {
        if self.is_sealed() {
            return Err(WorkspaceError::Refused("the workspace has its baseline already"));
        }
        let baseline = self.baseline()?;
        let clear = || {
            if names(&baseline)?.next().is_some() {
                clear(baseline.as_fd())?;
            }
            rustix::fs::fchmod(&baseline, Mode::from_raw_mode(0o755))
        };
        clear().map_err(step("the baseline cannot be emptied"))
    }

    /// Returns when everything that was written is on the disk.
    pub(crate) fn sync(&self) -> Result<(), WorkspaceError> {
        rustix::fs::syncfs(&self.scratch).map_err(step("the disk cannot be written to"))
    }

    /// Keeps a plan: it is there whole, and for good, when this returns.
    pub(crate) fn keep_plan(&self, plan: &[u8]) -> Result<(), WorkspaceError> {
        let keep = || {
            self.write_file(PLAN_DRAFT, plan)?;
            rustix::fs::renameat_with(&self.home, PLAN_DRAFT, &self.home, PLAN, RenameFlags::NOREPLACE)?;
            rustix::fs::fsync(&self.home)
        };
        let kept = keep();
        if kept.is_err() {
            let _ = rustix::fs::unlinkat(&self.home, PLAN_DRAFT, AtFlags::empty());
        }
        kept.map_err(step("the plan of the push cannot be written"))
    }

    /// The plan that is kept, of at most `bytes_max` bytes.
    pub(crate) fn plan(&self, bytes_max: usize) -> Result<Option<Vec<u8>>, WorkspaceError> {
        match read_at(&self.home, PLAN, bytes_max) {
            Ok(plan) => Ok(Some(plan)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(step("the plan of a push cannot be read")(errno)),
        }
    }

    /// Removes the plan for good, after all that came before.
    pub(crate) fn drop_plan(&self) -> Result<(), WorkspaceError> {
        self.sync()?;
        rustix::fs::unlinkat(&self.home, PLAN, AtFlags::empty())
            .and_then(|()| rustix::fs::fsync(&self.home))
            .map_err(step("the plan of the push cannot be removed"))
    }

    fn directory(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.home, path, flags, Mode::empty())
    }

    fn write_file(&self, name: &[u8], contents: &[u8]) -> rustix::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.home, name, flags, Mode::RUSR | Mode::WUSR)?;
        write_all(&file, contents, 0)?;
        rustix::fs::fsync(&file)
    }
}

fn make_directory(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}
