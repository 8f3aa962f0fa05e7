//! Bounds of the store.

/// How long a writer waits for another before it gives up.
pub const BUSY_MILLISECONDS_MAX: u64 = 5_000;

/// Characters of an id.
pub const ID_CHARS: usize = 12;

/// VMs listed or reconciled at once; more than any machine holds.
pub const VMS_MAX: usize = 100_000;

/// Pages of the write-ahead log before it is written back. The first to open the database reads all of it.
pub const LOG_PAGES: u32 = 200;
