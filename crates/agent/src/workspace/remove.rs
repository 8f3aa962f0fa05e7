//! Removing what is no longer wanted, however deep it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, renameat};
use rustix::io::Errno;

use super::directory::{names, open_child};
use crate::limits::REMOVE_DEPTH_MAX;

/// Removes everything in a directory.
pub(crate) fn clear(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    for name in names(directory)? {
        remove(directory, &name?)?;
    }
    Ok(())
}

/// Removes `name` in `parent`, a directory with all that is in it. Nothing there is fine.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let mut removal = Removal { top: parent, deep: Vec::new(), count: 0 };
    removal.remove(parent, name, 0)?;
    while let Some(name) = removal.deep.pop() {
        removal.remove(parent, &name, 0)?;
    }
    Ok(())
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    /// Directories that were too deep, moved to the top.
    deep: Vec<Vec<u8>>,
    count: u64,
}

impl Removal<'_> {
    fn remove(&mut self, parent: BorrowedFd<'_>, name: &[u8], depth: usize) -> rustix::io::Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Both are said of directories, by different filesystems.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        if depth == REMOVE_DEPTH_MAX {
            return self.lift(parent, name);
        }
        let directory: OwnedFd = open_child(parent, name)?;
        for name in names(&directory)? {
            self.remove(directory.as_fd(), &name?, depth + 1)?;
        }
        rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
    }

    /// A guest can nest directories deeper than any stack: what is too deep is removed from the top.
    fn lift(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
        let lifted = format!(".pyro-removed-{}-{}", std::process::id(), self.count).into_bytes();
        self.count += 1;
        renameat(parent, name, self.top, &*lifted)?;
        self.deep.push(lifted);
        Ok(())
    }
}
