//! The guest's life, and who answers which request in which part of it.
//!
//! ```text
//!   booted ──Warm──► warm ──(template, fork)── Prepare ──► prepared ──Exec, Push, Changes, Export…
//!      │                                          └──► unseeded ──Seed──► prepared
//!      └─────────────WriteRoot (a builder)
//! ```

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use pyro_proto::agent::{Failure, FailureKind, Prepare, Reply, Request, WriteRoot};

use crate::exec::{CallIo, Engine};
use crate::failure::failure;
use crate::root::{self, Warm};
use crate::unpack;
use crate::workspace::{self, Opened, Unattached, Workspace};

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
    /// Commands may run, in a workspace or without.
    Prepared(Option<Arc<Workspace>>),
}

/// The guest as one agent sees it.
#[derive(Debug)]
pub(crate) struct Guest {
    stage: RefCell<Stage>,
    is_unpacking: Cell<bool>,
    pub(crate) engine: Engine,
}

impl Guest {
    /// A guest whose life stands at `stage`.
    pub(crate) fn new(stage: Stage, engine: Engine) -> Guest {
        Guest { stage: RefCell::new(stage), is_unpacking: Cell::new(false), engine }
    }

    /// Does what a host asks for, to the reply.
    pub(crate) async fn answer(&self, request: Request, io: &CallIo) {
        let result = match request {
            Request::Exec(exec) => match self.prepared() {
                Ok(workspace) => return self.engine.run(&exec, io, workspace.as_ref()).await,
                Err(failure) => Err(failure),
            },
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
            Request::Sync => sync().await,
        };
        io.reply(&result.unwrap_or_else(Reply::Failed)).await;
    }

    /// The workspace that commands run in, where there is one.
    fn prepared(&self) -> Result<Option<Arc<Workspace>>, Failure> {
        match &*self.stage.borrow() {
            Stage::Prepared(workspace) => Ok(workspace.clone()),
            Stage::Unseeded(_) => Err(refused("the workspace waits for its baseline")),
            _ => Err(refused("the guest's root is not assembled yet")),
        }
    }

    fn workspace(&self) -> Result<Arc<Workspace>, Failure> {
        self.prepared()?.ok_or_else(|| refused("this guest has no workspace"))
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
            Stage::Warm(warm) => {
                let places = root::prepare(warm, prepare)?;
                self.stage.replace(match workspace::open(places, prepare.workspace)? {
                    Opened::Plain => Stage::Prepared(None),
                    Opened::Unseeded(unattached) => Stage::Unseeded(unattached),
                    Opened::Attached(workspace) => Stage::Prepared(Some(workspace)),
                });
                Ok(Reply::Prepared)
            }
            stage => {
                self.stage.replace(stage);
                Err(refused("the guest is prepared already, or could not be"))
            }
        }
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
                self.stage.replace(Stage::Prepared(Some(workspace)));
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
}

async fn sync() -> Result<Reply, Failure> {
    match tokio::task::spawn_blocking(rustix::fs::sync).await {
        Ok(()) => Ok(Reply::Synced),
        Err(_) => Err(failure(FailureKind::System, "the disks could not be written")),
    }
}

fn refused(why: &str) -> Failure {
    failure(FailureKind::Refused, why)
}
