//! The guest's life, and who answers which request in which part of it.
//!
//! ```text
//!   booted ──Warm──► warm ──(template, fork)── Prepare ──► prepared ──Exec, Push, Changes, Export…
//!      │                                          │        │    ▲ └─Prepare (of a fork)─┐
//!      │                                          ▼        ▼    │ ◄─────────────────────┘
//!      └─────────────WriteRoot (a builder)        unseeded ──Seed
//! ```

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use pyro_proto::agent::{Failure, FailureKind, Prepare, Reply, Request, WorkspaceDisk, WriteRoot, Written};

use crate::exec::{CallIo, Engine};
use crate::failure::failure;
use crate::root::{self, Standing, Warm};
use crate::scratch::Scratch;
use crate::unpack;
use crate::workspace::{self, Opened, Unattached, Undone, Workspace};

/// Where a guest's life stands.
#[derive(Debug)]
pub(crate) enum Stage {
    /// No root yet.
    Booted,
    /// The base image is mounted.
    Warm(Warm),
    /// The root is being put together, or that has failed: nothing can be said of it.
    Unsettled,
    /// The root is there, and the workspace waits for its baseline.
    Unseeded(Unattached),
    /// Commands may run.
    Prepared(Arc<Workspace>),
}

/// The guest as one agent sees it.
#[derive(Debug)]
pub(crate) struct Guest {
    stage: RefCell<Stage>,
    /// The root, once it is assembled.
    standing: RefCell<Option<Standing>>,
    /// The disk below it.
    scratch: RefCell<Option<Arc<Scratch>>>,
    is_unpacking: Cell<bool>,
    pub(crate) engine: Engine,
}

impl Guest {
    /// A guest whose life stands at `stage`.
    pub(crate) fn new(stage: Stage, engine: Engine) -> Guest {
        Guest {
            stage: RefCell::new(stage),
            standing: RefCell::default(),
            scratch: RefCell::default(),
            is_unpacking: Cell::new(false),
            engine,
        }
    }

    /// Does what a host asks for, to the reply.
    pub(crate) async fn answer(&self, request: Request, io: &CallIo) {
        let result = match request {
            Request::Exec(exec) => return self.engine.run(&exec, io, async || self.startable().await).await,
            Request::Serve(service) => {
                return self.engine.serve(&service, io, async || self.startable().await).await;
            }
            Request::Push(push) => match self.workspace() {
                Ok(workspace) => workspace.push(push, io).await,
                Err(failure) => Err(failure),
            },
            Request::Changes(changes) => match self.workspace() {
                Ok(workspace) => workspace.changes(changes, io).await,
                Err(failure) => Err(failure),
            },
            Request::Export(export) => match self.workspace() {
                Ok(workspace) => workspace.export(export, io).await,
                Err(failure) => Err(failure),
            },
            Request::Warm => self.warm(),
            Request::Prepare(prepare) => self.prepare(&prepare),
            Request::Seed => self.seed(io).await,
            Request::WriteRoot(request) => self.write_root(&request, io).await,
            Request::Sync => self.sync().await,
            Request::Freeze => self.freeze().await,
            Request::Thaw => self.scratch().and_then(|scratch| scratch.thaw()).map(|()| Reply::Thawed),
            Request::SetClock { realtime_ns } => root::set_clock(realtime_ns).map(|()| Reply::ClockSet),
            Request::ReadClock => Ok(Reply::Clock { realtime_ns: root::read_clock() }),
            Request::AdjustClock { offset_ns } => root::adjust_clock(offset_ns).map(|()| Reply::ClockSet),
            Request::Hold | Request::Release => Err(refused("the lanes are not the guest's")),
        };
        io.reply(&result.unwrap_or_else(Reply::Failed)).await;
    }

    /// Takes back what stands still for a host that has left.
    pub(crate) fn forsake(&self) {
        if let Some(scratch) = &*self.scratch.borrow() {
            scratch.forsake();
        }
    }

    /// The disk below the root, from the moment it is there.
    pub(crate) fn set_scratch(&self, scratch: Arc<Scratch>) {
        self.scratch.replace(Some(scratch));
    }

    fn scratch(&self) -> Result<Arc<Scratch>, Failure> {
        self.scratch.borrow().clone().ok_or_else(|| refused("this guest has no scratch disk yet"))
    }

    fn workspace(&self) -> Result<Arc<Workspace>, Failure> {
        match &*self.stage.borrow() {
            Stage::Prepared(workspace) => Ok(Arc::clone(workspace)),
            Stage::Unseeded(_) => Err(refused("the workspace waits for its baseline")),
            _ => Err(refused("the guest's root is not assembled yet")),
        }
    }

    /// The workspace, once a command may be started: on a frozen disk that could wait for whoever waits for the
    /// disk, and with it the event loop, which alone can thaw it.
    async fn startable(&self) -> Result<Arc<Workspace>, Failure> {
        if let Ok(scratch) = self.scratch() {
            scratch.thawed().await;
        }
        self.workspace()
    }

