//! What a host asks of the agent in a guest.
//!
//! Order of a VM's life: [`Request::Warm`] or a first [`Request::Prepare`] before a template is saved,
//! [`Request::Prepare`] after every fork and before the user's first process, [`Request::Seed`] where
//! `Prepare` announced one, then any number of the others. A builder VM gets [`Request::WriteRoot`] instead.
//!
//! Calls that carry a tree carry it as a stream of [`crate::tree`]: towards the guest on
//! [`crate::Channel::Stdin`], from it on [`crate::Channel::Stdout`], which is ended before the reply.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::limits::{TERMINAL_CELLS_MAX, TERMINAL_SIDE_MAX};

/// Serial of the read-only base image's disk.
pub const DISK_BASE: &str = "base";
/// Serial of the disk that takes everything a VM writes.
pub const DISK_SCRATCH: &str = "scratch";
/// Serial of a builder's archive, a tar as a raw disk.
pub const DISK_ARCHIVE: &str = "archive";
/// Serial of a builder's image to be written.
pub const DISK_IMAGE: &str = "image";
/// Name of the virtio-serial port of [`crate::Lane::Control`].
pub const PORT_CONTROL: &str = "pyro.control";
/// Name of the virtio-serial port of [`crate::Lane::Bulk`].
pub const PORT_BULK: &str = "pyro.bulk";

/// The word of the kernel's command line that has the agent look for its host over vsock.
pub const ARGUMENT_VSOCK: &str = "pyro.transport=vsock";
/// The word that has it look for virtio-serial ports.
pub const ARGUMENT_SERIAL: &str = "pyro.transport=serial";

/// Opens a call to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Mount the base image and read what every command will need, so that a template holds it.
    Warm,
    /// Make this fork unique and current. A guest without a root mounts the scratch disk and assembles it first;
    /// one that has its root already (from the template, or as a copy of a running guest) keeps it.
    Prepare(Prepare),
    /// Run a command. In a guest with a workspace the reply comes when what it wrote is on the disk.
    Exec(Exec),
    /// Keep a command running: probe whether it is ready, start it again as its policy says. The reply comes when it
    /// is not started again.
    Serve(Box<Service>),
    /// Fill the baseline of a new workspace with a tree of entries, then attach the workspace.
    Seed,
    /// Put a tree of entries, removals and expectations into the workspace: all of it or nothing.
    Push(Push),
    /// Send what differs between the workspace and its baseline, as a stream of changes.
    Changes(Changes),
    /// Send a file or directory of the workspace, as a stream of entries.
    Export(Export),
    /// Unpack [`DISK_ARCHIVE`] onto [`DISK_IMAGE`].
    WriteRoot(WriteRoot),
    /// Write everything to the disks.
    Sync,
    /// Write everything to the scratch disk and let nobody change it until [`Request::Thaw`].
    Freeze,
    /// Let the scratch disk be changed again.
    Thaw,
    /// Stop all commands and fall silent: answer once everything queued on both lanes is out, then send nothing before
    /// [`Request::Release`] or a [`crate::hello::Hello`]. Commands go on at the release, or, in a copy, when it was
    /// prepared: none runs before the copy is unique and current. The host sends a [`crate::Kind::Barrier`] on the bulk lane
    /// before it, and nothing behind it: then nothing is under way in either direction, and a copy of the guest's
    /// memory can be spoken to by another host.
    Hold,
    /// Speak again.
    Release,
    /// The host's clock has jumped, as when the host was suspended.
    SetClock {
        /// The host's `CLOCK_REALTIME` when this was sent, in nanoseconds since 1970.
        realtime_ns: u64,
    },
    /// Tell the time: however long question and answer took, the clock was read between the two.
    ReadClock,
    /// Move the clock: unlike a time, a difference does not age on its way.
    AdjustClock {
        /// By how much, in nanoseconds.
        offset_ns: i64,
    },
}

