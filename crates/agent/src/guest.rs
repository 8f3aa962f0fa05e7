//! The guest's life, and who answers which request in which part of it.
//!
//! ```text
//!   booted ──Warm──► warm ──(template, fork)── Prepare ──► prepared ──Exec…
//!      └─────────────WriteRoot (a builder)
//! ```

use std::cell::{Cell, RefCell};

use pyro_proto::agent::{Failure, FailureKind, Prepare, Reply, Request, WriteRoot};

use crate::exec::{CallIo, Engine};
use crate::failure::failure;
use crate::root::{self, Warm};
use crate::unpack;

/// Where a guest's life stands.
#[derive(Debug)]
pub(crate) enum Stage {
    /// No root yet.
    Booted,
    /// The base image is mounted.
    Warm(Warm),
    /// The root is being put together, or that has failed: nothing can be said of it.
    Unsettled,
    /// Commands may run.
    Prepared,
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
            Request::Exec(exec) if self.is_prepared() => return self.engine.run(&exec, io).await,
            Request::Exec(_) => Err(refused("the guest's root is not assembled yet")),
            Request::Warm => self.warm(),
            Request::Prepare(prepare) => self.prepare(&prepare),
            Request::WriteRoot(request) => self.write_root(&request, io).await,
            Request::Sync => sync().await,
        };
        io.reply(&result.unwrap_or_else(Reply::Failed)).await;
    }

    fn is_prepared(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Prepared)
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
            Stage::Warm(warm) => root::prepare(&warm, prepare)?,
            stage => {
                self.stage.replace(stage);
                return Err(refused("the guest is prepared already, or could not be"));
            }
        }
        self.stage.replace(Stage::Prepared);
        Ok(Reply::Prepared)
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
