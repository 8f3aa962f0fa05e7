//! What is wrong with an archive, and what is in it that is not taken.

use std::io;

use pyro_proto::tree::TreePathError;

use super::super::Name;

/// An archive that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It, or what it is packed in, stops before its end.
    #[error("the archive is cut: {0}")]
    Cut(&'static str),
    /// A block that should be a header is none.
    #[error("the archive is damaged: {0}")]
    Damaged(&'static str),
    /// Reading or unpacking it failed; most often it is damaged.
    #[error("the archive cannot be unpacked")]
    Unpack(#[source] io::Error),
    /// An entry that is not taken.
    #[error("the archive's entry {name} {refusal}")]
    Entry {
        /// Its path as the archive has it.
        name: Name,
        /// Why it is not taken.
        refusal: Refusal,
    },
    /// More contents than was allowed.
    #[error("the archive unpacks to more than {bytes_max} bytes")]
    TooLarge {
        /// What was allowed.
        bytes_max: u64,
    },
    /// More entries, or longer names, than a source may have.
    #[error("the archive has more than {what}")]
    TooMany {
        /// How much of what.
        what: String,
    },
}

/// Why an entry of an archive is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no path within the tree.
    #[error(transparent)]
    Path(#[from] TreePathError),
    /// Its path is empty.
    #[error("has no name")]
    NoName,
    /// It is a fifo.
    #[error("is a fifo")]
    Fifo,
    /// It is a block or character device.
    #[error("is a device")]
    Device,
    /// It is of a type that is not known.
    #[error("is of the unknown type '{}'", .0.escape_ascii())]
    Type(u8),
    /// Its path was there before.
    #[error("is there twice")]
    Twice,
    /// A directory whose contents came first, with another mode than they were given a directory with.
    #[error("is a directory that comes behind its contents, or twice with different modes")]
    LateDirectory,
    /// A directory is at its path, or something else at the path of a directory.
    #[error("is a directory and something else")]
    TypeConflict,
    /// What is above it is a file.
    #[error("lies below {0}, which is a file")]
    BelowFile(Name),
    /// What is above it is a symlink.
    #[error("lies below {0}, which is a symlink")]
    BelowSymlink(Name),
    /// A hard link out of the tree.
    #[error("is a hard link to {0}, which is outside of the archive")]
    LinkOutside(Name),
    /// A hard link to what did not come before.
    #[error("is a hard link to {0}, which is no file before it")]
    LinkMissing(Name),
    /// A symlink to nothing, or to more than a path's length.
    #[error("is a symlink whose target no system takes")]
    LinkTarget,
    /// A number that is none.
    #[error("has a header whose {0} cannot be read")]
    Number(&'static str),
    /// Attributes that break the format.
    #[error("has extended attributes that cannot be read")]
    Attributes,
    /// A map of holes that breaks the format, or does not fit the file.
    #[error("has a map of holes that cannot be read")]
    SparseMap,
    /// It continues on another volume.
    #[error("continues on another volume")]
    Volume,
}

impl ArchiveError {
    /// What its reader can do about it.
    pub(in crate::source) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            ArchiveError::Cut(_) | ArchiveError::Damaged(_) | ArchiveError::Unpack(_) => {
                "check the archive with tar -t, or fetch it again"
            }
            ArchiveError::Entry { .. } => {
                "unpack it into a directory and name that, or pack it without the entry"
            }
            ArchiveError::TooLarge { .. } | ArchiveError::TooMany { .. } => return None,
        })
    }
}

/// An error of a reader that may stand on a decompressor.
pub(super) fn unpacking(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Cut("what it is packed in has no end"),
        _ => ArchiveError::Unpack(error),
    }
}
