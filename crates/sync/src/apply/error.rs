//! What can keep changes from being applied.

use std::io;
use std::path::PathBuf;

use pyro_proto::tree::TreePath;

use crate::changes::ChangesError;

/// Changes that were not applied. Unless it says otherwise, the directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// There is no directory to apply to.
    #[error("cannot open the directory {}", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What came of it.
        #[source]
        source: io::Error,
    },
    /// The stream of changes.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// More changes than allowed.
    #[error("there are more than {changes_max} changes")]
    TooManyChanges {
        /// How many are allowed.
        changes_max: usize,
    },
    /// More contents than allowed.
    #[error("the changes have more than {bytes_max} bytes to write")]
    TooManyBytes {
        /// How many are allowed.
        bytes_max: u64,
    },
    /// Both sides have changed the same.
    #[error("{count} paths conflict, {first:?} among them")]
    Conflicts {
        /// How many.
        count: usize,
        /// One of them.
        first: TreePath,
    },
    /// Something would be written that the host runs without being asked.
    #[error("{count} files that run on the host would change, {first:?} among them")]
    Executables {
        /// How many.
        count: usize,
        /// One of them.
        first: TreePath,
    },
    /// The host's side changed between plan and write.
    #[error("{0:?} has changed on the host since the plan was made")]
    HostChanged(TreePath),
    /// The host's file system.
    #[error("cannot {what} {path:?}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: TreePath,
        /// What came of it.
        #[source]
        source: io::Error,
    },
    /// The temporary directory for contents.
    #[error("contents of a change cannot be kept in the temporary directory")]
    Spool(#[source] io::Error),
    /// A failure that could not be taken back in full: what was replaced lies in the directory named.
    #[error("{failures} changes could not be taken back; what they replaced is in {}", .kept_in.display())]
    NotTakenBack {
        /// How many.
        failures: usize,
        /// Where the originals are.
        kept_in: PathBuf,
        /// Why anything had to be taken back.
        #[source]
        source: Box<ApplyError>,
    },
}

pub(super) fn failed(what: &'static str, path: &TreePath, error: impl Into<io::Error>) -> ApplyError {
    ApplyError::Host { what, path: path.clone(), source: error.into() }
}
