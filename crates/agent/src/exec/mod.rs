//! Commands and services: from a request to an outcome.
//!
//! ```text
//!   Exec ──plan──► user, environment, candidates ──child──► process in its own control group
//!                    stdin ◄── mailbox        stdout, stderr ──► bulk lane
//!                                   exit ──► drained ──► outcome
//! ```
//!
//! Owns one command or service from birth to its reply. One that is dropped (its host is gone) is killed with
//! everything it has started. What a finished command left running keeps running, its output unread; what a service
//! left running is ended before it is started again or replied to.

mod account;
mod backoff;
mod cgroup;
mod child;
mod engine;
mod foreground;
mod halt;
mod outcome;
mod plan;
mod policy;
mod probe;
mod pump;
mod reaper;
mod running;
mod stdio;
mod streams;
mod supervisor;
mod tree;

pub(crate) use cgroup::{Cgroups, write as cgroup_write};
pub(crate) use engine::{CallIo, Engine};
pub(crate) use reaper::Reaper;
