//! QEMU as the VMM, and one running QEMU as the VM.

mod capture;
mod disks;
mod sets;
mod start;

use std::fs::File;
use std::os::fd::RawFd;
use std::path::Path;
use std::process::ExitStatus;

use pyro_jail::Support;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::confinement::Confinement;
use crate::console::Tail;
use crate::error::VmmError;
use crate::exit::{Ending, Exit, classify};
use crate::launch::{Source, launch};
use crate::limits::{DRAIN_MAX, QUIT_MAX};
use crate::live_disk::LiveDisk;
use crate::machine::{Flush, Machine, Serial};
use crate::qemu::Qemu;
use crate::qmp::{Client, QmpError};
use crate::template::{Draft, DraftId, Template, TemplateKey};
use crate::vm::{Approach, BaseCopy, Captured, Status, Timings, Vm, Vmm};
use sets::Sets;
use start::Started;

/// QEMU, with how it is confined.
#[derive(Debug, Clone)]
pub struct QemuVmm {
    qemu: Qemu,
    confinement: Confinement,
    support: Support,
}

impl QemuVmm {
    /// Starts machines with `qemu`, confined as told with the layers this machine grants.
    pub fn new(qemu: Qemu, confinement: Confinement, support: Support) -> Self {
        Self { qemu, confinement, support }
    }

    /// The QEMU used.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    fn start(&self, machine: &Machine, source: &Source<'_>) -> Result<Started, VmmError> {
        let launched = launch(&self.qemu, &self.confinement, &self.support, machine, source)?;
        Ok(QemuVm::started(launched))
    }
}

impl Vmm for QemuVmm {
    type Vm = QemuVm;

    async fn boot(&self, machine: &Machine, draft: Option<&Draft>) -> Result<QemuVm, VmmError> {
        let mut started = self.start(machine, &Source::Kernel(draft))?;
        let begun = started.vm.begin(&mut started.clock).await;
        started.vm.or_exit(begun).await?;
        Ok(started.vm)
    }

    async fn fork(&self, machine: &Machine, template: &Template) -> Result<QemuVm, VmmError> {
        let mut started = self.start(machine, &Source::Template(template))?;
        let loaded = started.vm.load(&mut started.clock).await;
        started.vm.or_exit(loaded).await?;
        Ok(started.vm)
    }
}

/// One QEMU. Dropping it kills the process.
#[derive(Debug)]
pub struct QemuVm {
    child: Child,
    pid: u32,
    qmp: Client,
    approach: Option<Approach>,
    state: Option<RawFd>,
    memory: Option<DraftId>,
    base: Option<File>,
    disks: Vec<LiveDisk>,
    sets: Sets,
    console: Tail,
    stderr: Tail,
    readers: Vec<JoinHandle<()>>,
    timings: Timings,
    ending: Ending,
    exit: Option<Exit>,
}

impl QemuVm {
    async fn quit(&mut self) {
        self.ending = Ending::Asked;
        // QEMU may be gone before it has answered; its end is waited for either way.
        let _answered = self.qmp.execute("quit", json!({})).await;
        if timeout(QUIT_MAX, self.wait()).await.is_err() {
            self.kill().await;
        }
    }

    fn alive(&self) -> Result<(), VmmError> {
        self.exit.as_ref().map_or(Ok(()), |exit| Err(VmmError::Ended(exit.clone())))
    }

    async fn ask(&mut self, command: &'static str) -> Result<Value, VmmError> {
        self.alive()?;
        let answer = self.qmp.execute(command, json!({})).await.map_err(VmmError::from);
        self.or_exit(answer).await
    }

    /// Turns "QEMU closed its channel" into why, and ends a QEMU that failed while it was being started.
    async fn or_exit<T>(&mut self, result: Result<T, VmmError>) -> Result<T, VmmError> {
        match result {
            Err(VmmError::Qmp(QmpError::Closed)) => match timeout(QUIT_MAX, self.wait()).await {
                Ok(exit) => Err(VmmError::Ended(exit)),
                Err(_) => Err(VmmError::Ended(self.kill().await)),
            },
            other => other,
        }
    }

    /// Learns how QEMU ended: the rest of its events, its console and its last words.
    async fn ended(&mut self, status: std::io::Result<ExitStatus>) -> Exit {
        self.qmp.drain().await;
        for reader in &mut self.readers {
            // The streams have ended with the process; a reader that goes on regardless is left behind.
            let _late = timeout(DRAIN_MAX, reader).await;
        }
        let status = status.unwrap_or_default();
        let (console, stderr) = (self.console.to_text(), self.stderr.to_text());
        classify(status, self.ending, self.qmp.shutdown(), &console, stderr)
    }
}

impl Vm for QemuVm {
    fn take_channels(&mut self) -> Option<Approach> {
        self.approach.take()
    }

    fn pid(&self) -> u32 {
        self.pid
    }

    fn timings(&self) -> Timings {
        self.timings
    }

    fn console_tail(&self) -> Vec<u8> {
        self.console.to_vec()
    }

    async fn pause(&mut self) -> Result<(), VmmError> {
        self.ask("stop").await.map(drop)
    }

    async fn resume(&mut self) -> Result<(), VmmError> {
        self.ask("cont").await?;
        let closed = self.close_sets().await;
        self.or_exit(closed).await
    }

    async fn status(&mut self) -> Result<Status, VmmError> {
        let answer = self.ask("query-status").await?;
        match answer.get("running").and_then(Value::as_bool) {
            Some(true) => Ok(Status::Running),
            Some(false) => Ok(Status::Paused),
            None => Err(VmmError::Qmp(QmpError::Malformed { what: "a status without its state" })),
        }
    }

    async fn add_layer(&mut self, serial: &Serial, overlay: &Path) -> Result<(), VmmError> {
        self.alive()?;
        let added = self.put_layer(serial, overlay).await;
        self.or_exit(added).await
    }

    async fn set_flush(&mut self, serial: &Serial, flush: Flush) -> Result<(), VmmError> {
        self.alive()?;
        let set = self.reopen_flush(serial, flush).await;
        self.or_exit(set).await
    }

    fn base_copy(&self, draft: &Draft) -> Result<BaseCopy, VmmError> {
        self.alive()?;
        self.forked_memory(draft)
    }

    async fn capture(&mut self, draft: &Draft) -> Result<Captured, VmmError> {
        if self.status().await? == Status::Running {
            return Err(VmmError::Unfit { what: "be captured", reason: "it runs" });
        }
        let captured = self.copy_state_and_memory(draft).await;
        self.or_exit(captured).await
    }

    async fn save(mut self, draft: Draft, key: &TemplateKey) -> Result<Template, VmmError> {
        let stored = self.store(&draft).await;
        self.or_exit(stored).await?;
        self.quit().await;
        let key = key.clone();
        let finished = tokio::task::spawn_blocking(move || draft.finish(&key)).await;
        match finished {
            Ok(template) => Ok(template?),
            Err(_) => Err(VmmError::State { what: "save" }),
        }
    }

    async fn wait(&mut self) -> Exit {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        let status = self.child.wait().await;
        let exit = self.ended(status).await;
        self.exit.insert(exit).clone()
    }

    async fn kill(&mut self) -> Exit {
        if self.exit.is_none() {
            self.ending = Ending::Asked;
            // An error means that there is nothing left to kill.
            let _gone = self.child.start_kill();
        }
        self.wait().await
    }
}

impl Drop for QemuVm {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}
