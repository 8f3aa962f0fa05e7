//! What a client asks of a VM's supervisor, the shim.
//!
//! The client that starts a shim hands it one end of a socket and sends [`Request::Start`] on it; others
//! connect to the shim's own socket. The data of commands and transfers is relayed to and from the agent as
//! it is; what the agent tells of them is read by the shim and told in its own words.

use serde::{Deserialize, Serialize};

use crate::agent;

/// Opens a call to a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Bring the VM up; on the starter's connection, once, first. Of a parked VM: take it, once.
    Start(Box<Start>),
    /// Run a command in the guest.
    Exec(Exec),
    /// Move a tree into or out of a workspace; data as the agent's request has it.
    Transfer(Transfer),
    /// Send what is kept of an output, and what is still to come, on [`crate::Channel::Stdout`] and, of a command,
    /// [`crate::Channel::Stderr`].
    Follow {
        /// Whose output.
        subject: Subject,
        /// From which byte on.
        from: u64,
    },
    /// Start a program on a terminal of its own that stays, whoever leaves; only in a workspace.
    OpenShell(agent::Exec),
    /// Do something to a shell.
    Shell {
        /// Its id.
        id: String,
        /// What.
        order: ShellOrder,
    },
    /// Sit at a shell: what is sent on [`crate::Channel::Stdin`] is typed, its output comes as for
    /// [`Request::Follow`], [`agent::Input::Resize`] resizes it. Ending the input leaves it.
    Attach {
        /// The shell's id.
        id: String,
        /// From which byte of its output on.
        from: u64,
    },
    /// Start a service; the reply comes when it is ready.
    StartService {
        /// A name that no service that runs has.
        name: String,
        /// What it is.
        service: Box<agent::Service>,
    },
    /// End a service; the reply comes when nothing of it runs.
    StopService {
        /// Its name.
        name: String,
        /// How long it has for it before it is killed, in milliseconds.
        grace_ms: u64,
    },
    /// End a service if it runs, and start it as it was; the reply comes when it is ready.
    RestartService {
        /// Its name.
        name: String,
        /// As for [`Request::StopService`].
        grace_ms: u64,
    },
    /// Wait until the services that were started with the workspace are ready, or have failed.
    AwaitServices,
    /// A workspace's VM ends when it was not used for so many seconds; `None`: never.
    SetTtl(Option<u64>),
    /// What the VM is and does.
    Status,
    /// Keep the workspace's whole disk as it is now, and its memory if asked for. It goes on meanwhile.
    Snapshot(Snapshot),
    /// Keep memory and disk of the workspace, then end the VM; the reply comes when nothing of it is left.
    Pause,
    /// End the VM; the reply comes when nothing of it is left.
    Stop {
        /// What the guest has not yet written to its disk need not be: it will be reset.
        discard: bool,
    },
}

/// A snapshot to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Under what it is kept.
    pub keep: Keep,
    /// Keep the memory as well, with the processes in it.
    pub memory: bool,
}

/// What keeps a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// A name, until it is deleted.
    Name(String),
    /// A hold of the store, for as long as its taker lives: for forks that are made from it right away.
    Hold(String),
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The command itself.
    pub command: agent::Exec,
    /// Answer as soon as it runs, and let it go on without this client; only in a workspace.
    pub detach: bool,
}

/// Whose output is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// A command's, by its number.
    Command(u64),
    /// A shell's, by its id.
    Shell(String),
    /// A service's, by its name: the lines of its log as they are kept.
    Service(String),
}

/// What is done to a shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShellOrder {
    /// Type these bytes, as many as [`crate::limits::SHELL_WRITE_BYTES_MAX`], with nobody else's between them. The
    /// reply comes when the guest has taken them.
    Write(Vec<u8>),
    /// Send this signal to the foreground.
    Signal(u8),
    /// Give its terminal this size.
    Resize(agent::TerminalSize),
    /// End everything in it.
    Close {
        /// How long it has before it is killed, in milliseconds.
        grace_ms: u64,
    },
}