/// What makes a fork unlike its siblings.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// Fresh bytes for the kernel's random number generator.
    pub entropy: [u8; 32],
    /// The host's `CLOCK_REALTIME` when this was sent, in nanoseconds since 1970.
    pub realtime_ns: u64,
    /// The guest's name.
    pub hostname: String,
    /// 32 lower-case hexadecimal digits for `/etc/machine-id`.
    pub machine_id: String,
    /// What `/workspace` is.
    pub workspace: WorkspaceDisk,
    /// Shown as `/proc/sys/kernel/random/boot_id`, for a copy of a guest whose own boot id software may have seen: a
    /// UUID in its text form.
    pub boot_id: Option<String>,
}

/// What a guest's `/workspace` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkspaceDisk {
    /// A directory that goes with the VM: what commands write need not be on the disk.
    Plain,
    /// A new workspace whose baseline is empty.
    Empty,
    /// A new workspace whose baseline comes with [`Request::Seed`]; until then there are no commands.
    Unseeded,
    /// One that an earlier VM has made.
    Existing,
}

/// Where a tree goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// A directory, relative to `/workspace`; it and what is missing above it is made. Empty for `/workspace`.
    pub directory: Vec<u8>,
}

/// Which changes are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Only what is at or below one of these, relative to `/workspace`; everything when empty.
    pub paths: Vec<Vec<u8>>,
    /// Send contents too.
    pub contents: bool,
    /// Contents of a file larger than this, on either side, are left out ([`crate::tree::Contents::TooLarge`]).
    pub file_bytes_max: u64,
}

/// What to send of the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Relative to `/workspace`; empty for `/workspace` itself. Symlinks on the way to the last component are
    /// followed inside `/workspace` alone, the last one is not followed.
    pub path: Vec<u8>,
    /// How far below a directory to go: 0 sends its own entry alone, 1 what is in it, and so on.
    pub depth_max: u32,
    /// Send contents, of every file no more than so many bytes.
    pub contents: Option<u64>,
}

impl std::fmt::Debug for Prepare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepare")
            .field("hostname", &self.hostname)
            .field("realtime_ns", &self.realtime_ns)
            .finish_non_exhaustive()
    }
}

/// A command. Bytes, not text: a Unix argument need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments; the program is looked up in the command's own `PATH`. Empty, with a terminal: the
    /// user's own shell.
    pub argv: Vec<Vec<u8>>,
    /// Added to, or replacing, the defaults (`PATH`, `HOME`, `USER`, `LOGNAME`, `SHELL`, `LANG`, `TERM` with a terminal).
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Working directory; the agent's default is `/workspace`.
    pub directory: Option<Vec<u8>>,
    /// `name`, `uid`, `name:group` or `uid:gid` as in the guest's own files; root without.
    pub user: Option<String>,
    /// Run on a pseudo-terminal of this size; standard error then arrives as standard output.
    pub terminal: Option<Terminal>,
    /// Whether the opener will send standard input; without, the command reads `/dev/null`.
    pub stdin: bool,
    /// Kill the whole process tree after so many milliseconds.
    pub timeout_ms: Option<u64>,
}

/// A command that is kept running. Its process's end is the end of all that it has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The command; it has no terminal, no standard input and no time limit.
    pub command: Exec,
    /// What tells that it is ready; without, that it has not ended at once.
    pub probe: Option<Probe>,
    /// Do not start it while something accepts connections where it is probed: that would be taken for it.
    pub owns_address: bool,
    /// It must be ready so many milliseconds after each of its starts.
    pub ready_timeout_ms: u64,
    /// Between two probes; the first ones come faster.
    pub ready_interval_ms: u64,
    /// What to do when it ends after it has once been ready.
    pub restart: Restart,
}

