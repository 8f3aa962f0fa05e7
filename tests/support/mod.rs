//! The words the tests are written in: a machine, a client on it, the VM behind the client. It asserts nothing
//! about pyro except that nothing is left behind.

mod cache;
mod client;
mod collector;
mod executable;
mod guests;
mod leftovers;
mod machine;
pub(crate) mod mcp;
pub(crate) mod mcp_http;
pub(crate) mod packages;
mod pattern;
mod process;
mod programs;
mod python;
mod service;
mod shell;
mod slots;
mod terminal;
mod tmux;
pub(crate) mod tree;
pub(crate) mod whole_tree;
mod workspace;

pub(crate) use client::{Call, Running};
pub(crate) use executable::executable;
pub(crate) use guests::{accelerator, execution_mode, transport};
pub(crate) use leftovers::remains_of;
pub(crate) use machine::Machine;
pub(crate) use mcp::Mcp;
pub(crate) use pattern::{assert_matches, matches};
pub(crate) use process::{Process, wait_until};
pub(crate) use shell::Shell;
pub(crate) use terminal::Terminal;
pub(crate) use tmux::Tmux;
pub(crate) use workspace::Workspace;

use std::time::Duration;

/// The program under test.
pub(crate) const PYRO: &str = env!("CARGO_BIN_EXE_pyro");

/// The environment that most tests run in.
pub(crate) const DEBIAN: &str = "debian:12";

/// Nothing takes this long unless it hangs: guards hangs on a machine that is swamped, measures nothing.
pub(crate) const HANG_SECONDS_MAX: Duration = Duration::from_secs(240);

/// What has been told to end, or has lost who held it, is gone within this.
pub(crate) const GONE_SECONDS_MAX: Duration = Duration::from_secs(30);
