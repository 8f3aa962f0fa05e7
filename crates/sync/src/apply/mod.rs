//! Changes from a guest applied to a directory of the host that may have moved on. It owns that directory for
//! the time of a write. It must never follow a symbolic link, touch `.git`, change what a person has changed
//! too, or leave a part of the changes behind: all of them are written, or none.

mod decision;
mod error;
mod executable;
mod host;
mod limits;
mod plan;
mod planner;
mod spool;
mod staging;
#[cfg(test)]
mod tests;
mod write;

pub use error::ApplyError;
pub use executable::{ExecutableReason, by_name, leads_outside};
pub use host::HostTree;
pub use plan::{Action, ActionKind, Conflict, ConflictKind, Executable, LeftOut, LeftOutReason, Plan};
pub use planner::{ApplyOptions, Planner};
