//! An export lands on the host: a stream from the guest becomes a file, directory or link at a path where
//! nothing was. It owns the temporary directory beside that path until all is there. It must never write over
//! anything, follow a symbolic link, or leave a part behind.

pub(crate) mod beneath;
mod error;
mod file;
pub(crate) mod limits;
pub(crate) mod rename;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyro_proto::tree::{Entry, Item, Mtime, NodeKind, Record, TreePath};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use tempfile::TempDir;

pub use error::LandingError;
use file::{ArrivingFile, plain_mode, timestamps};
use limits::SPECIALS_NAMED_MAX;
use rename::rename_new;

/// Name of the tree within the temporary directory.
const TREE: &[u8] = b"tree";

/// What one landing may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LandingOptions {
    /// Sum of the lengths of all files, holes included.
    pub bytes_max: u64,
    /// Number of entries.
    pub entries_max: u64,
}

/// What landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// What is at the path now.
    pub artifact_type: ArtifactType,
    /// Entries of it, itself among them.
    pub entries: u64,
    /// Sum of the lengths of its files.
    pub bytes: u64,
    /// Devices, pipes and sockets that were left out.
    pub specials: u64,
    /// The first of them.
    pub specials_named: Vec<TreePath>,
}

/// Kind of what landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtifactType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// A tree on its way.
#[derive(Debug)]
pub struct Landing {
    output: PathBuf,
    name: OsString,
    options: LandingOptions,
    /// Removed with all in it when this is dropped; named through `parent`, so above it.
    temporary: TempDir,
    directory: OwnedFd,
    parent: OwnedFd,
    artifact_type: Option<ArtifactType>,
    file: Option<ArrivingFile>,
    /// Directories whose modes and times come last, when nothing more is made in them.
    directories: Vec<(TreePath, u32, Mtime)>,
    landed: Landed,
    has_ended: bool,
}