/// A tree to be moved. One that changes the workspace waits for those before it and keeps the others out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transfer {
    /// Fill a new workspace; once, by the client that asked for it. The workspace exists from the reply on.
    Seed,
    /// Put a tree into the workspace.
    Push(agent::Push),
    /// Take the changes.
    Changes(agent::Changes),
    /// Take a file or directory.
    Export(agent::Export),
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
    /// End the VM so many seconds after its start; a workspace's, after its last use.
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
    /// How its agent is spoken to.
    pub transport: Transport,
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

/// How the guest is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// Over vsock.
    Vsock,
    /// Over virtio-serial ports.
    Serial,
}

impl Transport {
    /// The word users see where they choose.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Vsock => "vsock",
            Transport::Serial => "serial",
        }
    }

    /// The one that it is not.
    pub fn other(self) -> Transport {
        match self {
            Transport::Vsock => Transport::Serial,
            Transport::Serial => Transport::Vsock,
        }
    }

    /// The word users see in results: commands run in a guest, and this is how it is reached.
    pub fn execution_mode(self) -> &'static str {
        match self {
            Transport::Vsock => "guest_vsock",
            Transport::Serial => "guest_serial",
        }
    }
}

/// What a VM is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Fork the ready template, run commands, end with the starter's connection.
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
    /// Fork a template with a workspace's disk; end when told, or when nobody has used it for long.
    Workspace(Box<Workspace>),
    /// Fork the ready template, run a command so that everything is at hand, and wait to be taken by another
    /// [`Request::Start`] on the socket. Nobody hears of it; it lives on without its starter.
    Park {
        /// Where the template is.
        template: HostPath,
        /// What it must have been made for.
        template_key: String,
        /// The environment's root image.
        base: HostPath,
        /// The blank disk under the template's own.
        blank: HostPath,
        /// The directory where it shows that it can be had, as a file of its id: who renames that to
        /// `claimed` in the VM's runtime directory has it.
        tickets: HostPath,
        /// How long it waits.
        idle_seconds: u64,
    },
    /// Boot once, save the template, end.
    MakeTemplate {
        /// How far the guest goes before it is saved.
        readiness: Readiness,
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

/// How far a template's guest has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// The base image is mounted: any disk fits. For workspaces that have one.
    Bare,
    /// The root is assembled on a disk of the template's own, and a command has run: forks write to overlays
    /// of that disk. For what starts empty.
    Ready,
}

/// The workspace that a VM is started for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Its id, and the guest's hostname.
    pub id: String,
    /// Where the template is.
    pub template: HostPath,
    /// What it must have been made for.
    pub template_key: String,
    /// What to do before there is a VM.
    pub order: WorkspaceOrder,
    /// Whether the template is an image of the memory that belongs to the layer the VM starts on.
    pub memory: bool,
}

/// Whether a workspace is made or found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkspaceOrder {
    /// Make it. It exists once it is seeded, or, without a seed, once its VM is ready; before, it goes with
    /// the client that asked for it.
    Create(NewWorkspace),
    /// Make it as a copy of another one, at a layer of that one's disk.
    Fork(NewFork),
    /// Use the one that is there, as it is: stopped, or paused where there is memory.
    Open,
    /// The same, after its disk was set back to a snapshot. That has happened when the VM is ready, not before.
    Reset {
        /// The snapshot's name, `baseline` included.
        snapshot: String,
    },
}

/// A copy of a workspace to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFork {
    /// The other one.
    pub source: String,
    /// The layer of its disk: a snapshot's, or a hold's.
    pub layer: String,
    /// A name that no other workspace has.
    pub name: Option<String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
}

/// A workspace to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewWorkspace {
    /// A name that no other workspace has.
    pub name: Option<String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// The environment's root image, to be kept for as long as the workspace.
    pub base: HostPath,
    /// The image's digest, its name among those that are kept.
    pub base_digest: String,
    /// The blank disk under the workspace's own, to be kept likewise.
    pub blank: HostPath,
    /// The blank's recipe, its name among those that are kept.
    pub blank_recipe: String,
    /// What the baseline is filled with.
    pub seed: Option<SeedSource>,
}

