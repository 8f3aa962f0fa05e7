//! The KVM lane: pyro under real KVM, over vsock and over the serial port, on an outer machine that has both devices as an
//! ordinary distribution has them. `scripts/kvm-lane.sh` makes that machine and runs this in it.
//!
//! Most tests are those of `end_to_end`, in the same files; what runs guests and how they are spoken to comes from the
//! environment, see `support`. Those in `lane` are about the host's devices and who may use them, and run nowhere else.

#![allow(clippy::print_stdout, reason = "what a failure can be understood by")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, unused_imports, reason = "shared with `end_to_end`, which uses all of it")]

#[path = "../support/mod.rs"]
mod support;

mod lane;

#[path = "../exit_codes.rs"]
mod exit_codes;
#[path = "../forks.rs"]
mod forks;
#[path = "../guest.rs"]
mod guest;
#[path = "../host.rs"]
mod host;
#[path = "../live_forks.rs"]
mod live_forks;
#[path = "../memories.rs"]
mod memories;
#[path = "../pauses.rs"]
mod pauses;
#[path = "../pool.rs"]
mod pool;
#[path = "../resets.rs"]
mod resets;
#[path = "../services.rs"]
mod services;
#[path = "../shells.rs"]
mod shells;
#[path = "../signals.rs"]
mod signals;
#[path = "../snapshots.rs"]
mod snapshots;
#[path = "../streams.rs"]
mod streams;
#[path = "../templates.rs"]
mod templates;
#[path = "../transcript.rs"]
mod transcript;
#[path = "../uniqueness.rs"]
mod uniqueness;
#[path = "../workspaces.rs"]
mod workspaces;
