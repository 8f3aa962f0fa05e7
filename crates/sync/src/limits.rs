//! Every limit of this crate, by name, with its unit last. It holds numbers only.

/// Entries that one source may have.
pub const SOURCE_ENTRIES_MAX: u64 = 4_000_000;
/// Bytes of names that are kept while a source is read: of a directory's entries, or of an archive's paths.
pub const SOURCE_NAMES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What cannot be taken from a directory is named so many times, and counted beyond.
pub const SOURCE_TROUBLES_NAMED_MAX: usize = 20;
/// Bytes that are read from a file or an archive at a time.
pub const SOURCE_READ_BYTES: usize = 64 * 1024;
/// A batch is sent when it holds this much. With one more header and one more read it stays within
/// [`pyro_proto::limits::TREE_PIECE_BYTES_MAX`].
pub const SOURCE_BATCH_BYTES: usize = 40 * 1024;
/// Characters of a name in an error.
pub const SHOWN_NAME_CHARACTERS_MAX: usize = 200;
/// Zeros that make a hole when an archive is read: a block of the guest's file system.
pub const HOLE_BYTES: usize = 4096;
/// Times that a path is looked up again when the kernel could not tell whether it stayed inside.
pub const LOOKUPS_MAX: u32 = 16;

/// Bytes of contents that an archive may unpack to, unless the caller says otherwise.
pub const ARCHIVE_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// Bytes of one record that describes the next entry: a long name, or PAX attributes.
pub const ARCHIVE_RECORD_BYTES_MAX: u64 = 1024 * 1024;
/// Runs of data in one sparse file of an archive.
pub const ARCHIVE_SPARSE_RUNS_MAX: usize = 256 * 1024;
/// Memory that unpacking xz may take; its strongest preset needs 65 MiB.
pub const ARCHIVE_XZ_MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Largest window of a zstd archive, as a power of two: what `zstd -d` takes without being asked.
pub const ARCHIVE_ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Bytes of one file of patterns.
pub const IGNORE_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a repository's index.
pub const INDEX_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of a repository's configuration, and of its other small files.
pub const GIT_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of one file's contents that are kept in memory while changes are read; the rest is in a temporary file.
pub const CONTENTS_MEMORY_BYTES: usize = 1024 * 1024;
