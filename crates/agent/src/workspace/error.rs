//! Why a tree was not moved, and how the host is told.

use pyro_proto::agent::{Failure, FailureKind};
use pyro_proto::tree::{TreeError, TreePath, TreePathError};
use rustix::io::Errno;

use crate::failure::{errno_text, failure, system};

/// Why a tree was not moved into or out of a workspace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    /// The stream breaks its format or its order, or stops before its end.
    #[error("the stream is damaged: {0}")]
    Damaged(String),
    /// A path or argument that cannot be meant.
    #[error("{0}")]
    Invalid(String),
    /// A path leads out of the workspace.
    #[error("{0} leads out of the workspace")]
    Outside(String),
    /// A path is not there.
    #[error("{0} is not there")]
    Missing(String),
    /// A directory is where something else should go, or the other way round.
    #[error("{0}")]
    Conflict(String),
    /// What is there is not what was seen there.
    #[error("{0} has changed")]
    Changed(String),
    /// The host has called it off, or is gone.
    #[error("called off")]
    Canceled,
    /// The wrong moment.
    #[error("{0}")]
    Refused(&'static str),
    /// A system call failed.
    #[error("{what}: {}", errno_text(*errno))]
    System { what: String, errno: Errno },
}

impl From<TreeError> for WorkspaceError {
    fn from(error: TreeError) -> WorkspaceError {
        WorkspaceError::Damaged(error.to_string())
    }
}

impl From<WorkspaceError> for Failure {
    fn from(error: WorkspaceError) -> Failure {
        let kind = match &error {
            WorkspaceError::Damaged(_) => FailureKind::ArchiveDamaged,
            WorkspaceError::Invalid(_) => FailureKind::InvalidArgument,
            WorkspaceError::Outside(_) => FailureKind::PathOutside,
            WorkspaceError::Missing(_) => FailureKind::PathMissing,
            WorkspaceError::Conflict(_) => FailureKind::TypeConflict,
            WorkspaceError::Changed(_) => FailureKind::Changed,
            WorkspaceError::Canceled => FailureKind::Canceled,
            WorkspaceError::Refused(_) => FailureKind::Refused,
            WorkspaceError::System { what, errno } => return system(what, *errno),
        };
        failure(kind, error.to_string())
    }
}

/// A path of the workspace as text for a message.
pub(crate) fn shown(path: &TreePath) -> String {
    if path.is_root() { "the directory itself".to_owned() } else { format!("{path:?}") }
}

/// A failed system call on a path that could not be read.
pub(crate) fn unreadable(path: &TreePath) -> impl Fn(Errno) -> WorkspaceError + '_ {
    move |errno| WorkspaceError::System { what: format!("{} cannot be read", shown(path)), errno }
}

/// A failed system call on a path that could not be written.
pub(crate) fn unwritable(path: &TreePath) -> impl Fn(Errno) -> WorkspaceError + '_ {
    move |errno| WorkspaceError::System { what: format!("{} cannot be written", shown(path)), errno }
}

/// A failed step that belongs to no path of the tree.
pub(crate) fn step(what: &'static str) -> impl Fn(Errno) -> WorkspaceError {
    move |errno| WorkspaceError::System { what: what.to_owned(), errno }
}

/// A name that makes no path.
pub(crate) fn unnameable(parent: &TreePath, name: &[u8], error: TreePathError) -> WorkspaceError {
    WorkspaceError::Invalid(format!("\"{}\" in {} {error}", name.escape_ascii(), shown(parent)))
}
