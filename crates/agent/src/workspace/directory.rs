//! Directories below a descriptor, opened without following a single symlink.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use pyro_proto::tree::TreePath;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Opens the directory at `path` below `root`.
pub(crate) fn open_directory(root: impl AsFd, path: &TreePath) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_root() { b"." } else { path.as_bytes() };
    rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), CONFINED)
}

/// Opens the directory `name` in `parent`.
pub(crate) fn open_child(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())
}

/// What `name` in `parent` is; `None` when nothing is there.
pub(crate) fn stat_at(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<Option<Stat>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What is at `path` below `root`; `None` when nothing is there, or it is behind something that is no directory.
pub(crate) fn stat_below(root: BorrowedFd<'_>, path: &TreePath) -> rustix::io::Result<Option<Stat>> {
    let Some((parent, name)) = path.split() else { return rustix::fs::fstat(root).map(Some) };
    match open_directory(root, &parent) {
        Ok(parent) => stat_at(&parent, name),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Kind of a node.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether it is a directory.
pub(crate) fn is_directory(stat: &Stat) -> bool {
    kind(stat) == FileType::Directory
}

/// Names in a directory as they come, without `.` and `..`.
pub(crate) fn names(
    directory: impl AsFd,
) -> rustix::io::Result<impl Iterator<Item = rustix::io::Result<Vec<u8>>>> {
    Ok(Dir::read_from(directory)?.filter_map(|entry| match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        Ok(entry) => Some(Ok(entry.file_name().to_bytes().to_vec())),
        Err(errno) => Some(Err(errno)),
    }))
}

/// Directories below one root, the last one kept open: trees come directory by directory.
#[derive(Debug)]
pub(crate) struct Directories {
    root: OwnedFd,
    last: Option<(TreePath, Rc<OwnedFd>)>,
}

impl Directories {
    /// Directories below `root`.
    pub(crate) fn below(root: OwnedFd) -> Directories {
        Directories { root, last: None }
    }

    /// The root itself.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory at `path`.
    pub(crate) fn open(&mut self, path: &TreePath) -> rustix::io::Result<Rc<OwnedFd>> {
        if let Some((known, directory)) = &self.last
            && known == path
        {
            return Ok(Rc::clone(directory));
        }
        let directory = Rc::new(open_directory(&self.root, path)?);
        self.last = Some((path.clone(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// The directory that holds `path`, and the last name; the root has none.
    pub(crate) fn parent_of<'a>(
        &mut self,
        path: &'a TreePath,
    ) -> rustix::io::Result<(Rc<OwnedFd>, &'a [u8])> {
        let (parent, name) = path.split().ok_or(Errno::INVAL)?;
        Ok((self.open(&parent)?, name))
    }

    /// Lets go of the directory that is kept: something else may be at its path now.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }
}
