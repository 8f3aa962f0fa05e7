//! What can keep a tree from landing.

use std::io;
use std::path::PathBuf;

/// A tree that did not land; nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum LandingError {
    /// Nothing is ever written over.
    #[error("{} is already there", .0.display())]
    Exists(PathBuf),
    /// There is no directory to land in.
    #[error("there is no directory {}", .0.display())]
    NoParent(PathBuf),
    /// A path that ends in no name (`/`, `..`).
    #[error("{} names no file or directory", .0.display())]
    NoName(PathBuf),
    /// The stream breaks the format, or stops before its end.
    #[error("the guest sent a malformed tree: {0}")]
    Malformed(&'static str),
    /// What was asked for is a device, pipe or socket.
    #[error("it is a device, pipe or socket, which cannot be taken out")]
    Special,
    /// More bytes than allowed.
    #[error("it has more than {bytes_max} bytes")]
    TooManyBytes {
        /// How many are allowed.
        bytes_max: u64,
    },
    /// More entries than allowed.
    #[error("it has more than {entries_max} entries")]
    TooManyEntries {
        /// How many are allowed.
        entries_max: u64,
    },
    /// The host's file system.
    #[error("cannot {what} {}", .path.display())]
    Host {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        #[source]
        source: io::Error,
    },
}
