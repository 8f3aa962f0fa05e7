//! Bounds of a shim.

use std::time::Duration;

/// A cold boot that has not answered by then is given up and tried once more, with more time: if it was a hang that is over,
/// and if it was the machine's slowness there is an end to it. Cold boots take 2–3 s under emulation on an idle machine,
/// twenty at once about 31 s on two cores, and one on a machine that is emulated itself more than a minute.
pub const BOOT_SECONDS_MAX: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(240)];

/// The same for KVM where it has not proven itself. A boot takes one or two seconds, on an emulated machine up to ten: what
/// is found out here is remembered, and a wrong verdict costs more than half a minute for each transport, once.
pub const PROBE_SECONDS_MAX: Duration = Duration::from_secs(30);

/// A forked guest answers in well under a second; on a machine that is swamped it may take longer.
pub const FORK_ANSWER_SECONDS_MAX: Duration = Duration::from_secs(30);

/// Mounting, warming and preparing a guest.
pub const PREPARE_SECONDS_MAX: Duration = Duration::from_secs(60);

/// Writing a root image.
pub const WRITE_ROOT_SECONDS_MAX: Duration = Duration::from_secs(1_800);

/// Beyond a command's own time limit, which the agent keeps, before the guest counts as hung.
pub const EXEC_GRACE_SECONDS: Duration = Duration::from_secs(5);

/// How soon the guest is asked again when its client, not it, holds up a command's output.
pub const EXEC_STALLED_RECHECK: Duration = Duration::from_secs(1);

/// A client that connects says hello within this.
pub const HELLO_SECONDS_MAX: Duration = Duration::from_secs(10);

/// A client that was told that an idle workspace's VM is well says within this what it wants of it.
pub const REQUEST_SECONDS_MAX: Duration = Duration::from_secs(5);

/// Bytes waiting for the guest. Windows keep honest traffic far below.
pub const AGENT_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes waiting for one client. Windows keep honest traffic far below.
pub const CLIENT_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Frames of clients waiting for the driver; a client beyond that waits in its socket.
pub const DRIVER_QUEUE_FRAMES: usize = 64;

/// Calls of clients open at once; two are left at the agent for the shim's own: a step of a snapshot, and the time.
pub const CALLS_OPEN_MAX: usize = pyro_proto::limits::CALLS_MAX - 2;

/// Clients at once.
pub const CLIENTS_MAX: usize = 64;

/// At its end a shim waits this long for a client to take its last words.
pub const FLUSH_SECONDS_MAX: Duration = Duration::from_secs(1);

/// Largest file the VMM may write: the scratch disk's 32 GiB and the tables of its overlay.
pub const FILE_BYTES_MAX: u64 = 34 * 1024 * 1024 * 1024;

/// Threads of a VMM with a user id of its own: one per processor, and QEMU's workers.
pub const TASKS_MAX: u64 = 256;

/// Free space of the host's disk without which no VM is started: what a guest writes in its first seconds.
pub const SCRATCH_FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// A VMM that was killed is gone within this.
pub const VMM_GONE_SECONDS_MAX: Duration = Duration::from_secs(2);

/// What a guest sent before its end is still handed on, for so long at most.
pub const LAST_WORDS_SECONDS_MAX: Duration = Duration::from_millis(500);

/// A command may run this long at most, 100 years: what is beyond is no time limit.
pub const EXEC_SECONDS_MAX: u64 = 100 * 365 * 24 * 3600;

/// Beyond the end of a workspace's command, before the guest counts as hung: what the command wrote goes to the
/// disk before its reply, at tens of megabytes a second where guests are emulated.
pub const EXEC_FLUSH_SECONDS_MAX: Duration = Duration::from_secs(600);

/// A transfer in which nothing flows for so long, while its client does its part, has a hung guest.
pub const TRANSFER_IDLE_SECONDS_MAX: Duration = Duration::from_secs(600);

/// Events that a call may bring at once, and after a pause.
pub const NEWS_BURST_MAX: u32 = 256;

/// Events that a call may bring in the long run.
pub const NEWS_PER_SECOND_MAX: u32 = 64;

/// A guest that is to end writes its disk out within this.
pub const SYNC_SECONDS_MAX: Duration = Duration::from_secs(60);

/// So long a workspace is waited for that another shim still holds: that one may be ending.
pub const WORKSPACE_WAIT_SECONDS_MAX: Duration = Duration::from_secs(95);

/// A process that was killed holds its locks no longer than this.
pub const DYING_SECONDS_MAX: Duration = Duration::from_secs(1);

/// How often it is looked whether it has let go.
pub const WORKSPACE_POLL: Duration = Duration::from_millis(10);

/// The command that warms a guest up runs no longer than this; it does nothing.
pub const WARM_UP_MS_MAX: u64 = 30_000;

/// A host's clock that is off by more than so much from where it was has jumped: more than a slow read of two clocks.
pub const CLOCK_JUMP_MS_MAX: i128 = 50;

/// A guest that took longer to say that it is prepared is told the time once more: what it needs when it is not kept
/// waiting, and the 50 ms that its clock may be off.
pub const CLOCK_ANSWER_MS_MAX: Duration = Duration::from_millis(75);

/// So often at most a guest's clock is measured.
pub const CLOCK_TRIES_MAX: u32 = 8;

/// A measurement that took no longer is good enough: it is off by half of that at most.
pub const CLOCK_ROUND_MS_MAX: Duration = Duration::from_millis(40);

/// How often an idle VM's host is asked whether its clock has jumped.
pub const CLOCK_CHECK_SECONDS: Duration = Duration::from_secs(30);

/// A parked VM that somebody took, and who then does not come, is given up after this.
pub const CLAIMED_SECONDS_MAX: Duration = Duration::from_secs(10);

/// A guest that is to fall silent does within this; what it has to say first may be long.
pub const HOLD_SECONDS_MAX: Duration = Duration::from_secs(20);

/// Layers that a workspace's disk may have before it takes no further snapshot: each is a file that QEMU holds open.
pub const LAYERS_MAX: usize = 60;

/// Bytes that wait for a guest that must not be spoken to for a moment.
pub const HELD_BACK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Length of one command in what is kept of those in an image of a guest's memory.
pub const CONTINUED_COMMAND_BYTES_MAX: usize = 4 * 1024;

/// Length of what is kept of all of them: as many as there are calls, and JSON makes up to six bytes of one.
pub const CONTINUED_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What a frame of no bytes takes in memory.
pub const FRAME_OVERHEAD_BYTES: usize = 64;

/// How often a parked VM looks whether somebody has taken its ticket.
pub const CLAIM_POLL: Duration = Duration::from_secs(1);

/// A parked guest that does not answer its claimer within this is given up: a fork is quicker.
pub const CLAIMED_PREPARE_SECONDS_MAX: Duration = Duration::from_secs(4);

/// Shells of one workspace that run at once.
pub const SHELLS_OPEN_MAX: usize = 64;

/// Services of one workspace that run at once.
pub const SERVICES_RUNNING_MAX: usize = 32;

/// Bytes that wait to be typed into one shell that does not read.
pub const TYPED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Services have so long to end when their workspace is stopped, before they are killed.
pub const SERVICE_GRACE_SECONDS: Duration = Duration::from_secs(10);

/// What the guest may take beyond that, to kill what is left of them.
pub const SERVICE_KILL_SECONDS_MAX: Duration = Duration::from_secs(10);

/// `SIGHUP` of Linux: what a terminal that goes away sends.
pub const SIGNAL_HANGUP: u8 = 1;

/// `SIGTERM` of Linux.
pub const SIGNAL_TERMINATE: u8 = 15;
