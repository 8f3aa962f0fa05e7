//! The one way from a path of a tree to a file on the host: below one directory, through no symbolic link,
//! whatever is planted or moved there meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pyro_proto::tree::TreePath;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::limits::OPEN_ATTEMPTS_MAX;

/// Opens what is at a path below `root`; the empty path is `root` itself.
pub(crate) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match rustix::fs::openat2(root, path, flags, mode, resolve) {
            // The kernel could not be sure because of a rename somewhere (openat2(2)).
            Err(Errno::AGAIN | Errno::INTR) if attempts < OPEN_ATTEMPTS_MAX => {}
            result => return result,
        }
    }
}

/// Opens a directory below `root`.
pub(crate) fn open_directory(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    open(root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Opens the directory that a path is in, and gives the path's last name. The root has none.
pub(crate) fn open_parent(root: impl AsFd, path: &TreePath) -> Result<(OwnedFd, &[u8]), Errno> {
    let (parent, name) = path.split().ok_or(Errno::INVAL)?;
    Ok((open_directory(root, parent.as_bytes())?, name))
}
