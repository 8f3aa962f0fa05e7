//! Every bound of applying that is not the caller's to set.

/// Largest side of a text that is merged; beyond it, two changes of a file are a conflict.
pub(crate) const MERGED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of a file that are read at a time to compare or copy it.
pub(crate) const PART_BYTES: usize = 64 * 1024;