/// Where a seed comes from, for lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedSource {
    /// `directory` or `archive`.
    pub kind: String,
    /// Where it was.
    pub path: HostPath,
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
    /// The command has this number in its workspace's history.
    Recorded {
        /// Counted from 1 since the workspace was made or reset.
        sequence: u64,
    },
    /// So many bytes of a followed output, at this point of it, are not kept.
    Cut {
        /// Whether of standard error.
        of_stderr: bool,
        /// How many.
        bytes: u64,
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
    /// To [`Request::Snapshot`].
    Snapshotted(Captured),
    /// To [`Request::Pause`].
    Paused(Captured),
    /// To [`Request::Exec`], [`Request::Follow`] and [`Request::Attach`]: how the command, the shell or the service ended.
    Exited(agent::Exited),
    /// To [`Request::Attach`]: the client has left the shell.
    Left,
    /// To [`Request::Exec`] with `detach`: it runs.
    Detached,
    /// To [`Request::Transfer`]: all of it is done.
    Transferred(agent::Tally),
    /// To [`Request::Exec`], [`Request::Transfer`] and what starts shells and services: the agent could not do it; the VM lives on.
    Refused(agent::Failure),
    /// To [`Request::SetTtl`].
    TtlSet,
    /// To [`Request::OpenShell`]: it runs.
    ShellOpened {
        /// Its id.
        id: String,
    },
    /// To [`Request::Shell`]: it is done.
    ShellServed,
    /// To [`Request::StartService`] and [`Request::RestartService`]: it is ready.
    ServiceReady,
    /// To [`Request::StopService`].
    ServiceStopped,
    /// To [`Request::AwaitServices`]: those that did not become ready, and why.
    ServicesSettled(Vec<(String, agent::Failure)>),
    /// To any request: it could not be done.
    Failed(Failure),
}

/// A VM that is up, or a work that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// How the guest is reached.
    pub transport: Transport,
    /// What each step took, in order, in microseconds.
    pub timings: Vec<(String, u64)>,
    /// What the machine could not give of the VMM's confinement.
    pub unconfined: Vec<String>,
    /// Archive entries written, for [`Purpose::WriteRoot`].
    pub entries: u64,
}

/// What a snapshot took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// The layer that the snapshot is.
    pub layer: String,
    /// Files and directories on the disk.
    pub entries: u64,
    /// Bytes that the guest still had to write first.
    pub written_bytes: u64,
    /// How long that took, in microseconds.
    pub write_us: u64,
    /// How long the guest stood still, or could not write, in microseconds.
    pub standstill_us: u64,
    /// Bytes of memory copied meanwhile; none without memory.
    pub memory_bytes: u64,
    /// Of the standstill, how long that took, in microseconds.
    pub memory_us: u64,
}

/// A VM at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The VM's id.
    pub vm_id: String,
    /// Process id of the VMM on the host.
    pub vmm_pid: u32,
    /// Commands, shells, services and transfers under way.
    pub calls_open: u32,
    /// Services that are started with the workspace are not all ready yet.
    pub services_pending: bool,
    /// Seconds since the VM was asked for.
    pub uptime_seconds: u64,
    /// Memory of the VMM that it shares with nothing, in KiB.
    pub private_kib: u64,
    /// How guest code runs.
    pub accelerator: Accelerator,
    /// How the guest is reached.
    pub transport: Transport,
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
    /// Another workspace has this name.
    NameTaken,
    /// There is no such workspace, or it is being deleted.
    WorkspaceGone,
    /// Another process holds the workspace and does not let go of it.
    WorkspaceHeld,
    /// There is no command of this number.
    CommandUnknown,
    /// There is no shell of this id.
    ShellUnknown,
    /// The shell has ended.
    ShellEnded,
    /// There is no service of this name.
    ServiceUnknown,
    /// A service of this name runs.
    ServiceTaken,
    /// The service does not run.
    ServiceStopped,
    /// The workspace has a snapshot of this name.
    SnapshotTaken,
    /// The workspace has no snapshot of this name.
    SnapshotUnknown,
    /// A layer of the workspace's disk is damaged, or gone.
    LayerDamaged,
    /// The disk has as many layers as it can have.
    LayersTooMany,
    /// The image of a workspace's memory is damaged, or of another VMM.
    MemoryUnusable,
    /// Files, sockets or processes of the host failed.
    System,
}
