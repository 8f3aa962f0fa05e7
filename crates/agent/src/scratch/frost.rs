//! The two requests by which the kernel freezes and thaws a filesystem.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// From `linux/fs.h`: `_IOWR('X', 119, int)` and `_IOWR('X', 120, int)`.
const FIFREEZE: libc::c_ulong = 0xC004_5877;
const FITHAW: libc::c_ulong = 0xC004_5878;

/// Writes everything out and lets nobody change the filesystem; waits for those who are at it.
pub(super) fn freeze(root: BorrowedFd<'_>) -> rustix::io::Result<()> {
    request(root, FIFREEZE)
}

/// Undoes [`freeze`].
pub(super) fn thaw(root: BorrowedFd<'_>) -> rustix::io::Result<()> {
    request(root, FITHAW)
}

fn request(root: BorrowedFd<'_>, request: libc::c_ulong) -> rustix::io::Result<()> {
    // SAFETY: both requests take an argument by their numbers alone; the kernel does not look at it
    // (`ioctl_fsfreeze` and `ioctl_fsthaw` in `fs/ioctl.c`).
    match unsafe { libc::ioctl(root.as_raw_fd(), request as _, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)),
    }
}
