//! What a client asks of a VM's supervisor, the shim.
//!
//! The client that starts a shim hands it one end of a socket and sends [`Request::Start`] on it; others
//! connect to the shim's own socket. Exec calls are relayed to the agent with their frames as they are.

use serde::{Deserialize, Serialize};

use crate::agent;

/// Opens a call to a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Bring the VM up; only on the starter's connection, once, first.
    Start(Box<Start>),
    /// Run a command in the guest; events, data and reply are the agent's.
    Exec(agent::Exec),
    /// What the VM is and does.
    Status,
    /// End the VM; the reply comes when nothing of it is left.
    Stop,
}

/// Everything a shim has to know; it reads no environment and no configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The VM's id.
    pub vm_id: String,
    /// What for.
    pub purpose: Purpose,
    /// The environment's name, for lists.
    pub environment: String,
    /// The machine.
    pub machine: Machine,
    /// The user's state directory.
    pub state_directory: HostPath,
    /// The user's cache directory.
    pub cache_directory: HostPath,
    /// The user's runtime directory.
    pub runtime_directory: HostPath,
    /// End the VM so many seconds after its start.
    pub ttl_seconds: Option<u64>,
    /// User and group that the VMM runs as, when the shim may choose.
    pub run_as: Option<RunAs>,
}

/// An unprivileged user of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A path of the host, as bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPath(pub Vec<u8>);

impl From<&std::path::Path> for HostPath {
    fn from(path: &std::path::Path) -> Self {
        HostPath(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec())
    }
}

impl HostPath {
    /// The path itself.
    pub fn to_path(&self) -> std::path::PathBuf {
        <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&self.0).into()
    }
}

impl std::fmt::Debug for HostPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.to_path(), f)
    }
}

/// The machine to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The VMM's binary.
    pub vmm_path: HostPath,
    /// Its version, three numbers with points.
    pub vmm_version: String,
    /// Hardware virtualization, or emulation.
    pub accelerator: Accelerator,
    /// Virtual processors.
    pub vcpu_count: u8,
    /// Memory of the guest in MiB.
    pub memory_mib: u32,
    /// Kernel, an ELF image.
    pub kernel: HostPath,
    /// Initramfs with the agent.
    pub initrd: HostPath,
}

/// How guest code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accelerator {
    /// By the processor, through Linux KVM.
    Kvm,
    /// By QEMU's emulation.
    Tcg,
}

impl Accelerator {
    /// The word users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }
}

/// What a VM is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Fork the template, run commands, end with the starter's connection.
    Run {
        /// Where the template is.
        template: HostPath,
        /// What it must have been made for.
        template_key: String,
        /// The environment's root image.
        base: HostPath,
        /// The blank disk under the VM's own.
        blank: HostPath,
    },
    /// Boot once, save the template, end.
    MakeTemplate {
        /// Where the template shall be.
        template: HostPath,
        /// What it is made for.
        template_key: String,
        /// The environment's root image.
        base: HostPath,
        /// The blank disk that stands for the forks' own.
        blank: HostPath,
    },
    /// Boot, write a root image, end.
    WriteRoot {
        /// The archive, as long as a whole number of sectors.
        archive: HostPath,
        /// Bytes of it that are archive.
        archive_bytes: u64,
        /// The blank image to be written.
        image: HostPath,
    },
    /// Boot without disks until the agent answers, end: does this accelerator work, and how fast.
    Probe {
        /// Whether the accelerator has run a guest here before; one that has not gets less time.
        proven: bool,
    },
}

/// News of a call from the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// What the shim does now.
    Phase(Phase),
    /// So much of a long work is done.
    Progress {
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// What a starting shim does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The guest boots.
    Boot,
    /// The guest did not answer in time and is booted once more.
    BootAgain,
    /// The template is written.
    Save,
    /// A template is forked.
    Fork,
    /// The root image is written.
    Write,
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Start`]: a VM for [`Purpose::Run`] is ready; for the others the work is done.
    Started(Started),
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Stop`].
    Stopped,
    /// To [`Request::Exec`]: the agent's word.
    Exec(agent::Reply),
    /// To any request: it could not be done.
    Failed(Failure),
}

/// A VM that is up, or a work that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// How the guest is reached.
    pub execution_mode: ExecutionMode,
    /// What each step took, in order, in microseconds.
    pub timings: Vec<(String, u64)>,
    /// What the machine could not give of the VMM's confinement.
    pub unconfined: Vec<String>,
    /// Archive entries written, for [`Purpose::WriteRoot`].
    pub entries: u64,
}

/// How the guest is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecutionMode {
    /// Over virtio-serial ports.
    GuestSerial,
}

impl ExecutionMode {
    /// The word users see.
    pub fn as_str(self) -> &'static str {
        match self {
            ExecutionMode::GuestSerial => "guest_serial",
        }
    }
}

/// A VM at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The VM's id.
    pub vm_id: String,
    /// Process id of the VMM on the host.
    pub vmm_pid: u32,
    /// Commands running.
    pub execs_running: u32,
    /// Seconds since the VM was asked for.
    pub uptime_seconds: u64,
    /// Memory of the VMM that it shares with nothing, in KiB.
    pub private_kib: u64,
}

/// Why a shim could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its class, on which callers decide.
    pub code: FailureCode,
    /// One lower-case fragment for people.
    pub message: String,
    /// The end of the guest's console, where it explains something; never trusted.
    pub console: Vec<u8>,
}

/// Class of a shim's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCode {
    /// The VMM could not be started.
    VmmFailed,
    /// The VMM ended, or stopped answering, while it was needed.
    VmmDied,
    /// The guest did not answer in time.
    GuestSilent,
    /// The guest's kernel panicked.
    GuestPanicked,
    /// The guest powered off or rebooted.
    GuestEnded,
    /// The guest broke the protocol.
    GuestFaulty,
    /// The template is damaged or of another VMM; make it again.
    TemplateUnusable,
    /// The host's disk is full.
    NoSpace,
    /// The environment's archive is damaged.
    ArchiveDamaged,
    /// The VM's time to live is over.
    Expired,
    /// The VM was ended by a `Stop`, or its starter left.
    Stopped,
    /// The request came at the wrong moment, or too many at once.
    Refused,
    /// Files, sockets or processes of the host failed.
    System,
}
