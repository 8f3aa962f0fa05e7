//! Trees inward: a host directory or an archive as a stream of records.
//!
//! Owns what is read of the host. It never writes to the host, never follows a symlink inside a source, and
//! never reads outside the directory that was named, whoever renames things meanwhile. The rules of git are
//! read from where git keeps them, and nothing of that is sent.

mod archive;
mod directory;
mod error;
mod gitignore;
#[cfg(test)]
mod model;
mod name;
mod outlet;
mod push;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use pyro_proto::agent::Tally;
use rustix::fs::{FileType, Mode, OFlags};

pub use archive::{ArchiveError, Refusal};
pub use error::{SourceError, Trouble, TroubleKind};
pub use gitignore::{GitError, GitRules, user_excludes};
pub use name::Name;
pub use outlet::{Progress, SinkClosed, TreeSink};
pub use push::{PushChange, PushNode, one_file, push_changes};

use archive::ArchiveSource;
use directory::DirectorySource;

/// How a source is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// Leave out what git ignores; only of directories.
    pub ignore: Option<GitRules>,
    /// Bytes of contents that an archive may unpack to.
    pub archive_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { ignore: None, archive_bytes_max: crate::limits::ARCHIVE_BYTES_MAX }
    }
}

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A directory.
    Directory,
    /// A tar archive, compressed or not.
    Archive,
}

/// What a source holds, without its root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Something on the host that a tree comes from.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Directory(DirectorySource),
    Archive(ArchiveSource),
}

impl Source {
    /// Opens a directory or an archive. Symlinks that lead to it are followed; of an archive the first block
    /// is read.
    pub fn open(path: &Path, options: Options) -> Result<Source, SourceError> {
        let unopened = |source| SourceError::Open { path: path.to_owned(), source };
        let canonical = std::fs::canonicalize(path).map_err(unopened)?;
        // Opening a device may do something, so it is looked at first; a fifo that is put in its place must
        // not make this wait for its writer.
        let kind = std::fs::metadata(&canonical).map_err(unopened)?.file_type();
        if !kind.is_dir() && !kind.is_file() {
            return Err(SourceError::NotASource { path: canonical });
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd =
            rustix::fs::open(&canonical, flags, Mode::empty()).map_err(|errno| unopened(errno.into()))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| unopened(errno.into()))?;
        let content = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                Content::Directory(DirectorySource::new(canonical.clone(), fd, options.ignore))
            }
            FileType::RegularFile => {
                Content::Archive(ArchiveSource::open(&canonical, File::from(fd), options.archive_bytes_max)?)
            }
            _ => return Err(SourceError::NotASource { path: canonical }),
        };
        Ok(Source { path: canonical, content })
    }

    /// What it is.
    pub fn kind(&self) -> SourceKind {
        match self.content {
            Content::Directory(_) => SourceKind::Directory,
            Content::Archive(_) => SourceKind::Archive,
        }
    }

    /// Where it is: absolute, without symlinks.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Walks a directory to its end and finds everything that cannot be taken, before anything is sent. An
    /// archive is not read before it is sent, and has no totals.
    pub fn scan(&mut self) -> Result<Option<Totals>, SourceError> {
        match &mut self.content {
            Content::Directory(directory) => directory.scan().map(Some),
            Content::Archive(_) => Ok(None),
        }
    }

    /// Sends everything; scans before where that was not done. After an error the stream has no end.
    pub fn send(
        &mut self,
        sink: &mut dyn TreeSink,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Tally, SourceError> {
        match &mut self.content {
            Content::Directory(directory) => directory.send(sink, progress),
            Content::Archive(archive) => archive.send(sink, progress),
        }
    }
}

/// A time of the kernel as one of the stream.
fn mtime(stat: &rustix::fs::Stat) -> pyro_proto::tree::Mtime {
    #[allow(clippy::unnecessary_cast, reason = "the widths are the kernel's, and differ between machines")]
    pyro_proto::tree::Mtime { seconds: stat.st_mtime as i64, nanoseconds: stat.st_mtime_nsec as u32 }
}

/// Reads a file of git's, of no more than so many bytes; `None` when there is none.
fn read_bounded(file: File, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    use io::Read;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {bytes_max} bytes")));
    }
    Ok(Some(bytes))
}
