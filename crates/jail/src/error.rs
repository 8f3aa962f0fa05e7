//! What can go wrong while a jail is built.

use std::io;
use std::path::PathBuf;

/// A jail could not be prepared or attended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JailError {
    /// A path the spec names could not be opened.
    #[error("cannot open {path} for the jail")]
    Open {
        /// The path as the spec gave it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The Landlock ruleset was refused.
    #[error("cannot build the file access rules")]
    Ruleset(#[source] io::Error),
    /// A descriptor could not be duplicated or a socket made.
    #[error("cannot prepare the jail's descriptors")]
    Descriptor(#[source] io::Error),
    /// The child never handed over its seccomp listener.
    #[error("the confined process did not hand over its system call listener")]
    Listener(#[source] io::Error),
    /// An answered path is empty, too long, or holds a NUL byte.
    #[error("{path} cannot be answered by the jail")]
    AnsweredPath {
        /// The path as the spec gave it.
        path: PathBuf,
    },
}
