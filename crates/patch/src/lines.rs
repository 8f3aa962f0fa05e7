//! Bytes as lines, each with its line feed, and the question whether bytes are text.

use crate::limits::{BINARY_PROBE_BYTES, TEXT_BYTES_MAX, TEXT_LINES_MAX};

/// Whether git takes these bytes for binary: a NUL among the first.
pub fn is_binary(bytes: &[u8]) -> bool {
    bytes.get(..BINARY_PROBE_BYTES).unwrap_or(bytes).contains(&0)
}

/// Whether these bytes are more text than a diff is made of.
pub(crate) fn is_too_large(bytes: &[u8]) -> bool {
    bytes.len() > TEXT_BYTES_MAX || split(bytes).take(TEXT_LINES_MAX + 1).count() > TEXT_LINES_MAX
}

/// The lines, the last without a line feed when it has none. A carriage return is part of its line.
pub(crate) fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}
