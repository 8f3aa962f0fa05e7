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

/// Pieces of a tree that its source may be ahead of the call that sends it.
pub const TREE_PIECES_AHEAD: usize = 8;

/// A workspace that was told to stop has written its disk and is gone within this.
pub const WORKSPACE_STOP_SECONDS_MAX: Duration = Duration::from_secs(90);

/// The supervisor of a stopped workspace lets go of it within this.
pub const WORKSPACE_RELEASE_SECONDS_MAX: Duration = Duration::from_secs(15);

/// How often that is looked at.
pub const WORKSPACE_RELEASE_POLL: Duration = Duration::from_millis(5);

/// A file larger than this, before or after, is left out of a diff unless more is asked for.
pub const DIFF_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of a patch kept in memory; what is beyond goes to a temporary file.
pub const PATCH_MEMORY_BYTES: usize = 8 * 1024 * 1024;

/// Longest patch that is applied to a workspace.
pub const PATCH_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Symbolic links that are followed to a file, as many as Linux follows (path_resolution(7)).
pub const SYMLINK_HOPS_MAX: usize = 40;

/// Commands of a history that are read at once.
pub const HISTORY_PAGE_ENTRIES: usize = 500;

/// Commands and paths shown in a summary.
pub const SUMMARY_ITEMS_MAX: usize = 20;

/// Bytes of a file that a result holds when no other bound was given.
pub const FILE_RESULT_BYTES_MAX: u64 = 1024 * 1024;

/// Longest file that a patch is applied to: it is held in memory.
pub const PATCH_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of one export: no workspace's disk holds more. Holes count as what they look like.
pub const EXPORT_BYTES_MAX: u64 = 1024 * SCRATCH_BYTES;

/// Entries of one export.
pub const EXPORT_ENTRIES_MAX: u64 = 16_000_000;

/// Bytes that one apply may write to the host.
pub const APPLY_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Changes that one apply may have.
pub const APPLY_CHANGES_MAX: usize = 1_000_000;
