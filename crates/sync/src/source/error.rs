//! What can go wrong with a source, in words for the person who named it.

use std::io;
use std::path::PathBuf;

use pyro_proto::tree::TreeError;

use super::archive::ArchiveError;
use super::gitignore::GitError;
use super::{Name, SinkClosed};

/// A source that cannot be opened, or not be sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nothing can be opened there.
    #[error("{path} cannot be opened", path = path.display())]
    Open {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is no archive.
    #[error("{path} is neither a directory nor an archive (.tar, .tar.gz, .tgz, .tar.zst, .tar.xz, .txz)", path = path.display())]
    NotASource {
        /// Where it is.
        path: PathBuf,
    },
    /// An archive, of a kind that is not read.
    #[error("{path} is a {form} archive; taken are .tar, .tar.gz, .tgz, .tar.zst, .tar.xz and .txz", path = path.display())]
    UnknownArchive {
        /// Where it is.
        path: PathBuf,
        /// What it looks like.
        form: &'static str,
    },
    /// Entries of a directory that cannot be taken.
    #[error("{path} holds what cannot be taken: {named}{rest}", path = path.display(), named = listed(troubles), rest = rest(*more))]
    Troubles {
        /// The directory.
        path: PathBuf,
        /// The first of them.
        troubles: Vec<Trouble>,
        /// How many there are beyond those.
        more: u64,
    },
    /// More than a source may have.
    #[error("it holds {what}")]
    TooMany {
        /// How much of what.
        what: String,
    },
    /// Reading an entry of a directory failed.
    #[error("{name} cannot be read")]
    Entry {
        /// Relative to the directory.
        name: Name,
        /// Why.
        source: io::Error,
    },
    /// An entry became something else, went away, or had other contents at the end than at the start.
    #[error("{name} changed while it was read")]
    Changed {
        /// Relative to the directory.
        name: Name,
    },
    /// The rules of git cannot be told.
    #[error(transparent)]
    Git(#[from] GitError),
    /// An archive is damaged, or holds what is not taken.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A record does not fit the format.
    #[error(transparent)]
    Stream(#[from] TreeError),
    /// Nobody takes the stream any more.
    #[error(transparent)]
    SinkClosed(#[from] SinkClosed),
}

/// An entry that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Relative to the directory.
    pub name: Name,
    /// Why.
    pub kind: TroubleKind,
}

/// Why an entry cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TroubleKind {
    /// Its reader lacks permission.
    #[error("not readable")]
    Unreadable,
    /// A named pipe.
    #[error("a fifo")]
    Fifo,
    /// A socket.
    #[error("a socket")]
    Socket,
    /// A block or character device.
    #[error("a device")]
    Device,
    /// Too long, or too many directories deep.
    #[error("too long a path")]
    TooLong,
}

impl SourceError {
    /// What its reader can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            SourceError::NotASource { .. } => {
                Some("name the directory that holds the file, or pack it with tar")
            }
            SourceError::UnknownArchive { .. } => {
                Some("unpack it into a directory and name that, or pack it with tar")
            }
            SourceError::Troubles { troubles, .. } => {
                let unreadable = troubles.iter().any(|trouble| trouble.kind == TroubleKind::Unreadable);
                Some(match unreadable {
                    true => "make them readable, remove them, or leave them out with --seed-ignore gitignore",
                    false => "remove them, or leave them out with --seed-ignore gitignore",
                })
            }
            SourceError::Changed { .. } => Some("try again when nothing writes there"),
            SourceError::Git(error) => error.hint(),
            SourceError::Archive(error) => error.hint(),
            _ => None,
        }
    }
}

fn listed(troubles: &[Trouble]) -> String {
    let named: Vec<_> =
        troubles.iter().map(|trouble| format!("{} ({})", trouble.name, trouble.kind)).collect();
    named.join(", ")
}

fn rest(more: u64) -> String {
    match more {
        0 => String::new(),
        more => format!(", and {more} more"),
    }
}
