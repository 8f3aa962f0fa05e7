//! The state of one user on one machine: where things are, which VMs and workspaces
//! there are, which layers their disks are made of, what is kept of their commands, and what a crash left.
//!
//! Owns the SQLite database, the layout of the state, cache and runtime directories, and the locks that
//! tell a living shim from a dead one. It starts nothing, talks to no VM and never prints. A VM counts as
//! alive exactly as long as its shim holds the locks in its directories; process ids decide nothing about that.
//! It never removes a workspace's work unless a record says that it shall go, nor a layer that a record leads to. It
//! does not know what is in a layer.

mod change;
#[cfg(test)]
mod churn;
mod collect;
mod columns;
mod database;
mod directories;
mod execs;
mod facts;
mod holds;
mod id;
mod images;
mod keep;
mod layers;
mod leftovers;
pub mod limits;
mod lock;
mod log;
mod memories;
mod merge;
mod name;
mod output;
mod process;
mod reconcile;
mod record_error;
mod resolve;
mod schema;
mod service_name;
mod services;
mod shells;
mod snapshot_name;
mod snapshots;
mod usage;
mod vms;
mod workspace_claim;
mod workspaces;
#[cfg(test)]
mod yard;

pub use change::{ChangeError, WorkspaceChange};
pub use collect::Collected;
pub use database::{Durability, Store, StoreError};
pub use directories::{Directories, OutputStream, VmPlace, WorkspacePlace};
pub use execs::{ExecEnd, ExecOutcome, ExecRecord, NewExec};
pub use holds::Hold;
pub use id::{HoldToken, InvalidId, LayerId, ShellId, VmId, WorkspaceId};
pub use images::{ImageKey, InvalidImageKey, KeptImage};
pub use layers::Sealing;
pub use lock::{FileLock, LockError, LockMode};
pub use log::{LogLine, LogLines, LogReader, LogWriter};
pub use merge::{HeadPair, Replaced};
pub use name::{InvalidName, LabelKey, LabelValue, Labels, WorkspaceName};
pub use output::{Keep, Kept, OutputPiece, OutputReader, OutputWriter};
pub use process::ProcessIdentity;
pub use reconcile::{Claim, Reconciled, ReleaseError, birth_lock};
pub use record_error::RecordError;
pub use resolve::ResolveError;
pub use service_name::{InvalidServiceName, ServiceName};
pub use services::{NewService, ServiceNews, ServiceRecord, ServiceState};
pub use shells::{NewShell, ShellEnd, ShellError, ShellOutcome, ShellRecord};
pub use snapshot_name::{InvalidSnapshotName, SnapshotName};
pub use snapshots::{NewSnapshot, SnapshotRecord};
pub use usage::WorkspaceUsage;
pub use vms::{NewVm, VmRecord};
pub use workspace_claim::{ClaimError, WorkspaceClaim};
pub use workspaces::{LabelFilter, NewWorkspace, Origin, Seed, SeedKind, WorkspaceRecord, WorkspaceState};
