//! What the overlay's upper layer tells of a directory, read as it lies on the disk.
//!
//! `Documentation/filesystems/overlayfs.rst` of Linux: an opaque directory hides what is below it, a redirected
//! one shows another directory's; of any other, only the names that it holds can differ from the lower layer.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::super::directory::{names, open_child};

/// Attributes of a directory that shows more or less than what is below it at its own path.
const MARKS: [&std::ffi::CStr; 2] = [c"trusted.overlay.opaque", c"trusted.overlay.redirect"];

/// What of a directory can differ from the baseline.
#[derive(Debug)]
pub(crate) enum Hint<U> {
    /// The names that this directory of the upper layer holds.
    Names(U),
    /// No name: the upper layer has nothing of it.
    Nothing,
    /// Everything.
    All,
}

/// A directory of the upper layer that merges with the one at its own path below.
pub(crate) trait UpperDirectory: Sized {
    /// The names that it holds: all that can differ from the baseline.
    fn names(&self) -> rustix::io::Result<Vec<Vec<u8>>>;

    /// What it tells of the directory `name`, which both sides have.
    fn child(&self, name: &[u8]) -> rustix::io::Result<Hint<Self>>;
}

/// A directory of the overlay's own.
#[derive(Debug)]
pub(crate) struct RawUpper(OwnedFd);

impl RawUpper {
    /// The upper side of the tree's root, which no guest can move or replace.
    pub(crate) fn new(root: OwnedFd) -> RawUpper {
        RawUpper(root)
    }
}

impl UpperDirectory for RawUpper {
    fn names(&self) -> rustix::io::Result<Vec<Vec<u8>>> {
        names(&self.0)?.collect()
    }

    fn child(&self, name: &[u8]) -> rustix::io::Result<Hint<RawUpper>> {
        let child = match open_child(&self.0, name) {
            Err(Errno::NOENT) => return Ok(Hint::Nothing),
            // Changed since both sides were looked at.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Hint::All),
            result => result?,
        };
        for mark in MARKS {
            match rustix::fs::fgetxattr_query(&child, mark) {
                Ok(_) => return Ok(Hint::All),
                Err(Errno::NODATA) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Hint::Names(RawUpper(child)))
    }
}
