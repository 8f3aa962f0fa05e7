//! Entries of a stream as files below a directory that nobody else can see: a baseline, or what a push brings.
//!
//! Everything belongs to root. A name that comes twice, or lies in what is no directory of the stream, makes
//! the stream damaged.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use pyro_proto::agent::Tally;
use pyro_proto::tree::{Entry, Item, Mtime, NodeKind, Record, TreePath};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::directory::{Directories, kind, open_directory, stat_at, stat_below};
use super::error::{WorkspaceError, shown, unwritable};
use super::node::{mode, set_mtime_at, timestamps};
use crate::small_file::write_all;

/// Mode of directories that a stream leaves out.
const DIRECTORY_MODE: u32 = 0o755;

/// Bits that a file cannot simply be made with: the process's mask of 022 takes some, and set-id bits must not
/// be inherited by what is made inside.
const LATE_BITS: u32 = 0o7022;

/// What becomes of directories above an entry that the stream has not named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parents {
    /// They are made: the workspace may have them.
    Made,
    /// The stream is damaged.
    Demanded,
}

/// Mode and time that an entry gives a directory.
pub(crate) type DirectoryNode = (u32, Mtime);

/// A tree that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    directories: Directories,
    parents: Parents,
    /// Directories of the stream; what is made inside would change their times.
    named: BTreeMap<TreePath, DirectoryNode>,
    file: Option<OpenFile>,
    tally: Tally,
}

#[derive(Debug)]
struct OpenFile {
    path: TreePath,
    fd: OwnedFd,
    bytes: u64,
    /// Behind the last piece.
    end: u64,
    mode: u32,
    mtime: Mtime,
}

impl Writer {
    /// Writes below `root`.
    pub(crate) fn new(root: OwnedFd, parents: Parents) -> Writer {
        let directories = Directories::below(root);
        Writer { directories, parents, named: BTreeMap::new(), file: None, tally: Tally::default() }
    }

    /// Writes a record that [`super::order::Order`] has let pass; removals and expectations are not for here.
    pub(crate) fn write(&mut self, record: &Record) -> Result<(), WorkspaceError> {
        match &record.item {
            Item::Piece(piece) => self.write_piece(piece.offset, &record.bytes),
            Item::Entry(entry) => {
                self.close_file()?;
                // The directory that was named is no entry of what is in it.
                self.tally.entries += u64::from(!entry.path.is_root());
                self.write_entry(entry)
            }
            _ => self.close_file(),
        }
    }

    /// Finishes what is open; gives the directories that the stream named, and what came.
    pub(crate) fn finish(mut self) -> Result<(BTreeMap<TreePath, DirectoryNode>, Tally), WorkspaceError> {
        self.close_file()?;
        for (path, (bits, mtime)) in &self.named {
            self.finish_directory(path, *bits, *mtime).map_err(unwritable(path))?;
        }
        Ok((self.named, self.tally))
    }

    fn finish_directory(&self, path: &TreePath, bits: u32, mtime: Mtime) -> rustix::io::Result<()> {
        let directory = open_directory(self.directories.root(), path)?;
        if path.is_root() || bits & LATE_BITS != 0 {
            rustix::fs::fchmod(&directory, mode(bits))?;
        }
        rustix::fs::futimens(&directory, &timestamps(mtime))
    }

    fn write_entry(&mut self, entry: &Entry) -> Result<(), WorkspaceError> {
        let Entry { path, node, .. } = entry;
        if path.is_root() {
            return self.name_directory(path, (node.mode, node.mtime));
        }
        self.enter_parent(path)?;
        match &node.kind {
            NodeKind::Directory => {
                match self.make_directory(path, node.mode) {
                    // One that was made for what is in it, and is named only now.
                    Err(Errno::EXIST) if self.is(path, FileType::Directory) => {}
                    result => result.map_err(|errno| occupied(path, errno))?,
                }
                self.name_directory(path, (node.mode, node.mtime))
            }
            NodeKind::File { bytes } => {
                let fd = self.make_file(path, node.mode).map_err(|errno| occupied(path, errno))?;
                let (path, mode, mtime) = (path.clone(), node.mode, node.mtime);
                self.file = Some(OpenFile { path, fd, bytes: *bytes, end: 0, mode, mtime });
                Ok(())
            }
            NodeKind::Symlink { target } => {
                self.make_symlink(path, target, node.mtime).map_err(|errno| occupied(path, errno))
            }
            NodeKind::HardLink { target } => self.link(path, target),
            NodeKind::Special => Err(WorkspaceError::Damaged(format!("{} cannot be made", shown(path)))),
        }
    }

