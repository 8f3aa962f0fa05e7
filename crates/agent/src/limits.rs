//! Every bound of the agent, with its unit last in its name.

use std::time::Duration;

/// Devices that have not shown up by then are not there. They are found while the kernel's module
/// loading runs, so in practice none is waited for.
pub(crate) const DEVICES_SECONDS_MAX: Duration = Duration::from_secs(10);

/// Pause between two looks for a device.
pub(crate) const DEVICES_RECHECK_MS: Duration = Duration::from_millis(5);

/// First and longest pause between two looks for a host that has closed its end of a port, or that no connection comes to.
pub(crate) const HOST_RECHECK_MS_MIN: Duration = Duration::from_millis(5);
/// See [`HOST_RECHECK_MS_MIN`].
pub(crate) const HOST_RECHECK_MS_MAX: Duration = Duration::from_millis(500);

/// Commands that do not stand after this will as soon as they leave the kernel.
pub(crate) const HALT_WAIT_MS_MAX: Duration = Duration::from_millis(250);

/// Pause between two looks whether they do.
pub(crate) const HALT_RECHECK_MS: Duration = Duration::from_millis(1);

/// Length of `/modules/order`.
pub(crate) const MODULE_ORDER_BYTES_MAX: usize = 64 * 1024;

/// Memory that the guest's processes together leave to the kernel and the agent.
pub(crate) const MEMORY_RESERVE_BYTES: u64 = 48 * 1024 * 1024;

/// Processes and threads of all commands together.
pub(crate) const PROCESSES_MAX: u32 = 8_192;

/// Depth of control groups that a command may leave behind inside its own and have removed.
pub(crate) const CGROUP_DEPTH_MAX: u32 = 8;

/// Bytes gathered into one write to a lane; the kernel cuts a port's write at 32 KiB
/// (`drivers/char/virtio_console.c`).
pub(crate) const LANE_WRITE_BYTES_MAX: usize = 32 * 1024;

/// Frames waiting for a lane; a call with more to send waits its turn.
pub(crate) const LANE_QUEUE_FRAMES_MAX: usize = 16;

/// Holds and releases of the lanes that wait for their reply, besides the calls.
pub(crate) const LANE_CALLS_MAX: usize = 16;

/// Bytes of standard input kept for calls that are not opened yet: the two lanes overtake one another.
pub(crate) const EARLY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Inputs (signals, resizes) that wait for one call.
pub(crate) const INPUTS_MAX: usize = 64;

/// Length of the guest's `/etc/passwd` and `/etc/group`; what is beyond is not read.
pub(crate) const ACCOUNTS_BYTES_MAX: usize = 1024 * 1024;

/// Supplementary groups of one user (`NGROUPS_MAX` of Linux).
pub(crate) const GROUPS_MAX: usize = 65_536;

/// Stack of a child between its birth and its `execve`; it calls nothing but the kernel.
pub(crate) const CHILD_STACK_BYTES: usize = 32 * 1024;

/// Soft limit of open files that a command starts with, as a login has it.
pub(crate) const OPEN_FILES_SOFT: u64 = 1_024;
/// Hard limit of open files of every process in the guest.
pub(crate) const OPEN_FILES_HARD: u64 = 1_048_576;

/// What a terminal can still hold when its command has ended (`TTYB_DEFAULT_MEM_LIMIT` of Linux is
/// 640 KiB); what background processes write beyond that is not waited for.
pub(crate) const TERMINAL_DRAIN_BYTES_MAX: usize = 1024 * 1024;

/// Between two pieces of output of a service, while a command runs that somebody waits for.
pub(crate) const MAKE_WAY_MS: Duration = Duration::from_millis(2);

/// Bytes a second that a shell prints meanwhile: a terminal costs the kernel a switch for every line, which is dear where
/// guests are emulated.
pub(crate) const MAKE_WAY_TERMINAL_BYTES_PER_SECOND: u32 = 32 * 1024;

/// Bytes that it prints at once all the same: what keys and screens come to.
pub(crate) const MAKE_WAY_TERMINAL_BURST_BYTES: u32 = 2 * 1024;

/// A shell's share of the processor where a command wants it too, which has 100 (Linux, cgroup-v2.rst, `cpu.weight`).
pub(crate) const GIVE_WAY_CPU_WEIGHT: &[u8] = b"20";

/// Bytes of the base image read ahead for a template.
pub(crate) const WARM_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// Bytes of one file read ahead.
pub(crate) const WARM_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Files read ahead.
pub(crate) const WARM_FILES_MAX: usize = 128;

/// Length of a small file of the kernel's or the guest's that the agent reads whole.
pub(crate) const SMALL_FILE_BYTES_MAX: usize = 64 * 1024;

/// Length of the record of whose identity a disk bears: a host name, a machine id, and a newline each.
pub(crate) const IDENTITY_BYTES_MAX: usize = HOSTNAME_BYTES_MAX + 34;

/// Length of a host name (`HOST_NAME_MAX` of Linux).
pub(crate) const HOSTNAME_BYTES_MAX: usize = 64;

