//! A VMM without virtual machines, for the tests of those who use one.
//!
//! Its guests are async functions on the far ends of the channels; its templates are real directories with
//! nothing in them; its faults are those a real one has.

mod calls;

use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use calls::Call;
use calls::Calls;

use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::console::Tail;
use crate::error::VmmError;
use crate::exit::{Death, Exit};
use crate::limits::CONSOLE_TAIL_BYTES;
use crate::machine::{Flush, Image, Machine, Serial};
use crate::qmp::QmpError;
use crate::template::{Draft, Template, TemplateKey};
use crate::vm::{Approach, BaseCopy, Captured, GuestChannels, Status, Timings, Vm, Vmm, Way};

/// A process id no kernel gives out (`PID_MAX_LIMIT` is 4,194,304).
const NO_PROCESS: u32 = i32::MAX as u32;

type GuestFuture = Pin<Box<dyn Future<Output = Exit> + Send>>;
type Guest = Arc<dyn Fn(GuestChannels) -> GuestFuture + Send + Sync>;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The VMM ends as it is started.
    DiesAtStart,
    /// The guest runs and never says a word.
    SilentGuest,
    /// The guest's kernel panics at once.
    PanickedGuest,
    /// The VMM no longer answers its control channel; the guest goes on.
    DeadControl,
    /// The VMM takes no new layer; the disk is as it was.
    LayerRefused,
    /// The VMM fails while it takes a new layer, and is ended.
    LayerKills,
    /// The VMM does not change whether flushes count.
    FlushRefused,
    /// The memory a VM was forked from cannot be copied.
    CopyFails,
    /// A VM cannot be captured.
    CaptureFails,
}

/// Memory that a captured VM has of its own, in bytes.
const OWN_MEMORY: &[u8] = b"fake memory";

/// The fake.
#[derive(Clone)]
pub struct FakeVmm {
    guest: Guest,
    fault: Fault,
    calls: Calls,
}

impl FakeVmm {
    /// A VMM each of whose guests is one call of `guest`; what it returns is how the VM ends.
    pub fn new<F, R>(guest: F) -> Self
    where
        F: Fn(GuestChannels) -> R + Send + Sync + 'static,
        R: Future<Output = Exit> + Send + 'static,
    {
        let guest: Guest = Arc::new(move |channels| Box::pin(guest(channels)));
        Self { guest, fault: Fault::None, calls: Calls::default() }
    }

    /// What was asked of it and of all its VMs, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.all()
    }

    /// The same, with a fault.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    fn start(&self, machine: &Machine, base: Option<File>) -> Result<FakeVm, VmmError> {
        machine.check()?;
        if self.fault == Fault::DiesAtStart {
            let stderr = "fake: asked to die\n".to_owned();
            return Err(VmmError::Ended(Exit::VmmDied { status: Death::Code(1), stderr }));
        }
        let (control, guest_control) = UnixStream::pair().map_err(VmmError::Channels)?;
        let (bulk, guest_bulk) = UnixStream::pair().map_err(VmmError::Channels)?;
        let theirs = GuestChannels { control: guest_control, bulk: guest_bulk };
        let console = Tail::new(CONSOLE_TAIL_BYTES);
        Ok(FakeVm {
            guest: tokio::spawn(self.run_guest(theirs, console.clone())),
            channels: Some(GuestChannels { control, bulk }),
            console,
            status: Status::Running,
            fault: self.fault,
            machine: machine.clone(),
            base,
            calls: self.calls.clone(),
            exit: None,
        })
    }

    fn run_guest(&self, channels: GuestChannels, console: Tail) -> GuestFuture {
        match self.fault {
            Fault::SilentGuest => Box::pin(async move {
                let _held = channels;
                std::future::pending().await
            }),
            Fault::PanickedGuest => Box::pin(async move {
                console.push(b"Kernel panic - not syncing: fake\r\n");
                Exit::Panicked { message: "fake".to_owned() }
            }),
            _ => (self.guest)(channels),
        }
    }
}

impl Vmm for FakeVmm {
    type Vm = FakeVm;

    async fn boot(&self, machine: &Machine, _draft: Option<&Draft>) -> Result<FakeVm, VmmError> {
        self.calls.note(Call::Boot(machine.clone()));
        self.start(machine, None)
    }

    async fn fork(&self, machine: &Machine, template: &Template) -> Result<FakeVm, VmmError> {
        self.calls.note(Call::Fork(machine.clone(), template.directory().to_owned()));
        let ram = template.ram()?;
        template.state()?;
        self.start(machine, Some(ram))
    }
}

/// One of its VMs.
#[derive(Debug)]
pub struct FakeVm {
    guest: JoinHandle<Exit>,
    channels: Option<GuestChannels>,
    console: Tail,
    status: Status,
    fault: Fault,
    machine: Machine,
    base: Option<File>,
    calls: Calls,
    exit: Option<Exit>,
}

impl FakeVm {
    /// Writes on the guest's console.
    pub fn write_console(&self, text: &str) {
        self.console.push(text.as_bytes());
    }

    /// Refuses a command on demand, as QEMU does.
    fn refuse_on(&self, fault: Fault, command: &'static str) -> Result<(), VmmError> {
        self.answer(command)?;
        let description = "fake: asked to refuse".to_owned();
        if self.fault == fault { Err(QmpError::Refused { command, description }.into()) } else { Ok(()) }
    }

