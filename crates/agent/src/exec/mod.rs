//! Commands: from a request to an outcome.
//!
//! ```text
//!   Exec ──plan──► user, environment, candidates ──child──► process in its own control group
//!                    stdin ◄── mailbox        stdout, stderr ──► bulk lane
//!                                   exit ──► drained ──► outcome
//! ```
//!
//! Owns one command from birth to its reply. A command that is dropped (its host is gone) is killed with
//! everything it has started. What a finished command left running keeps running, its output unread.

mod account;
mod cgroup;
mod child;
mod engine;
mod halt;
mod outcome;
mod plan;
mod pump;
mod reaper;
mod running;
mod stdio;

pub(crate) use cgroup::{Cgroups, write as cgroup_write};
pub(crate) use engine::{CallIo, Engine};
pub(crate) use reaper::Reaper;
