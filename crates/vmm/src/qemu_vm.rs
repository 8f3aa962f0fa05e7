//! QEMU as the VMM, and one running QEMU as the VM.

use std::os::fd::{AsFd, RawFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use pyro_jail::Support;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::confinement::Confinement;
use crate::console::{Tail, follow};
use crate::error::VmmError;
use crate::exit::{Ending, Exit, classify};
use crate::launch::{Launched, Source, launch};
use crate::limits::{CONSOLE_TAIL_BYTES, DRAIN_MAX, QUIT_MAX, STDERR_TAIL_BYTES};
use crate::machine::Machine;
use crate::qemu::Qemu;
use crate::qmp::{Client, MigrationState, QmpError};
use crate::template::{Draft, DraftId, Template, TemplateKey};
use crate::vm::{GuestChannels, Status, Timings, Vm, Vmm};

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
    channels: Option<GuestChannels>,
    state: Option<RawFd>,
    memory: Option<DraftId>,
    console: Tail,
    stderr: Tail,
    readers: Vec<JoinHandle<()>>,
    timings: Timings,
    ending: Ending,
    exit: Option<Exit>,
}

/// A VM whose start is not over.
struct Started {
    vm: QemuVm,
    clock: Clock,
}

/// Measures phases, each from the end of the one before.
struct Clock(Instant);

impl Clock {
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let lap = now.duration_since(self.0);
        self.0 = now;
        lap
    }
}

impl QemuVm {
    fn started(launched: Launched) -> Started {
        let Launched { mut child, qmp, console, channels, state, memory, began } = launched;
        let console_tail = Tail::new(CONSOLE_TAIL_BYTES);
        let stderr_tail = Tail::new(STDERR_TAIL_BYTES);
        let mut readers = vec![follow(console, console_tail.clone())];
        readers.extend(child.stderr.take().map(|stderr| follow(stderr, stderr_tail.clone())));
        let mut clock = Clock(began);
        let vm = Self {
            pid: child.id().unwrap_or_default(),
            child,
            qmp: Client::new(qmp),
            channels: Some(channels),
            state,
            memory,
            console: console_tail,
            stderr: stderr_tail,
            readers,
            timings: Timings { spawn: clock.lap(), ..Timings::default() },
            ending: Ending::Unasked,
            exit: None,
        };
        Started { vm, clock }
    }

    async fn begin(&mut self, clock: &mut Clock) -> Result<(), VmmError> {
        let capabilities = self.qmp.send("qmp_capabilities", json!({})).await?;
        self.qmp.greet().await?;
        self.qmp.answer(capabilities).await?;
        self.timings.qmp_ready = clock.lap();
        Ok(())
    }

    /// Loads the template's device state and lets the guest go on. The commands are sent at once, before QEMU
    /// has started: it takes them in order.
    async fn load(&mut self, clock: &mut Clock) -> Result<(), VmmError> {
        let uri = format!("fd:{}", self.state.ok_or(VmmError::State { what: "load" })?);
        let capabilities = self.qmp.send("qmp_capabilities", json!({})).await?;
        let shared = self.qmp.send("migrate-set-capabilities", migration_capabilities()).await?;
        let incoming = self.qmp.send("migrate-incoming", json!({"uri": uri})).await?;
        self.qmp.greet().await?;
        self.qmp.answer(capabilities).await?;
        self.timings.qmp_ready = clock.lap();
        self.qmp.answer(shared).await?;
        self.qmp.answer(incoming).await?;
        self.migrated("load").await?;
        self.timings.load = clock.lap();
        self.qmp.execute("cont", json!({})).await?;
        self.timings.cont = clock.lap();
        Ok(())
    }

    /// Stops the guest and writes the device state into the draft's file.
    async fn store(&mut self, draft: &Draft) -> Result<(), VmmError> {
        if self.memory != Some(draft.id()) {
            return Err(VmmError::State { what: "save" });
        }
        self.qmp.execute("stop", json!({})).await?;
        self.qmp.execute("migrate-set-capabilities", migration_capabilities()).await?;
        self.qmp.give_descriptor("state", draft.state().as_fd()).await?;
        self.qmp.execute("migrate", json!({"uri": "fd:state"})).await?;
        self.migrated("save").await
    }

    async fn migrated(&mut self, what: &'static str) -> Result<(), VmmError> {
        match self.qmp.migrated().await? {
            MigrationState::Completed => Ok(()),
            MigrationState::Open | MigrationState::Failed => Err(VmmError::State { what }),
        }
    }

    async fn quit(&mut self) {
        self.ending = Ending::Asked;
        // QEMU may be gone before it has answered; its end is waited for either way.
        let _answered = self.qmp.execute("quit", json!({})).await;
        if timeout(QUIT_MAX, self.wait()).await.is_err() {
            self.kill().await;
        }
    }

    async fn ask(&mut self, command: &'static str) -> Result<Value, VmmError> {
        if let Some(exit) = &self.exit {
            return Err(VmmError::Ended(exit.clone()));
        }
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
    fn take_channels(&mut self) -> Option<GuestChannels> {
        self.channels.take()
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
        self.ask("cont").await.map(drop)
    }

    async fn status(&mut self) -> Result<Status, VmmError> {
        let answer = self.ask("query-status").await?;
        match answer.get("running").and_then(Value::as_bool) {
            Some(true) => Ok(Status::Running),
            Some(false) => Ok(Status::Paused),
            None => Err(VmmError::Qmp(QmpError::Malformed { what: "a status without its state" })),
        }
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

fn migration_capabilities() -> Value {
    let on = |capability| json!({"capability": capability, "state": true});
    json!({"capabilities": [on("x-ignore-shared"), on("events")]})
}
