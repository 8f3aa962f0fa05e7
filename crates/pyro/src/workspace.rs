//! Workspaces: computers that stay, seen from their clients.
//!
//! A workspace is a record, a disk and a history; a VM runs on it while it is used, driven by its shim. Here it
//! is found, started, talked to, and given up. Nothing here touches its disk.

use pyro_proto::shim::{Accelerator, Transport};
use pyro_store::{WorkspaceName, WorkspaceRecord};

use crate::connection::Connection;

mod apply;
mod create;
mod diff;
mod end;
mod export;
mod files;
mod fork;
mod fork_plan;
mod guest_path;
mod history;
mod info;
mod made;
mod open;
mod patch;
mod pause;
mod push;
mod reset;
mod services;
mod shells;
mod snapshot;
mod summary;
mod transfer;

pub use apply::{Applied, AppliedPath, ApplyRequest};
pub use create::{CreateRequest, Seed, SeedRules};
pub use diff::{Diff, DiffRequest, LeftOut};
pub use end::Stopped;
pub use export::Exported;
pub use files::{FileEntry, FileRead, parse_mode};
pub use fork::{Forked, Forks};
pub use fork_plan::ForkRequest;
pub use guest_path::{GuestPath, WORKSPACE, working_directory};
pub use history::{HistoryEntry, KeptOutput, OutputPage};
pub(crate) use info::timestamp;
pub use info::{SeedInfo, UpdateRequest, WorkspaceInfo};
pub use open::Starting;
pub use patch::Patched;
pub use pause::Paused;
pub use push::{Pushed, Source};
pub use reset::{ResetDone, ResetRequest};
pub use services::{LogEntry, Readiness, ServiceInfo, ServiceLog, ServiceRequest, Tail};
pub use shells::{
    Drawn, ReadRequest, Screen, ShellInfo, ShellReading, ShellRequest, ShellView, TerminalModes,
    parse_signal, terminal_size,
};
pub use snapshot::{SnapshotInfo, SnapshotScope, SnapshotTaken};
pub use summary::WorkspaceSummary;
pub use transfer::Progress;

/// A workspace whose VM runs, and this client's connection to it.
#[derive(Debug)]
pub struct Workspace {
    record: WorkspaceRecord,
    connection: Connection,
    accelerator: Accelerator,
    transport: Transport,
    /// Services that come back with it may not be ready yet.
    services_pending: bool,
    /// What each step of a start took, in microseconds; empty when it ran already.
    timings: Vec<(String, u64)>,
}

impl Workspace {
    /// Its id.
    pub fn id(&self) -> &str {
        self.record.workspace.id.as_str()
    }

    /// Memory of its VM in MiB.
    pub fn memory_mib(&self) -> u32 {
        self.record.workspace.memory_mib
    }

    /// `kvm` or `tcg`.
    pub fn accelerator(&self) -> &'static str {
        self.accelerator.as_str()
    }

    /// `guest_vsock` or `guest_serial`: how the guest is reached.
    pub fn execution_mode(&self) -> &'static str {
        self.transport.execution_mode()
    }

    /// What each step of a start took, in microseconds; empty when the workspace ran already.
    pub fn timings(&self) -> &[(String, u64)] {
        &self.timings
    }
}

/// What a person calls a workspace: its name, or its id.
fn called(record: &WorkspaceRecord) -> &str {
    record.workspace.name.as_ref().map_or(record.workspace.id.as_str(), WorkspaceName::as_str)
}
