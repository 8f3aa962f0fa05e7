//! Every bound of this crate.

/// First bytes of a file in which a NUL makes it binary, as git decides.
pub(crate) const BINARY_PROBE_BYTES: usize = 8000;

/// Longest side of a text diff; a larger file is carried as a whole, like a binary one.
pub(crate) const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most lines on one side of a text diff, for the same reason.
pub(crate) const TEXT_LINES_MAX: usize = 250_000;

/// Lines of one side times lines of the other, what they share at both ends aside, that are compared in one
/// diff. Beyond it, a text is cut, and what is still too much is replaced as a whole.
pub(crate) const DIFF_PAIRS_MAX: usize = 6_000 * 6_000;

/// Bytes that one line of a binary patch stands for.
pub(crate) const BASE85_LINE_BYTES_MAX: usize = 52;

/// Comparisons of lines in the search for the places of one file's hunks.
pub(crate) const SEARCH_COMPARISONS_MAX: usize = 50_000_000;

/// Lines that are moved in the time of one comparison.
pub(crate) const LINES_MOVED_PER_COMPARISON: usize = 8;

/// Files in one patch.
pub(crate) const SECTIONS_MAX: usize = 1_000_000;

/// Columns of a name in a table of changes; a longer one loses its beginning.
pub(crate) const STAT_NAME_COLUMNS_MAX: usize = 50;

/// Columns of the bar of `+` and `-` behind it.
pub(crate) const STAT_BAR_COLUMNS_MAX: u64 = 24;
