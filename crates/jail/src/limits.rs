//! Every bound of this crate.

use std::time::Duration;

/// Longest path an intercepted open may name, in bytes: ours are `/proc/self/fd/N`.
pub(crate) const ANSWERED_PATH_BYTES_MAX: usize = 128;

/// Longest wait for the child to hand over its seccomp listener. It does so before exec, so that the parent,
/// which has seen the exec, normally finds it waiting.
pub(crate) const LISTENER_WAIT_MAX: Duration = Duration::from_secs(2);

/// Stack of the thread that answers intercepted opens, in bytes.
pub(crate) const ATTENDANT_STACK_BYTES: usize = 128 * 1024;

/// Highest capability number the bounding set is cleared up to; the kernel ends the loop earlier.
pub(crate) const CAPABILITY_NUMBER_MAX: u32 = 63;