    fn changeable(&mut self, serial: &Serial) -> Result<(&mut Image, &mut Flush), VmmError> {
        let disk = self.machine.disks.iter_mut().find(|disk| disk.serial == *serial);
        match disk.filter(|disk| !matches!(disk.image, Image::ReadOnly(_))) {
            Some(disk) => Ok((&mut disk.image, &mut disk.flush)),
            None => Err(VmmError::NoSuchDisk { serial: serial.as_str().to_owned() }),
        }
    }

    fn forked(&self) -> Result<&File, VmmError> {
        self.base.as_ref().ok_or(VmmError::Unfit { what: "be captured", reason: "it was not forked" })
    }

    fn answer(&self, command: &'static str) -> Result<(), VmmError> {
        match (&self.exit, self.fault) {
            (Some(exit), _) => Err(VmmError::Ended(exit.clone())),
            (None, Fault::DeadControl) => Err(QmpError::Silent { command, seconds: 0 }.into()),
            (None, _) => Ok(()),
        }
    }
}

impl Vm for FakeVm {
    fn take_channels(&mut self) -> Option<Approach> {
        self.channels.take().map(|channels| Approach(Way::Open(channels)))
    }

    fn pid(&self) -> u32 {
        NO_PROCESS
    }

    fn timings(&self) -> Timings {
        Timings::default()
    }

    fn console_tail(&self) -> Vec<u8> {
        self.console.to_vec()
    }

    async fn pause(&mut self) -> Result<(), VmmError> {
        self.calls.note(Call::Pause);
        self.answer("stop")?;
        self.status = Status::Paused;
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), VmmError> {
        self.calls.note(Call::Resume);
        self.answer("cont")?;
        self.status = Status::Running;
        Ok(())
    }

    async fn status(&mut self) -> Result<Status, VmmError> {
        self.answer("query-status")?;
        Ok(self.status)
    }

    async fn add_layer(&mut self, serial: &Serial, overlay: &Path) -> Result<(), VmmError> {
        self.calls.note(Call::AddLayer { serial: serial.clone(), overlay: overlay.to_owned() });
        self.refuse_on(Fault::LayerRefused, "blockdev-snapshot")?;
        if self.fault == Fault::LayerKills {
            self.kill().await;
            return Err(QmpError::Silent { command: "blockdev-snapshot", seconds: 0 }.into());
        }
        let none = || VmmError::NoSuchDisk { serial: serial.as_str().to_owned() };
        let (Image::Overlay { overlay: top, layers, .. }, _) = self.changeable(serial)? else {
            return Err(none());
        };
        layers.push(std::mem::replace(top, overlay.to_owned()));
        Ok(self.machine.check()?)
    }

    async fn set_flush(&mut self, serial: &Serial, flush: Flush) -> Result<(), VmmError> {
        self.calls.note(Call::SetFlush { serial: serial.clone(), flush });
        self.refuse_on(Fault::FlushRefused, "blockdev-reopen")?;
        *self.changeable(serial)?.1 = flush;
        Ok(())
    }

    fn base_copy(&self, draft: &Draft) -> Result<BaseCopy, VmmError> {
        self.calls.note(Call::BaseCopy);
        let base = match self.fault {
            // It has another size than the draft.
            Fault::CopyFails => File::open("/dev/null"),
            _ => self.forked()?.try_clone(),
        };
        let ram = draft.ram().try_clone().map_err(VmmError::Memory)?;
        Ok(BaseCopy { base: base.map_err(VmmError::Memory)?, ram })
    }

    async fn capture(&mut self, draft: &Draft) -> Result<Captured, VmmError> {
        self.calls.note(Call::Capture);
        self.refuse_on(Fault::CaptureFails, "xen-save-devices-state")?;
        self.forked()?;
        if self.status == Status::Running {
            return Err(VmmError::Unfit { what: "be captured", reason: "it runs" });
        }
        draft.state_writer()?.write_all(b"fake").map_err(VmmError::Memory)?;
        draft.ram().write_all_at(OWN_MEMORY, 0).map_err(VmmError::Memory)?;
        Ok(Captured { memory_bytes: OWN_MEMORY.len() as u64, copied_in: Duration::ZERO })
    }

    async fn save(mut self, draft: Draft, key: &TemplateKey) -> Result<Template, VmmError> {
        self.calls.note(Call::Save);
        self.refuse_on(Fault::CaptureFails, "xen-save-devices-state")?;
        self.kill().await;
        draft.state_writer()?.write_all(b"fake").map_err(VmmError::Channels)?;
        Ok(draft.finish(key)?)
    }

    async fn wait(&mut self) -> Exit {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        // A guest function that was aborted or panicked is one that was ended.
        let exit = (&mut self.guest).await.unwrap_or(Exit::Killed);
        self.exit.insert(exit).clone()
    }

    async fn kill(&mut self) -> Exit {
        self.calls.note(Call::Kill);
        self.guest.abort();
        self.wait().await
    }
}

impl Drop for FakeVm {
    fn drop(&mut self) {
        self.guest.abort();
    }
}

#[cfg(test)]
mod tests;
