//! The host's side of a path, as it is now. Looks only below one directory and through no symbolic link.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use pyro_proto::tree::TreePath;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::{ApplyError, failed};
use super::limits::PART_BYTES;
use crate::landing::beneath;

/// A directory on the host that changes are applied to.
#[derive(Debug)]
pub struct HostTree {
    pub(super) root: OwnedFd,
    pub(super) path: std::path::PathBuf,
}

/// What is at a path on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostNode {
    /// Nothing, in a directory that is there.
    Absent,
    /// Nothing, for its directory is not there either.
    Orphaned,
    /// A symbolic link, or another disk, is in the way.
    Blocked,
    /// Nothing can be there: a file is where a directory above it would be.
    Covered,
    /// A directory.
    Directory(Fingerprint),
    /// A regular file.
    File(Fingerprint),
    /// A symbolic link.
    Symlink(Fingerprint, Vec<u8>),
    /// A device, pipe or socket.
    Special,
}

/// What tells that a node is still the one that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    device: u64,
    inode: u64,
    /// Kind and permissions.
    pub(super) mode: u32,
    pub(super) size: u64,
    modified: (i64, u64),
}

impl Fingerprint {
    pub(super) fn of(stat: &Stat) -> Fingerprint {
        Fingerprint {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
        }
    }

    /// Whether this is the same directory: what is in it may have changed.
    pub(super) fn is_same_node(&self, other: &Fingerprint) -> bool {
        (self.device, self.inode, self.mode) == (other.device, other.inode, other.mode)
    }
}

impl HostTree {
    /// Opens the directory that changes are to be applied to.
    pub fn open(path: &Path) -> Result<HostTree, ApplyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| ApplyError::Directory { path: path.into(), source: error.into() })?;
        Ok(HostTree { root, path: path.into() })
    }

    /// Whether one of the directories above a path is a regular file.
    fn is_below_file(&self, path: &TreePath) -> Result<bool, ApplyError> {
        let above = |path: &TreePath| path.split().map(|(parent, _)| parent).filter(|path| !path.is_root());
        for parent in std::iter::successors(above(path), above) {
            if let Ok((holder, name)) = beneath::open_parent(&self.root, &parent) {
                let stat = rustix::fs::statat(&holder, name, AtFlags::SYMLINK_NOFOLLOW);
                return Ok(
                    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
                );
            }
        }
        Ok(false)
    }

    /// What is at a path.
    pub(super) fn look(&self, path: &TreePath) -> Result<HostNode, ApplyError> {
        let (parent, name) = match beneath::open_parent(&self.root, path) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(HostNode::Orphaned),
            // The kernel says the same of a link that is not to be followed.
            Err(Errno::NOTDIR) if self.is_below_file(path)? => return Ok(HostNode::Covered),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(HostNode::Blocked),
            Err(error) => return Err(failed("look at", path, error)),
        };
        let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(HostNode::Absent),
            Err(error) => return Err(failed("look at", path, error)),
        };
        let fingerprint = Fingerprint::of(&stat);
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => HostNode::Directory(fingerprint),
            FileType::RegularFile => HostNode::File(fingerprint),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&parent, name, Vec::new())
                    .map_err(|error| failed("read the link", path, error))?;
                HostNode::Symlink(fingerprint, target.into_bytes())
            }
            _ => HostNode::Special,
        })
    }

    /// Opens a regular file to read, and nothing that took its place.
    pub(super) fn open_file(&self, path: &TreePath, seen: &Fingerprint) -> Result<File, ApplyError> {
        // Of a pipe that took its place, the opening must not wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = beneath::open(self.root.as_fd(), path.as_bytes(), flags, Mode::empty())
            .map_err(|error| failed("read", path, error))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| failed("look at", path, error))?;
        if Fingerprint::of(&stat) != *seen {
            return Err(ApplyError::HostChanged(path.clone()));
        }
        Ok(File::from(file))
    }

    /// Names in a directory.
    pub(super) fn names(&self, path: &TreePath) -> Result<Vec<Vec<u8>>, ApplyError> {
        let directory = beneath::open_directory(&self.root, path.as_bytes())
            .map_err(|error| failed("open", path, error))?;
        let mut names = Vec::new();
        for entry in Dir::new(directory).map_err(|error| failed("list", path, error))? {
            let entry = entry.map_err(|error| failed("list", path, error))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }
}

/// Whether two readers have the same bytes to the end.
pub(super) fn is_same(one: &mut impl Read, other: &mut impl Read) -> std::io::Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(PART_BYTES as u64).read_to_end(&mut left)?;
        other.by_ref().take(PART_BYTES as u64).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