/// What tells that a service is ready, seen from inside the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// This file is there. Absolute.
    File(Vec<u8>),
    /// One of these accepts connections.
    Tcp(Vec<SocketAddr>),
    /// One of these answers a GET request with a status of 200 to 399.
    Http {
        /// Where to ask.
        addresses: Vec<SocketAddr>,
        /// Value of the `Host` header.
        host: String,
        /// What to ask for: a path, with a query if there is one.
        target: String,
    },
    /// This text, given to `sh -c` with the service's own directory, environment and user, exits with 0.
    Command(Vec<u8>),
}

/// Whether a service that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// Unless it exited with 0.
    OnFailure,
    /// Always.
    Always,
}

impl Restart {
    /// The word users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure => "on-failure",
            Restart::Always => "always",
        }
    }
}

/// A pseudo-terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Its first size.
    pub size: TerminalSize,
    /// Value of `TERM`.
    pub term: String,
}

/// Size of a pseudo-terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl TerminalSize {
    /// Whether a terminal can have it.
    pub fn is_possible(self) -> bool {
        let is_side = |side: u16| (1..=TERMINAL_SIDE_MAX).contains(&side);
        let cells = u32::from(self.rows) * u32::from(self.columns);
        is_side(self.rows) && is_side(self.columns) && cells <= TERMINAL_CELLS_MAX
    }
}

/// Length of the archive inside its disk, whose size is rounded up to sectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRoot {
    /// Bytes of [`DISK_ARCHIVE`] that are archive.
    pub archive_bytes: u64,
}

