//! What a host asks of the agent in a guest.
//!
//! Order of a VM's life: [`Request::Warm`] before a template is saved, [`Request::Prepare`] after every
//! fork and before the user's first process, then any number of [`Request::Exec`]. A builder VM gets
//! [`Request::WriteRoot`] instead.

use serde::{Deserialize, Serialize};

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

/// Opens a call to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Mount the base image and read what every command will need, so that a template holds it.
    Warm,
    /// Make this fork unique and current, mount the scratch disk, assemble the root.
    Prepare(Prepare),
    /// Run a command.
    Exec(Exec),
    /// Unpack [`DISK_ARCHIVE`] onto [`DISK_IMAGE`].
    WriteRoot(WriteRoot),
    /// Write everything to the disks.
    Sync,
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
    /// Program and arguments; the program is looked up in the command's own `PATH`.
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
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Warm`].
    Warmed,
    /// To [`Request::Prepare`]; the root is assembled.
    Prepared,
    /// To [`Request::Exec`]: the command ran. Both [`crate::Channel::Stdout`] and [`crate::Channel::Stderr`]
    /// were ended before this, with a terminal as well.
    Exited(Exited),
    /// To [`Request::WriteRoot`]; the image is unmounted and written out.
    RootWritten {
        /// Archive entries written.
        entries: u64,
        /// Bytes of file contents written.
        bytes: u64,
    },
    /// To [`Request::Sync`].
    Synced,
    /// To any request: it could not be done.
    Failed(Failure),
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
    /// The request came at the wrong moment of the VM's life, or too many at once.
    Refused,
    /// A system call failed.
    System,
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
        let mut payload = encode(&Reply::Synced).unwrap();
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
