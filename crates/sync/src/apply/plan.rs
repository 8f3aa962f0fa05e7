//! What applying would do: shown as a dry run, and then written.

use pyro_proto::tree::TreePath;

use super::executable::ExecutableReason;
use super::host::{Fingerprint, HostTree};
use super::spool::{Spool, Stretch};

/// What applying would do. Making one changes nothing.
#[derive(Debug)]
pub struct Plan {
    pub(super) tree: HostTree,
    pub(super) spool: Spool,
    pub(super) steps: Vec<Step>,
    /// Paths that would change, in order.
    pub actions: Vec<Action>,
    /// Paths that both sides have changed; with any of them, nothing is written.
    pub conflicts: Vec<Conflict>,
    /// Paths among the actions that the host runs without being asked.
    pub executables: Vec<Executable>,
    /// Symbolic links among the actions that lead out of the directory.
    pub links_outside: Vec<TreePath>,
    /// What stays as it is although the guest has changed it.
    pub left_out: Vec<LeftOut>,
    /// Changes below `.git`, which is never touched.
    pub git_left_out: u64,
    /// Paths that are on the host already as they should be.
    pub already: u64,
    /// Changes that the asked-for paths do not cover.
    pub unselected: u64,
}

/// A path that would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Where.
    pub path: TreePath,
    /// How.
    pub kind: ActionKind,
}

/// How a path would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionKind {
    /// It comes.
    Add,
    /// It has the guest's contents instead of the baseline's.
    Modify,
    /// Its contents have changed on both sides, and come together.
    Merge,
    /// Its mode alone changes.
    Mode,
    /// It goes.
    Delete,
}

/// A path that both sides have changed, each in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: TreePath,
    /// How.
    pub kind: ConflictKind,
}

/// How both sides have changed a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictKind {
    /// Its contents differ, and do not come together.
    Content,
    /// It is something else on the host, or something is in its way.
    Type,
    /// It is gone on the host, or its directory is.
    Missing,
    /// Something else has come to be there on the host.
    Exists,
    /// Its contents were too large to be sent.
    TooLarge,
}

/// A path that the host runs without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Where.
    pub path: TreePath,
    /// Why it counts as one.
    pub reason: ExecutableReason,
}

/// A change of the guest's that stays in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where.
    pub path: TreePath,
    /// Why.
    pub reason: LeftOutReason,
}

/// Why a change stays in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOutReason {
    /// A device, pipe or socket.
    Special,
    /// A directory that the guest deleted has other things in it on the host.
    NotEmpty,
}

/// What is done at a path.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) path: TreePath,
    /// What is there, to be sure that it still is.
    pub(super) expected: Option<Fingerprint>,
    pub(super) change: StepChange,
}

/// How a path changes.
#[derive(Clone, Debug)]
pub(super) enum StepChange {
    /// A file with these bytes is put there.
    File {
        contents: Stretch,
        mode: u32,
        /// Permissions that the file had before; those are kept whatever the mask for new files says.
        kept_mode: u32,
    },
    /// A link is put there.
    Symlink { target: Vec<u8> },
    /// A directory is put there.
    Directory { mode: u32 },
    /// The mode becomes this.
    Mode { mode: u32 },
    /// The file or link there goes.
    Delete,
    /// The directory there goes, empty by then.
    DeleteDirectory,
}
