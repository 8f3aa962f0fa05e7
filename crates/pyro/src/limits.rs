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

/// Times a workspace is started within one command: again where its VM came up behind somebody's back and went.
pub const STARTS_MAX: u32 = 3;

/// Times a template that turns out unusable is made again within one command.
pub const TEMPLATE_REMAKES_MAX: u32 = 1;

/// Size of a VM's disk as the guest sees it; on the host it takes what was written.
pub const SCRATCH_BYTES: u64 = 32 * 1024 * 1024 * 1024;

/// Part of a template's key: another release may ask other things of a guest before it is saved.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// Pieces of a tree that its source may be ahead of the call that sends it.
pub const TREE_PIECES_AHEAD: usize = 8;

/// A workspace that was told to stop has written its disk and is gone within this.
pub const WORKSPACE_STOP_SECONDS_MAX: Duration = Duration::from_secs(120);

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

/// VMs that wait for whoever comes, unless something else is asked for.
pub const POOL_VMS_DEFAULT: usize = 2;

/// VMs that may wait at once: each has some 25 MiB of its own.
pub const POOL_VMS_MAX: usize = 16;

/// A VM that nobody has taken goes after this.
pub const POOL_IDLE_SECONDS: u64 = 300;

/// A parked VM that does not answer within this is of no use; forking another takes a tenth of it.
pub const POOL_ANSWER_SECONDS_MAX: Duration = Duration::from_secs(2);

/// A parked VM that is to end is gone within this.
pub const POOL_END_SECONDS_MAX: Duration = Duration::from_secs(5);

/// A parked VM that has taken an order has brought it about within this; after that another does.
pub const POOL_TAKE_SECONDS_MAX: Duration = Duration::from_secs(5);

/// A VM that was started to be parked is within this, or never: while its supervisor lives, it counts until then.
pub const POOL_BIRTH_SECONDS_MAX: Duration = Duration::from_secs(60);

/// How long who fills the pool behind everybody's back waits for another who does.
pub const POOL_REFILL_PATIENCE: Duration = Duration::from_secs(5);

/// How long filling the pool may take, the making of a template aside.
pub const POOL_FILL_SECONDS_MAX: Duration = Duration::from_secs(120);

/// How often it is looked whether the pool is full.
pub const POOL_FILL_POLL: Duration = Duration::from_millis(10);

/// Copies of a workspace that are made at once.
pub const FORKS_MAX: usize = 64;

/// Copies that are given up at once.
pub const UNDONE_AT_ONCE: usize = 8;

/// A VM whose guest's unwritten data does not matter is gone within this, or its supervisor hangs.
pub const WORKSPACE_DISCARD_SECONDS_MAX: Duration = Duration::from_secs(10);

/// A supervisor that has nothing left to do is gone within this.
pub const SHIM_GONE_SECONDS_MAX: Duration = Duration::from_secs(2);

/// A supervisor that had to be killed is gone within this.
pub const SHIM_KILLED_SECONDS_MAX: Duration = Duration::from_secs(5);

/// A snapshot is taken within this: the guest may have gigabytes to write first, and its memory to be copied.
pub const SNAPSHOT_SECONDS_MAX: Duration = Duration::from_secs(1_800);

/// How long who collects what nobody needs waits for those who make or open some of it.
pub const COLLECT_PATIENCE: Duration = Duration::from_secs(2);

/// Layers up to this size are made one right when a snapshot is deleted; larger ones when somebody collects.
pub const MERGE_AT_ONCE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Layers of a disk from which on they are looked through, before its VM starts, for some that can be made one: each
/// live copy, pause and snapshot adds one.
pub const LAYERS_UNMERGED_MAX: usize = 16;

/// Names shown for a snapshot that is not there.
pub const CLOSE_SNAPSHOTS_MAX: usize = 3;

/// Characters that one reading of a shell gives unless told otherwise.
pub const SHELL_READ_CHARS_DEFAULT: u64 = 65_536;

/// Characters that one reading of a shell can give.
pub const SHELL_READ_CHARS_MAX: u64 = 16 * 1024 * 1024;

/// A reading ends when a shell was quiet for so long, unless told otherwise.
pub const SHELL_IDLE_MS_DEFAULT: u64 = 100;

/// A reading that waits for quiet takes no longer than this, unless told otherwise.
pub const SHELL_WAIT_MS_DEFAULT: u64 = 1_000;

/// A reading that waits for a text takes no longer than this, unless told otherwise.
pub const SHELL_UNTIL_MS_DEFAULT: u64 = 30_000;

/// The longest that a reading waits, a day.
pub const SHELL_WAIT_MS_MAX: u64 = 24 * 3600 * 1000;

/// A shell that has not taken what is typed within this does not read.
pub const SHELL_WRITE_SECONDS_MAX: Duration = Duration::from_secs(30);

/// Characters that empty space may take in a rendered text.
pub const PLAIN_CELLS_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a pattern to wait for.
pub const PATTERN_BYTES_MAX: usize = 4 * 1024;

/// A shell that is closed has so long before it is killed, unless told otherwise.
pub const SHELL_GRACE_SECONDS_DEFAULT: u64 = 5;

/// A service that is stopped has so long before it is killed, unless told otherwise.
pub const SERVICE_GRACE_SECONDS_DEFAULT: u64 = 10;

/// The longest that a shell or a service can be given to end.
pub const GRACE_SECONDS_MAX: u64 = 3_600;

/// The longest that a service can take to become ready.
pub const READY_SECONDS_MAX: u64 = 24 * 3600;

/// Lines of a log that are shown unless told otherwise.
pub const LOG_LINES_DEFAULT: u64 = 200;

/// Lines of a log that a failure shows.
pub const LOG_LINES_OF_FAILURE: u64 = 20;

/// Bytes of a log read at once.
pub const LOG_PIECE_BYTES: usize = 256 * 1024;

/// A shell that has printed nothing after this has no prompt.
pub const SHELL_PROMPT_SECONDS_MAX: Duration = Duration::from_secs(2);
