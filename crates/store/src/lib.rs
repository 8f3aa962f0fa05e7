//! The state of one user on one machine: where things are, which VMs there are, and what a crash left.
//!
//! Owns the SQLite database, the layout of the state, cache and runtime directories, and the locks that
//! tell a living shim from a dead one. It starts nothing, talks to no VM and never prints. A VM counts as
//! alive exactly as long as its shim holds the locks in its directories; process ids decide nothing about that.

mod database;
mod directories;
mod facts;
mod id;
pub mod limits;
mod lock;
mod process;
mod reconcile;
mod vms;

pub use database::{Durability, Store, StoreError};
pub use directories::{Directories, VmPlace};
pub use id::{InvalidVmId, VmId};
pub use lock::{FileLock, LockError, LockMode};
pub use process::ProcessIdentity;
pub use reconcile::{Claim, Reconciled, ReleaseError};
pub use vms::{NewVm, VmRecord};
