//! End to end: the real program, real VMs, in the words of the people who use it.
//!
//! Each test has a machine of its own (state, runtime directory, home); most share one installed environment,
//! pulled by the first run of the suite and kept under cargo's target directory. At most two tests have VMs at
//! a time. When a test's machine goes, nothing of its VMs may be left: no process, socket or directory.

#![allow(clippy::print_stdout, reason = "a seed that a failure can be repeated with")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

mod accelerator;
mod arguments;
mod attach;
mod commands;
mod damage;
mod environments;
mod exit_codes;
mod faults;
mod forks;
mod guest;
mod history;
mod host;
mod hostile;
mod hosts;
mod json;
mod kills;
mod layers;
mod live_forks;
mod mcp_conformance;
mod mcp_http;
mod mcp_recipes;
mod mcp_wire;
mod memories;
mod pauses;
mod pool;
mod readiness;
mod reference;
mod resets;
mod round_trip;
mod seeding;
mod services;
mod shell_outputs;
mod shell_programs;
mod shells;
mod signals;
mod snapshots;
mod stack;
mod storage;
mod streams;
mod taking;
mod templates;
mod terminal;
mod transcript;
mod uniqueness;
mod usage;
mod workspaces;
