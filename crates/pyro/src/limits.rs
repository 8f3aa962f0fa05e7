//! Bounds of what may be asked for.

use std::time::Duration;

/// Longest time limit of a command and longest life of a VM: 30 days.
pub const SECONDS_MAX: u64 = 30 * 24 * 3600;

/// Captured output of one stream kept for a JSON result; beyond, head and tail are kept and the cut counted.
pub const CAPTURE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A shim that was started answers within this.
pub const SHIM_ANSWER_SECONDS_MAX: Duration = Duration::from_secs(10);

/// A shim that was told to end is gone within this.
pub const SHIM_END_SECONDS_MAX: Duration = Duration::from_secs(15);

/// A caller whose work was called off waits so long for the shim that it leaves.
pub const SHIM_DROP_SECONDS_MAX: Duration = Duration::from_secs(2);

/// How often it looks.
pub const SHIM_DROP_POLL: Duration = Duration::from_millis(2);

/// Times a template that turns out unusable is made again within one command.
pub const TEMPLATE_REMAKES_MAX: u32 = 1;

/// Size of a VM's disk as the guest sees it; on the host it takes what was written.
pub const SCRATCH_BYTES: u64 = 32 * 1024 * 1024 * 1024;

/// Part of a template's key: another release may ask other things of a guest before it is saved.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
