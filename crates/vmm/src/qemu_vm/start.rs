//! From an executed QEMU to a guest that runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::QemuVm;
use super::sets::Sets;
use crate::console::{Tail, follow};
use crate::error::VmmError;
use crate::exit::Ending;
use crate::launch::Launched;
use crate::limits::{CONSOLE_TAIL_BYTES, STDERR_TAIL_BYTES};
use crate::qmp::{Client, MigrationState};
use crate::vm::Timings;

/// A VM whose start is not over.
pub(super) struct Started {
    pub(super) vm: QemuVm,
    pub(super) clock: Clock,
}

/// Measures phases, each from the end of the one before.
pub(super) struct Clock(Instant);

impl Clock {
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let lap = now.duration_since(self.0);
        self.0 = now;
        lap
    }
}

impl QemuVm {
    pub(super) fn started(launched: Launched) -> Started {
        let Launched { mut child, qmp, console, approach, state, memory, base, disks, began } = launched;
        let console_tail = Tail::new(CONSOLE_TAIL_BYTES);
        let stderr_tail = Tail::new(STDERR_TAIL_BYTES);
        let mut readers = vec![follow(console, console_tail.clone())];
        readers.extend(child.stderr.take().map(|stderr| follow(stderr, stderr_tail.clone())));
        let mut clock = Clock(began);
        let vm = Self {
            pid: child.id().unwrap_or_default(),
            child,
            qmp: Client::new(qmp),
            approach: Some(approach),
            state,
            memory,
            base,
            disks,
            sets: Sets::default(),
            console: console_tail,
            stderr: stderr_tail,
            readers,
            timings: Timings { spawn: clock.lap(), ..Timings::default() },
            ending: Ending::Unasked,
            exit: None,
        };
        Started { vm, clock }
    }

    pub(super) async fn begin(&mut self, clock: &mut Clock) -> Result<(), VmmError> {
        let capabilities = self.qmp.send("qmp_capabilities", json!({})).await?;
        self.qmp.greet().await?;
        self.qmp.answer(capabilities).await?;
        self.timings.qmp_ready = clock.lap();
        Ok(())
    }

    /// Loads the template's device state and lets the guest go on. The commands are sent at once, before QEMU
    /// has started: it takes them in order.
    pub(super) async fn load(&mut self, clock: &mut Clock) -> Result<(), VmmError> {
        let uri = format!("fd:{}", self.state.ok_or(VmmError::State { what: "load" })?);
        let capabilities = self.qmp.send("qmp_capabilities", json!({})).await?;
        let events = self.qmp.send("migrate-set-capabilities", migration_events()).await?;
        let incoming = self.qmp.send("migrate-incoming", json!({"uri": uri})).await?;
        self.qmp.greet().await?;
        self.qmp.answer(capabilities).await?;
        self.timings.qmp_ready = clock.lap();
        self.qmp.answer(events).await?;
        self.qmp.answer(incoming).await?;
        match self.qmp.migrated().await? {
            MigrationState::Completed => {}
            MigrationState::Open | MigrationState::Failed => return Err(VmmError::State { what: "load" }),
        }
        self.timings.load = clock.lap();
        // It runs already, since every state is saved as a running guest's; this makes sure.
        self.qmp.execute("cont", json!({})).await?;
        self.timings.cont = clock.lap();
        Ok(())
    }
}

/// The end of loading is told by an event, and events only come when asked for.
fn migration_events() -> Value {
    json!({"capabilities": [{"capability": "events", "state": true}]})
}
