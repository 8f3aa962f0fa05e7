//! A directory whose entries are opened by path, and never one outside of it: the kernel refuses every
//! symlink and every way out, whatever is renamed meanwhile.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::limits::LOOKUPS_MAX;

/// The only way to anything inside a directory.
#[derive(Debug)]
pub(in crate::source) struct Confined(OwnedFd);

impl Confined {
    pub(in crate::source) fn new(directory: OwnedFd) -> Confined {
        Confined(directory)
    }

    /// Opens a path; the empty one is the directory itself. With `PATH` a symlink is opened itself.
    pub(in crate::source) fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let mut lookups = 0;
        loop {
            lookups += 1;
            match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve) {
                // Something was renamed while the kernel looked (openat2(2)).
                Err(Errno::AGAIN | Errno::INTR) if lookups < LOOKUPS_MAX => {}
                other => return other,
            }
        }
    }

    /// Opens a file to read; neither a fifo nor a terminal put in its place can hold this up.
    pub(in crate::source) fn open_file(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
    }
}
