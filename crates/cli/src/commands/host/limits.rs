//! Bounds of what is read of hosts' files and heard from a server that is tried.

use std::time::Duration;

/// A configuration file that is larger is no work of a person; Claude Code's, with the history in it, has a few MB.
pub(super) const CONFIGURATION_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Symbolic links that are followed to a file, as many as Linux follows (path_resolution(7)).
pub(super) const SYMLINK_HOPS_MAX: usize = 40;

/// Copies that are kept of a file beside it.
pub(super) const BACKUPS_MAX: u32 = 1000;

/// A server answers `initialize` and `tools/list` within this, all together.
pub(super) const PROBE_SECONDS_MAX: Duration = Duration::from_secs(30);

/// A server whose input has ended is gone within this.
pub(super) const PROBE_END_SECONDS_MAX: Duration = Duration::from_secs(10);

/// Longest message of a server: all tools of a profile with their schemas take a few hundred kB.
pub(super) const PROBE_MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Pages of a list of tools.
pub(super) const PROBE_PAGES_MAX: usize = 100;

/// The end of what a server said on standard error that is shown when it fails.
pub(super) const PROBE_STDERR_BYTES_MAX: usize = 4 * 1024;

/// How long a host waits for one call: a first `workspace_create` makes an environment, which takes minutes, and
/// commands take as long as they are given.
pub(super) const CALL_SECONDS: u64 = 3_600;

/// How long a host waits for the server to start, on a machine that is swamped.
pub(super) const START_SECONDS: u64 = 60;