    fn write_piece(&mut self, offset: u64, bytes: &[u8]) -> Result<(), WorkspaceError> {
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        write_all(&file.fd, bytes, offset).map_err(unwritable(&file.path))?;
        file.end = offset.saturating_add(bytes.len() as u64);
        self.tally.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The mode goes last: writing takes set-id bits away.
    fn close_file(&mut self) -> Result<(), WorkspaceError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let close = || {
            if file.end != file.bytes {
                rustix::fs::ftruncate(&file.fd, file.bytes)?;
            }
            if file.mode & LATE_BITS != 0 {
                rustix::fs::fchmod(&file.fd, mode(file.mode))?;
            }
            rustix::fs::futimens(&file.fd, &timestamps(file.mtime))
        };
        close().map_err(unwritable(&file.path))
    }

    fn name_directory(&mut self, path: &TreePath, node: DirectoryNode) -> Result<(), WorkspaceError> {
        match self.named.insert(path.clone(), node) {
            Some(_) => Err(twice(path)),
            None => Ok(()),
        }
    }

    fn enter_parent(&mut self, path: &TreePath) -> Result<(), WorkspaceError> {
        match self.directories.parent_of(path) {
            Ok(_) => Ok(()),
            Err(Errno::NOENT) if self.parents == Parents::Made => self.make_parents(path),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                Err(WorkspaceError::Damaged(format!("what {} should be in is no directory", shown(path))))
            }
            Err(errno) => Err(unwritable(path)(errno)),
        }
    }

    fn make_parents(&mut self, path: &TreePath) -> Result<(), WorkspaceError> {
        let mut missing = Vec::new();
        let mut above = path.split().map(|(parent, _)| parent);
        while let Some(parent) = above {
            if stat_below(self.directories.root(), &parent).map_err(unwritable(&parent))?.is_some() {
                break;
            }
            above = parent.split().map(|(above, _)| above);
            missing.push(parent);
        }
        for parent in missing.iter().rev() {
            self.make_directory(parent, DIRECTORY_MODE).map_err(unwritable(parent))?;
        }
        Ok(())
    }

    fn make_directory(&mut self, path: &TreePath, bits: u32) -> rustix::io::Result<()> {
        let (parent, name) = self.directories.parent_of(path)?;
        rustix::fs::mkdirat(parent, name, mode(bits & !LATE_BITS))
    }

    fn make_file(&mut self, path: &TreePath, bits: u32) -> rustix::io::Result<OwnedFd> {
        let (parent, name) = self.directories.parent_of(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(bits & !LATE_BITS & 0o777))
    }

    fn make_symlink(&mut self, path: &TreePath, target: &[u8], mtime: Mtime) -> rustix::io::Result<()> {
        let (parent, name) = self.directories.parent_of(path)?;
        rustix::fs::symlinkat(target, &parent, name)?;
        set_mtime_at(&parent, name, mtime)
    }

    fn link(&mut self, path: &TreePath, target: &TreePath) -> Result<(), WorkspaceError> {
        if !self.is(target, FileType::RegularFile) {
            let what = format!("{} is a link to {}, no file of it", shown(path), shown(target));
            return Err(WorkspaceError::Damaged(what));
        }
        let mut make = || {
            let (target_parent, target_name) = self.directories.parent_of(target)?;
            let (parent, name) = self.directories.parent_of(path)?;
            rustix::fs::linkat(target_parent, target_name, parent, name, AtFlags::empty())
        };
        make().map_err(|errno| occupied(path, errno))
    }

    fn is(&mut self, path: &TreePath, wanted: FileType) -> bool {
        let stat = self.directories.parent_of(path).and_then(|(parent, name)| stat_at(&parent, name));
        stat.is_ok_and(|stat| stat.is_some_and(|stat| kind(&stat) == wanted))
    }
}

fn occupied(path: &TreePath, errno: Errno) -> WorkspaceError {
    if errno == Errno::EXIST { twice(path) } else { unwritable(path)(errno) }
}

fn twice(path: &TreePath) -> WorkspaceError {
    WorkspaceError::Damaged(format!("{} comes twice", shown(path)))
}
