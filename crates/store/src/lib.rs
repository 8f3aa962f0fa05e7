//! The state of one user on one machine: where things are, which VMs and workspaces
//! there are, what is kept of their commands, and what a crash left.
//!
//! Owns the SQLite database, the layout of the state, cache and runtime directories, and the locks that
//! tell a living shim from a dead one. It starts nothing, talks to no VM and never prints. A VM counts as
//! alive exactly as long as its shim holds the locks in its directories; process ids decide nothing about that.
//! It never removes a workspace's work unless a record says that it shall go.

mod change;
mod database;
mod directories;
mod execs;
mod facts;
mod id;
mod images;
mod leftovers;
pub mod limits;
mod lock;
mod name;
mod output;
mod process;
mod reconcile;
mod resolve;
mod schema;
mod vms;
mod workspace_claim;
mod workspaces;

pub use change::{ChangeError, WorkspaceChange};
pub use database::{Durability, Store, StoreError};
pub use directories::{Directories, OutputStream, VmPlace, WorkspacePlace};
pub use execs::{ExecEnd, ExecOutcome, ExecRecord, NewExec};
pub use id::{InvalidId, VmId, WorkspaceId};
pub use images::{ImageKey, InvalidImageKey, KeptImage};
pub use lock::{FileLock, LockError, LockMode};
pub use name::{InvalidName, LabelKey, LabelValue, Labels, WorkspaceName};
pub use output::{Kept, OutputPiece, OutputReader, OutputWriter};
pub use process::ProcessIdentity;
pub use reconcile::{Claim, Reconciled, ReleaseError};
pub use resolve::ResolveError;
pub use vms::{NewVm, VmRecord};
pub use workspace_claim::{ClaimError, WorkspaceClaim};
pub use workspaces::{
    LabelFilter, NewWorkspace, RecordError, Seed, SeedKind, WorkspaceRecord, WorkspaceState,
};
