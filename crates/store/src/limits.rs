//! Bounds of the store.

use std::time::Duration;

/// How long a writer waits for another before it gives up.
pub const BUSY_MILLISECONDS_MAX: u64 = 5_000;

/// Between two tries to open a database that others make at the same time.
pub const OPEN_RETRY: Duration = Duration::from_millis(5);

/// Characters of an id.
pub const ID_CHARS: usize = 12;

/// VMs listed or reconciled at once; more than any machine holds.
pub const VMS_MAX: usize = 100_000;

/// Pages of the write-ahead log before it is written back. The first to open the database reads all of it.
pub const LOG_PAGES: u32 = 200;

/// Bytes of a workspace's name.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of a label's key.
pub const LABEL_KEY_BYTES_MAX: usize = 63;

/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;

/// Labels of one workspace.
pub const LABELS_MAX: usize = 32;

/// Workspaces listed or reconciled at once; more than any machine holds.
pub const WORKSPACES_MAX: usize = 100_000;

/// Names shown for a reference that names nothing.
pub const CLOSE_NAMES_MAX: usize = 3;

/// Candidates shown for a reference that names several.
pub const CANDIDATES_MAX: usize = 8;

/// Bytes of a key that a kept image is named by.
pub const IMAGE_KEY_BYTES_MAX: usize = 128;

/// Bytes of a snapshot's name.
pub const SNAPSHOT_NAME_BYTES_MAX: usize = 64;

/// Snapshots of one workspace, without its baseline.
pub const SNAPSHOTS_MAX: usize = 100;

/// Layers of one disk, the one that is written included. Each is a file that QEMU holds open, and one more to look
/// into for what was never written.
pub const LAYERS_CHAIN_MAX: usize = 64;

/// How long who has to be alone among the layers waits for those who make some.
pub const LAYERS_ALONE_MILLISECONDS_MAX: u64 = 2_000;

/// Between two tries to take a lock that is waited for with a bound.
pub const LOCK_POLL: Duration = Duration::from_millis(5);

/// Bytes kept from the start of each of a command's outputs.
pub const HISTORY_HEAD_BYTES: u64 = 512 * 1024;

/// Bytes kept from the end of each of a command's outputs.
pub const HISTORY_TAIL_BYTES: u64 = 512 * 1024;

/// Bytes of output written at once: what a crash in the middle of a write may spoil of the oldest.
pub const HISTORY_PIECE_BYTES_MAX: u64 = 64 * 1024;

/// Bytes kept from the end of what a shell prints.
pub const SHELL_OUTPUT_BYTES: u64 = 1024 * 1024;

/// Shells of a workspace whose records and outputs are kept when they have ended, counted from the last.
pub const SHELL_RECORDS_KEPT: u64 = 100;

/// Bytes of a service's name.
pub const SERVICE_NAME_BYTES_MAX: usize = 64;

/// Services of a workspace, running or not.
pub const SERVICES_MAX: usize = 64;

/// Bytes of a service's definition.
pub const SERVICE_DEFINITION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one file of a service's log, with what one write may add.
pub const LOG_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Files of a service's log; of more, the oldest goes.
pub const LOG_SEGMENTS_MAX: usize = 4;

/// Bytes of one line of a log before it is kept in parts.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a log read at once from its end on.
pub const LOG_BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of one line that its parts are put together to; a longer one is given in several.
pub const LOG_JOINED_BYTES_MAX: usize = 1024 * 1024;

/// Commands of a workspace whose outputs are kept, counted from the last.
pub const HISTORY_OUTPUTS_KEPT: u64 = 1_000;

/// Commands of a workspace whose records are kept, counted from the last.
pub const HISTORY_RECORDS_KEPT: u64 = 10_000;

/// Bytes of a command line kept in its record; of more, the end is left out.
pub const HISTORY_COMMAND_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a working directory or user kept in a record.
pub const HISTORY_TEXT_BYTES_MAX: usize = 4 * 1024;

/// Records read at once.
pub const HISTORY_READ_RECORDS_MAX: usize = 10_000;

/// A VMM that was killed is gone within this.
pub const VMM_GONE_MILLISECONDS_MAX: u64 = 5_000;

/// Tries to remove a directory that others put a lock into meanwhile.
pub const REMOVE_TRIES_MAX: u32 = 16;
