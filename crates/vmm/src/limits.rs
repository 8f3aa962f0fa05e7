//! Every bound of this crate.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Virtual CPUs of one machine.
pub const VCPU_COUNT: RangeInclusive<u8> = 1..=32;

/// Memory of one machine, in MiB. The kernel and its initramfs need about 100.
pub const MEMORY_MIB: RangeInclusive<u32> = 128..=262_144;

/// Context ids that are tried before there is taken to be none: of two thousand million, one is as good as never taken.
pub(crate) const CID_TRIES_MAX: u32 = 16;

/// Disks of one machine.
pub const DISKS_MAX: usize = 8;

/// Length of a disk's serial, in bytes (`VIRTIO_BLK_ID_BYTES`, linux/virtio_blk.h).
pub const SERIAL_BYTES_MAX: usize = 20;

/// Length of the kernel command line, in bytes (`COMMAND_LINE_SIZE` on x86).
pub const COMMAND_LINE_BYTES_MAX: usize = 2047;

/// Console kept per VM, in bytes.
pub const CONSOLE_TAIL_BYTES: usize = 64 * 1024;

/// Messages of QEMU itself kept per VM, in bytes.
pub const STDERR_TAIL_BYTES: usize = 8 * 1024;

/// Longest QMP line, in bytes. `query-migrate`, the longest answer asked for, has about 1 KiB.
pub const QMP_LINE_BYTES_MAX: usize = 64 * 1024;

/// Most QMP messages read while waiting for one answer.
pub const QMP_MESSAGES_MAX: usize = 4096;

/// Time QEMU has from start to its QMP greeting: 30 ms idle, seconds when twenty start at once.
pub const QMP_GREETING_MAX: Duration = Duration::from_secs(20);

/// Time one QMP command has.
pub const QMP_COMMAND_MAX: Duration = Duration::from_secs(10);

/// Time the device state has to be loaded or saved; it is well under a megabyte.
pub const MIGRATION_MAX: Duration = Duration::from_secs(60);

/// Time a QEMU told to quit has before it is killed.
pub const QUIT_MAX: Duration = Duration::from_secs(5);

/// Time the last messages of a QEMU that has ended are read for.
pub const DRAIN_MAX: Duration = Duration::from_millis(200);

/// Time `qemu --version` has.
pub const VERSION_MAX: Duration = Duration::from_secs(5);

/// Output of `qemu --version` read, in bytes.
pub const VERSION_OUTPUT_BYTES_MAX: u64 = 4096;

/// How long the TSC is compared with the clock: two readings, each good to some 100 ns, make that 5 ppm.
pub const TSC_SAMPLE: Duration = Duration::from_millis(40);

/// Translation cache under TCG, in MiB. A cold boot fills about 25; a build or an interpreter more.
pub const TRANSLATION_CACHE_MIB: u32 = 128;

/// Address space QEMU needs beside guest memory and translation cache, in bytes: libraries, one 64 MiB heap
/// arena and one 8 MiB stack per thread.
pub const ADDRESS_SPACE_SLACK_BYTES: u64 = 4 << 30;

/// Descriptors QEMU may hold open, and the highest number one may have: two for each layer of a disk, and the
/// numbers of those it inherits are the shim's, which has as many files open meanwhile.
pub const OPEN_FILES_MAX: u64 = 512;

/// Layers between a disk's overlay and the raw file under all. Each costs QEMU two descriptors, and a read of
/// what none of them holds asks every one.
pub const LAYERS_MAX: usize = 64;

/// Number of the first descriptor set made while a VM runs: above those of its start, which are numbered as the
/// descriptors in them.
pub(crate) const LIVE_SET_FIRST: u64 = OPEN_FILES_MAX;

/// What is read of `/proc/PID/maps`, in bytes: a QEMU has some 500 mappings of 100 bytes.
pub(crate) const MAPS_BYTES_MAX: u64 = 1 << 20;

/// Pages of guest memory looked up at once; eight bytes each.
pub(crate) const PAGEMAP_PAGES_MAX: usize = 32 * 1024;

/// Guest memory copied at once, in bytes.
pub(crate) const COPY_BYTES_MAX: usize = 1 << 20;

/// Size of a template's metadata, in bytes.
pub const TEMPLATE_METADATA_BYTES_MAX: u64 = 64 * 1024;

/// Size of a template's device state, in bytes: 60 KiB measured for two disks and two ports.
pub const TEMPLATE_STATE_BYTES_MAX: u64 = 64 << 20;

/// Virtual size of a scratch disk, in bytes.
pub const SCRATCH_BYTES_DEFAULT: u64 = 32 << 30;

/// Sizes a scratch disk may have, in bytes: from a few times its journal.
pub const SCRATCH_BYTES: RangeInclusive<u64> = (256 << 20)..=(1 << 40);

/// Time `mke2fs` has: well under a second even for the largest size, because it writes lazily.
pub const MAKE_FILESYSTEM_MAX: Duration = Duration::from_secs(60);

/// What is read of `/proc/cpuinfo`, in bytes: the first processor takes about 2 KiB.
pub const PROCESSOR_BYTES_MAX: u64 = 8 * 1024;