/// Bytes moved at once between an archive and an image.
pub(crate) const UNPACK_BUFFER_BYTES: usize = 1024 * 1024;

/// Pause between two progress events.
pub(crate) const PROGRESS_MS_MIN: Duration = Duration::from_millis(100);

/// Directories of one archive, whose times are set at the end.
pub(crate) const ARCHIVE_DIRECTORIES_MAX: usize = 1_000_000;

/// Depth of one path of an archive.
pub(crate) const ARCHIVE_PATH_DEPTH_MAX: usize = 256;

/// Trees that move into or out of a workspace at once; others wait.
pub(crate) const TRANSFERS_MAX: usize = 4;

/// Threads for work that blocks: transfers (or a builder's unpacking), and besides them what commands wait for
/// at their end.
pub(crate) const BLOCKING_THREADS_MAX: usize = TRANSFERS_MAX + 4;

/// Pieces of a tree stream between the event loop and a transfer's thread.
pub(crate) const TRANSFER_QUEUE_PIECES_MAX: usize = 4;

/// Entries of one stream towards the guest.
pub(crate) const TREE_ENTRIES_MAX: u64 = 4_000_000;

/// Removals and expectations of one push.
pub(crate) const TREE_CONDITIONS_MAX: u64 = 1_000_000;

/// Length of a symlink's target (`PATH_MAX` of Linux without its NUL).
pub(crate) const TREE_TARGET_BYTES_MAX: usize = 4_095;

/// Symlinks that one path leads through (`MAXSYMLINKS` of Linux).
pub(crate) const SYMLINKS_MAX: usize = 40;

/// Files with several names that one export remembers.
pub(crate) const HARD_LINKS_MAX: usize = 1_000_000;

/// Length of the plan of one push on the disk.
pub(crate) const PLAN_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Directories open above one another while a tree is removed.
pub(crate) const REMOVE_DEPTH_MAX: usize = 64;

/// Length of a group's list of processes, with as many digits as a process id has.
pub(crate) const PROCESS_LIST_BYTES_MAX: usize = PROCESSES_MAX as usize * 8;

/// A service without a probe is taken for ready when it has lived so long.
pub(crate) const READY_MS_DEFAULT: Duration = Duration::from_millis(250);

/// Between the first two probes; each further pause is twice as long, up to what was asked for.
pub(crate) const PROBE_PAUSE_MS_MIN: Duration = Duration::from_millis(20);

/// One try of a file, an address or a URL takes no longer.
pub(crate) const PROBE_SECONDS_MAX: Duration = Duration::from_secs(5);

/// A try that has been silent for so long when the time is over hangs; a shorter one was merely the last.
pub(crate) const PROBE_HANGS_MS_MIN: Duration = Duration::from_millis(500);

/// An address of the guest's own that is taken accepts a connection within this.
pub(crate) const TAKEN_MS_MAX: Duration = Duration::from_millis(500);

/// One run of a readiness command takes no longer.
pub(crate) const PROBE_COMMAND_SECONDS_MAX: Duration = Duration::from_secs(10);

/// Of what was asked, so much is told when it was not answered well.
pub(crate) const PROBE_SUBJECT_CHARACTERS_MAX: usize = 300;

/// Head of an HTTP answer that is read, and header lines in it.
pub(crate) const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;
/// See [`HTTP_HEAD_BYTES_MAX`].
pub(crate) const HTTP_HEADERS_MAX: usize = 128;

/// A service that is not ready in time has so long to end before it is killed.
pub(crate) const UNREADY_GRACE_SECONDS: Duration = Duration::from_secs(10);

/// First and longest pause before a service is started again, and how long it must have been ready for the first one to
/// count again (as Docker documents its restart policies).
pub(crate) const RESTART_PAUSE_MS_MIN: Duration = Duration::from_millis(100);
/// See [`RESTART_PAUSE_MS_MIN`].
pub(crate) const RESTART_PAUSE_SECONDS_MAX: Duration = Duration::from_secs(60);
/// See [`RESTART_PAUSE_MS_MIN`].
pub(crate) const RESTART_RESET_SECONDS: Duration = Duration::from_secs(10);

/// Processes that were killed are gone within this, unless they hang in the kernel.
pub(crate) const KILLED_SECONDS_MAX: Duration = Duration::from_secs(5);

/// First and longest pause between two looks whether a command's processes are gone.
pub(crate) const TREE_RECHECK_MS_MIN: Duration = Duration::from_millis(1);
/// See [`TREE_RECHECK_MS_MIN`].
pub(crate) const TREE_RECHECK_MS_MAX: Duration = Duration::from_millis(16);

/// Highest signal number of Linux.
pub(crate) const SIGNAL_MAX: u8 = 64;

/// Pieces of one sparse file in an archive.
pub(crate) const ARCHIVE_SEGMENTS_MAX: usize = 100_000;

/// Length of one extended header of an archive.
pub(crate) const ARCHIVE_EXTENSION_BYTES_MAX: usize = 1024 * 1024;
