//! Disposable computers for coding agents: the Rust API.
//!
//! Everything that the command line, and every other face of pyro, does goes through here: it finds
//! environments and templates, starts shims, and talks to them. It owns no VM (shims do), never touches a
//! terminal, and reads no environment variable: a [`Config`] says where things are.

mod agent_binary;
pub mod bench;
mod capture;
mod config;
mod connection;
pub mod doctor;
mod environments;
mod execution;
mod failure;
mod garbage;
mod host;
mod identity;
mod launch;
pub mod limits;
mod merge;
mod pool;
mod prune;
pub mod results;
mod several;
mod shape;
mod sizes;
mod socket;
mod supervisor;
mod template;
mod ways;
mod workspace;

use pyro_store::{Durability, Store};

pub use capture::Capture;
pub use config::{AcceleratorChoice, Config, TransportChoice};
pub use environments::{Catalog, CatalogEntry, Environment, PullPhase, PullProgress};
pub use execution::{Execution, Finished, Output};
pub use failure::{Code, Failure};
pub use garbage::{Freed, Pruned};
pub use launch::{LaunchRequest, Notice, Vm};
pub use pool::{ParkedVm, PoolStatus, Refilling};
pub use pyro_image::Cancel;
pub use pyro_jail::keep_descriptors;
pub use pyro_proto::agent::{Exec, Exited, Input, Outcome, Terminal, TerminalSize};
pub use pyro_store::Directories;
pub use pyro_sync::source::{GitRules, user_excludes};
pub use shape::{Shape, parse_seconds};
pub use sizes::{EnvironmentSize, WorkspaceSize};
pub use workspace::{
    Applied, AppliedPath, ApplyRequest, CreateRequest, Diff, DiffRequest, Drawn, Exported, FileEntry,
    FileRead, ForkRequest, Forked, Forks, GuestPath, HistoryEntry, KeptOutput, LeftOut, LogEntry, OutputPage,
    Patched, Paused, Progress, Pushed, ReadRequest, Readiness, ResetDone, ResetRequest, Screen, Seed,
    SeedInfo, SeedRules, ServiceInfo, ServiceLog, ServiceRequest, ShellInfo, ShellReading, ShellRequest,
    ShellView, SnapshotInfo, SnapshotScope, SnapshotTaken, Source, Starting, Stopped, Tail, TerminalModes,
    UpdateRequest, WORKSPACE, Workspace, WorkspaceInfo, WorkspaceSummary, parse_mode, parse_signal,
    terminal_size, working_directory,
};

/// One user's pyro on this machine.
#[derive(Debug)]
pub struct Pyro {
    config: Config,
    store: Store,
}

impl Pyro {
    /// Opens the state, makes what is missing, and removes what a crash left.
    pub fn open(config: Config) -> Result<Pyro, Failure> {
        config.directories.create().map_err(|(path, error)| {
            let code = match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::NoSpace,
                _ => Code::StateUnusable,
            };
            Failure::new(code, format!("the directory {} cannot be made or used", path.display()))
            .because(error)
            .fix("make it writable, or point PYRO_STATE_DIR, PYRO_CACHE_DIR and PYRO_RUNTIME_DIR elsewhere")
        })?;
        let store = Store::open(&config.directories.database(), Durability::PowerCut)?;
        store.reconcile(&config.directories)?;
        Ok(Pyro { config, store })
    }

    /// The same with a pool of another size.
    pub(crate) fn with_pool(&self, pool: usize) -> Result<Pyro, Failure> {
        Pyro::open(Config { pool, ..self.config.clone() })
    }
}