    fn warm(&self) -> Result<Reply, Failure> {
        let mut stage = self.stage.borrow_mut();
        if !matches!(*stage, Stage::Booted) || self.is_unpacking.get() {
            return Err(refused("the guest is warm already, or is a builder"));
        }
        *stage = Stage::Warm(root::warm()?);
        Ok(Reply::Warmed)
    }

    /// A guest that was never warmed is warmed first, so that a fork and a boot come to the same.
    fn prepare(&self, prepare: &Prepare) -> Result<Reply, Failure> {
        root::check(prepare)?;
        if matches!(*self.stage.borrow(), Stage::Booted) {
            self.warm()?;
        }
        match self.stage.replace(Stage::Unsettled) {
            Stage::Warm(warm) => self.assemble(warm, prepare)?,
            stage @ (Stage::Prepared(_) | Stage::Unseeded(_)) => {
                self.stage.replace(stage);
                self.adopt(prepare)?;
                // A copy's commands were stopped before it was one.
                self.engine.go_on();
            }
            stage => {
                self.stage.replace(stage);
                return Err(refused("the guest could not be prepared"));
            }
        }
        Ok(Reply::Prepared)
    }

    fn assemble(&self, warm: Warm, prepare: &Prepare) -> Result<(), Failure> {
        let (standing, unattached) = root::prepare(warm, prepare)?;
        self.set_scratch(Arc::clone(standing.scratch()));
        self.standing.replace(Some(standing));
        self.enter(workspace::open(unattached, prepare.workspace)?);
        Ok(())
    }

    /// Makes a copy of a guest that has its root another one.
    fn adopt(&self, prepare: &Prepare) -> Result<(), Failure> {
        let mut standing = self.standing.borrow_mut();
        let standing = standing.as_mut().ok_or_else(|| refused("the guest's root is not the agent's"))?;
        standing.adopt(prepare)?;
        match self.stage.replace(Stage::Unsettled) {
            Stage::Unseeded(unattached) => self.enter(workspace::open(unattached, prepare.workspace)?),
            Stage::Prepared(workspace) if prepare.workspace == WorkspaceDisk::Unseeded => {
                match workspace.undo() {
                    Ok(unattached) => drop(self.stage.replace(Stage::Unseeded(unattached))),
                    Err(Undone { workspace, error }) => {
                        self.stage.replace(workspace.map_or(Stage::Unsettled, Stage::Prepared));
                        return Err(error.into());
                    }
                }
            }
            Stage::Prepared(workspace) => {
                workspace.set_kept(prepare.workspace != WorkspaceDisk::Plain);
                self.stage.replace(Stage::Prepared(workspace));
            }
            stage => drop(self.stage.replace(stage)),
        }
        Ok(())
    }

    fn enter(&self, opened: Opened) {
        self.stage.replace(match opened {
            Opened::Unseeded(unattached) => Stage::Unseeded(unattached),
            Opened::Attached(workspace) => Stage::Prepared(workspace),
        });
    }

    /// A host that leaves meanwhile drops this call here: what becomes of the workspace, nobody learns.
    async fn seed(&self, io: &CallIo) -> Result<Reply, Failure> {
        let unattached = match self.stage.replace(Stage::Unsettled) {
            Stage::Unseeded(unattached) => unattached,
            stage => {
                self.stage.replace(stage);
                return Err(refused("no baseline is waited for"));
            }
        };
        match unattached.seed(io).await {
            Ok((workspace, tally)) => {
                self.stage.replace(Stage::Prepared(workspace));
                Ok(Reply::Seeded(tally))
            }
            Err((unattached, failure)) => {
                self.stage.replace(unattached.map_or(Stage::Unsettled, Stage::Unseeded));
                Err(failure)
            }
        }
    }

    async fn write_root(&self, request: &WriteRoot, io: &CallIo) -> Result<Reply, Failure> {
        if !matches!(*self.stage.borrow(), Stage::Booted) || self.is_unpacking.replace(true) {
            return Err(refused("a root image is written already, or this guest is no builder"));
        }
        // A host that leaves drops this call here, and its thread goes on: there is no second try.
        let result = unpack::write_root(request.archive_bytes, io).await;
        self.is_unpacking.set(false);
        result
    }

    async fn freeze(&self) -> Result<Reply, Failure> {
        let scratch = self.scratch()?;
        scratch.freeze().await.map(Reply::Frozen)
    }

    async fn sync(&self) -> Result<Reply, Failure> {
        if let Ok(scratch) = self.scratch() {
            return scratch.sync().await.map(Reply::Synced);
        }
        match tokio::task::spawn_blocking(rustix::fs::sync).await {
            Ok(()) => Ok(Reply::Synced(Written::default())),
            Err(_) => Err(failure(FailureKind::System, "the disks could not be written")),
        }
    }
}

fn refused(why: &str) -> Failure {
    failure(FailureKind::Refused, why)
}