/// News of a call from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The command runs.
    Started {
        /// Its process id in the guest.
        pid: u32,
    },
    /// So much of a long work is done.
    Progress {
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The service is ready, or ready again.
    Ready,
    /// The service has ended and is started again after a pause; [`Event::Started`] tells when.
    Restarting {
        /// How it ended; `None` when it could not be started, or was ended for not being ready in time.
        ended: Option<Exited>,
        /// The pause.
        delay_ms: u64,
    },
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Warm`].
    Warmed,
    /// To [`Request::Prepare`]; the root is assembled.
    Prepared,
    /// To [`Request::Exec`]: the command ran. Both [`crate::Channel::Stdout`] and [`crate::Channel::Stderr`]
    /// were ended before this, with a terminal as well. To [`Request::Serve`] the same: it ended, by itself or because
    /// it was to ([`Input::Stop`]), and is not started again, as when it was not ready yet.
    Exited(Exited),
    /// To [`Request::Seed`]; it is on the disk, and the workspace attached.
    Seeded(Tally),
    /// To [`Request::Push`]; it is on the disk.
    Pushed(Tally),
    /// To [`Request::Changes`]; the stream was ended before.
    Changed(Tally),
    /// To [`Request::Export`]; the stream was ended before.
    Exported(Tally),
    /// To [`Request::WriteRoot`]; the image is unmounted and written out.
    RootWritten {
        /// Archive entries written.
        entries: u64,
        /// Bytes of file contents written.
        bytes: u64,
    },
    /// To [`Request::Sync`].
    Synced(Written),
    /// To [`Request::Freeze`].
    Frozen(Written),
    /// To [`Request::Thaw`].
    Thawed,
    /// To [`Request::Hold`]; nothing comes behind it.
    Held,
    /// To [`Request::Release`].
    Released,
    /// To [`Request::SetClock`] and [`Request::AdjustClock`].
    ClockSet,
    /// To [`Request::ReadClock`].
    Clock {
        /// The guest's `CLOCK_REALTIME`, in nanoseconds since 1970.
        realtime_ns: u64,
    },
    /// To any request: it could not be done.
    Failed(Failure),
}

/// What went over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Entries or changes.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
}

/// What the guest still had to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Bytes written to the scratch disk.
    pub bytes: u64,
    /// How long that took, in microseconds of the guest's monotonic clock.
    pub duration_us: u64,
    /// Files and directories that the scratch disk holds now.
    pub entries: u64,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Its end.
    pub outcome: Outcome,
    /// Processes of the command's tree that the guest killed for want of memory.
    pub out_of_memory_kills: u32,
    /// From before its start to its end, in microseconds of the guest's monotonic clock.
    pub duration_us: u64,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It exited by itself.
    Code(u8),
    /// A signal ended it.
    Signal(u8),
    /// The time limit ended it.
    TimedOut,
    /// The guest killed it for want of memory.
    OutOfMemory,
}

/// Why a request could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// Its class, on which callers decide.
    pub kind: FailureKind,
    /// One lower-case fragment for people, at most [`crate::limits::FAILURE_TEXT_BYTES_MAX`] bytes.
    pub detail: String,
}

/// Class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The program is not there.
    CommandNotFound,
    /// The program is there and cannot be executed.
    CommandNotExecutable,
    /// The working directory is missing or not a directory.
    DirectoryMissing,
    /// No such user or group in the guest.
    UserUnknown,
    /// An argument, variable or path holds a NUL byte, or a list is empty or too long.
    InvalidArgument,
    /// The guest's disk is full.
    NoSpace,
    /// A disk that the request needs is not there.
    DiskMissing,
    /// The archive is damaged.
    ArchiveDamaged,
    /// A path leads out of the workspace.
    PathOutside,
    /// A path is not there.
    PathMissing,
    /// A directory is where something else should go, or the other way round.
    TypeConflict,
    /// What is there is not what the host has seen there ([`crate::tree::Item::Expect`]).
    Changed,
    /// A service was not ready in time, and was ended.
    NotReady,
    /// A service ended before it was ready: told by shims, who know that.
    EndedEarly,
    /// The host called it off with [`Input::Kill`].
    Canceled,
    /// The request came at the wrong moment of the VM's life, or too many at once.
    Refused,
    /// A system call failed.
    System,
    /// A service was not started: something else answers where it is to be found. The last, so that the numbers of the
    /// others stay.
    AddressTaken,
}

/// News of a call from the side that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The terminal has a new size.
    Resize(TerminalSize),
    /// Send this signal to the command's first process (to the foreground group on a terminal).
    Signal(u8),
    /// Kill the whole process tree.
    Kill,
    /// Send this signal to every process of the tree, kill what is left of it after a while, and start nothing again.
    Stop {
        /// The signal.
        signal: u8,
        /// The while.
        grace_ms: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PayloadError, decode, encode};
    use proptest::prelude::*;

    fn exec() -> Exec {
        Exec {
            argv: vec![b"printf".to_vec(), vec![0xff, b'\n', b' ', b'"']],
            environment: vec![(b"A".to_vec(), b"1".to_vec())],
            directory: None,
            user: Some("1000:1000".to_owned()),
            terminal: Some(Terminal {
                size: TerminalSize { rows: 30, columns: 120 },
                term: "xterm".to_owned(),
            }),
            stdin: true,
            timeout_ms: Some(30_000),
        }
    }

    /// Arguments travel as bytes, whatever they are.
    #[test]
    fn requests_round_trip() {
        let request = Request::Exec(exec());
        assert_eq!(decode::<Request>(&encode(&request).unwrap()).unwrap(), request);
    }

    /// A message is all of its payload: nothing rides behind it.
    #[test]
    fn trailing_bytes_are_refused() {
        let mut payload = encode(&Reply::Thawed).unwrap();
        payload.push(0);
        assert_eq!(decode::<Reply>(&payload), Err(PayloadError::TrailingBytes(1)));
    }

    proptest! {
        /// No bytes of a guest make the host panic.
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode::<Reply>(&bytes);
            let _ = decode::<Event>(&bytes);
            let _ = decode::<Request>(&bytes);
            let _ = decode::<crate::hello::Hello>(&bytes);
            let _ = decode::<crate::shim::Request>(&bytes);
            let _ = decode::<crate::shim::Reply>(&bytes);
        }
    }
}