impl Landing {
    /// Prepares to land at a path where nothing may be, in a directory that must be there.
    pub fn new(output: &Path, options: LandingOptions) -> Result<Landing, LandingError> {
        let name = output.file_name().ok_or_else(|| LandingError::NoName(output.into()))?.to_owned();
        let parent_path = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = match rustix::fs::open(parent_path, flags, Mode::empty()) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(LandingError::NoParent(parent_path.into())),
            Err(error) => return Err(failed("open", parent_path, error)),
        };
        match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Ok(_) => return Err(LandingError::Exists(output.into())),
            Err(error) => return Err(failed("look at", output, error)),
        }
        // By descriptor: the parent may be renamed, and this stays in it.
        let temporary = tempfile::Builder::new()
            .prefix(".pyro-landing-")
            .tempdir_in(descriptor_path(&parent))
            .map_err(|source| host("make a temporary directory in", parent_path, source))?;
        let directory = rustix::fs::open(temporary.path(), flags | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|error| failed("open the temporary directory in", parent_path, error))?;
        let landed = Landed {
            artifact_type: ArtifactType::File,
            entries: 0,
            bytes: 0,
            specials: 0,
            specials_named: Vec::new(),
        };
        Ok(Landing {
            output: output.into(),
            name,
            options,
            temporary,
            directory,
            parent,
            artifact_type: None,
            file: None,
            directories: Vec::new(),
            landed,
            has_ended: false,
        })
    }

    /// Takes a record of the stream. After an error, this is only to be dropped.
    pub fn take(&mut self, record: &Record) -> Result<(), LandingError> {
        if self.has_ended {
            return Err(LandingError::Malformed("records behind the end"));
        }
        match &record.item {
            Item::Piece(piece) => {
                let file = self.file.as_mut().ok_or(LandingError::Malformed("a piece of no file"))?;
                let written = file.write(*piece, &record.bytes)?;
                written.map_err(|source| host("write below", &self.output, source))
            }
            Item::Entry(entry) => {
                self.finish_file()?;
                self.take_entry(entry)
            }
            Item::End => {
                self.has_ended = true;
                self.finish_file()
            }
            Item::Remove(_) | Item::Expect(_) | Item::Change(_) => {
                Err(LandingError::Malformed("a record of another kind of stream"))
            }
        }
    }

    /// Puts what arrived at its path, all at once.
    pub fn finish(mut self) -> Result<Landed, LandingError> {
        if !self.has_ended {
            return Err(LandingError::Malformed("it stops before its end"));
        }
        self.landed.artifact_type =
            self.artifact_type.ok_or(LandingError::Malformed("there is nothing in it"))?;
        let placed = self.place();
        if placed.is_err() {
            self.loosen_directories();
        }
        // A remainder would be an empty directory, and is no reason to call what landed a failure.
        self.temporary.close().ok();
        placed.map(|()| self.landed)
    }

    fn place(&self) -> Result<(), LandingError> {
        self.set_directory_modes().map_err(|error| failed("set modes below", &self.output, error))?;
        rustix::fs::syncfs(&self.directory).map_err(|error| failed("sync", &self.output, error))?;
        let root_mode = self.directories.first().filter(|first| first.0.is_root()).map(|first| first.1);
        let renamed = rename_new(&self.directory, TREE, &self.parent, self.name.as_bytes());
        match renamed {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(LandingError::Exists(self.output.clone())),
            Err(error) => return Err(failed("rename to", &self.output, error)),
        }
        if let Some(mode) = root_mode {
            // Only now: a directory that may not be written to cannot be moved. What is there is whole, so
            // a failure of this takes nothing back.
            let root = beneath::open(
                self.parent.as_fd(),
                self.name.as_bytes(),
                OFlags::RDONLY | OFlags::DIRECTORY,
                Mode::empty(),
            );
            if let Ok(root) = root {
                rustix::fs::fchmod(root, plain_mode(mode)).ok();
            }
        }
        rustix::fs::fsync(&self.parent).map_err(|error| failed("sync the directory of", &self.output, error))
    }

    fn take_entry(&mut self, entry: &Entry) -> Result<(), LandingError> {
        if entry.path.is_root() == self.artifact_type.is_some() {
            return Err(LandingError::Malformed("its root is not the first entry, or comes twice"));
        }
        if entry.node.mtime.nanoseconds >= 1_000_000_000 {
            return Err(LandingError::Malformed("a time of too many nanoseconds"));
        }
        self.landed.entries += 1;
        if self.landed.entries > self.options.entries_max {
            return Err(LandingError::TooManyEntries { entries_max: self.options.entries_max });
        }
        if entry.path.is_root() {
            self.artifact_type = Some(match &entry.node.kind {
                NodeKind::Directory => ArtifactType::Directory,
                NodeKind::File { .. } => ArtifactType::File,
                NodeKind::Symlink { .. } => ArtifactType::Symlink,
                NodeKind::Special => return Err(LandingError::Special),
                NodeKind::HardLink { .. } => {
                    return Err(LandingError::Malformed("its root is a second name"));
                }
            });
        }
        self.make(entry)
    }

    fn make(&mut self, entry: &Entry) -> Result<(), LandingError> {
        let (parent, name) = self.open_parent(&entry.path)?;
        let node = &entry.node;
        let made = match &node.kind {
            NodeKind::Directory => {
                let made = rustix::fs::mkdirat(&parent, &name, Mode::RWXU);
                self.directories.push((entry.path.clone(), node.mode, node.mtime));
                made
            }
            NodeKind::File { bytes } => {
                self.landed.bytes = self.landed.bytes.saturating_add(*bytes);
                if self.landed.bytes > self.options.bytes_max {
                    return Err(LandingError::TooManyBytes { bytes_max: self.options.bytes_max });
                }
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR) {
                    Ok(file) => {
                        let file = ArrivingFile::new(file, *bytes, node.mode, node.mtime);
                        let file = file.map_err(|source| host("make room for", &self.output, source))?;
                        self.file = Some(file);
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            NodeKind::Symlink { target } => {
                if target.is_empty() || target.contains(&0) {
                    return Err(LandingError::Malformed("a symbolic link to nothing"));
                }
                rustix::fs::symlinkat(&target[..], &parent, &name).and_then(|()| {
                    let times = timestamps(node.mtime);
                    rustix::fs::utimensat(&parent, &name, &times, AtFlags::SYMLINK_NOFOLLOW)
                })
            }
            NodeKind::HardLink { target } => return self.link(target, &parent, &name),
            NodeKind::Special => {
                self.landed.entries -= 1;
                self.landed.specials += 1;
                if self.landed.specials > self.options.entries_max {
                    return Err(LandingError::TooManyEntries { entries_max: self.options.entries_max });
                }
                if self.landed.specials_named.len() < SPECIALS_NAMED_MAX {
                    self.landed.specials_named.push(entry.path.clone());
                }
                return Ok(());
            }
        };
        made.map_err(|error| match error {
            Errno::EXIST => LandingError::Malformed("a path comes twice"),
            error => failed("write below", &self.output, error),
        })
    }

    /// Another name for a file that came in this stream.
    fn link(&self, target: &TreePath, parent: &OwnedFd, name: &[u8]) -> Result<(), LandingError> {
        let (source, source_name) = self.open_parent(target)?;
        let is_file = rustix::fs::statat(&source, &source_name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        if !is_file {
            return Err(LandingError::Malformed("a second name of no file"));
        }
        rustix::fs::linkat(&source, &source_name, parent, name, AtFlags::empty()).map_err(|error| match error
        {
            Errno::EXIST => LandingError::Malformed("a path comes twice"),
            error => failed("link below", &self.output, error),
        })
    }

    /// The directory that an entry goes into, and its name there.
    fn open_parent(&self, path: &TreePath) -> Result<(OwnedFd, Vec<u8>), LandingError> {
        let (parent, name) = match path.split() {
            None => (Vec::new(), TREE),
            Some((parent, name)) => (below_tree(&parent), name),
        };
        match beneath::open_directory(&self.directory, &parent) {
            Ok(directory) => Ok((directory, name.to_vec())),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                Err(LandingError::Malformed("an entry comes before its directory"))
            }
            Err(error) => Err(failed("open a directory below", &self.output, error)),
        }
    }

    fn finish_file(&mut self) -> Result<(), LandingError> {
        match self.file.take() {
            Some(file) => file.finish().map_err(|error| failed("finish a file below", &self.output, error)),
            None => Ok(()),
        }
    }

    /// Sets the modes and times of all directories, inner ones first, for an outer one may bar the way to
    /// them; the root keeps its write permission, without which it could not be moved.
    fn set_directory_modes(&self) -> Result<(), Errno> {
        for (path, mode, mtime) in self.directories.iter().rev() {
            let directory = beneath::open_directory(&self.directory, &below_tree(path))?;
            let extra = if path.is_root() { Mode::RWXU } else { Mode::empty() };
            rustix::fs::fchmod(&directory, plain_mode(*mode) | extra)?;
            rustix::fs::futimens(&directory, &timestamps(*mtime))?;
        }
        Ok(())
    }

    /// Makes all directories removable, outer ones first: what may not be written to cannot be emptied.
    fn loosen_directories(&self) {
        for (path, ..) in &self.directories {
            if let Ok(directory) = beneath::open(
                self.directory.as_fd(),
                &below_tree(path),
                OFlags::PATH | OFlags::DIRECTORY,
                Mode::empty(),
            ) {
                // By name: a descriptor that can be had without permission to read cannot be changed itself.
                rustix::fs::chmod(descriptor_path(&directory), Mode::RWXU).ok();
            }
        }
    }
}

fn below_tree(path: &TreePath) -> Vec<u8> {
    if path.is_root() { TREE.to_vec() } else { [TREE, b"/", path.as_bytes()].concat() }
}

fn descriptor_path(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn failed(what: &'static str, path: &Path, error: Errno) -> LandingError {
    host(what, path, error.into())
}

fn host(what: &'static str, path: &Path, source: io::Error) -> LandingError {
    LandingError::Host { what, path: path.into(), source }
}
