//! Every limit of this crate, by name, with its unit last. It holds numbers only.

use std::time::Duration;

/// How long one run of the archive tool may take. A slow line needs minutes for 200 MB; nothing sane needs an hour.
pub const ARCHIVE_RUN_MAX: Duration = Duration::from_secs(60 * 60);
/// How long a small tool (mke2fs, e2fsck, dpkg-deb, rm, newuidmap) may take.
pub const SMALL_TOOL_RUN_MAX: Duration = Duration::from_secs(10 * 60);
/// How long a killed process tree may take to be gone.
pub const TREE_GONE_MAX: Duration = Duration::from_secs(10);
/// How often a running child, a lock and the cancellation flag are looked at.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The longest line kept of a tool's output; the rest of the line is dropped.
pub const TOOL_LINE_BYTES_MAX: usize = 4 * 1024;
/// How many of a tool's last lines an error carries.
pub const TOOL_TAIL_LINES_MAX: usize = 20;
/// How many of a tool's own error lines are looked at to tell what went wrong.
pub const TOOL_ERROR_LINES_MAX: usize = 64;
/// How many lines may wait between a tool and its reader.
pub const TOOL_LINES_QUEUED_MAX: usize = 256;

/// The largest manifest (environment, kernel, guest kit) that is read.
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The largest record (package stanza, release file) taken from the archive tool.
pub const RECORD_BYTES_MAX: u64 = 1024 * 1024;
/// The largest `var/lib/dpkg/status` read from a root file system.
pub const STATUS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The largest root file system archive.
pub const ROOTFS_TAR_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// The most entries a root file system archive may have.
pub const ROOTFS_ENTRIES_MAX: u64 = 4_000_000;
/// A tar is made of blocks of this size, and so is a block device.
pub const TAR_BLOCK_BYTES: u64 = 512;

/// The largest compressed kernel image (`vmlinuz`).
pub const BZIMAGE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// The largest decompressed kernel.
pub const VMLINUX_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The largest single kernel module, decompressed.
pub const MODULE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The most modules a kernel package may have.
pub const MODULES_MAX: usize = 20_000;
/// The largest sum of all modules of a package, decompressed.
pub const MODULES_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// The most modules one guest loads at boot.
pub const LOADED_MODULES_MAX: usize = 64;
/// An LZ4 legacy frame's blocks hold at most this much data.
pub const LZ4_LEGACY_BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The largest initramfs that is built.
pub const INITRAMFS_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The block size of root images.
pub const ROOT_IMAGE_BLOCK_BYTES: u64 = 4096;
/// Root images grow in steps of this size.
pub const ROOT_IMAGE_STEP_BYTES: u64 = 8 * 1024 * 1024;
/// Room left in a root image for the file system's own tables and directories.
pub const ROOT_IMAGE_SLACK_BYTES: u64 = 24 * 1024 * 1024;
/// Inodes of a root image beyond one per archive entry.
pub const ROOT_IMAGE_SLACK_INODES: u64 = 4096;

/// How many near names an unknown environment's error carries.
pub const NEAR_NAMES_MAX: usize = 3;
/// The longest environment name that is looked at.
pub const ENVIRONMENT_NAME_BYTES_MAX: usize = 128;
/// How many entries of one cache directory are looked at.
pub const CACHE_ENTRIES_MAX: usize = 10_000;
