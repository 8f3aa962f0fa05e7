//! A VMM without virtual machines, for the tests of those who use one.
//!
//! Its guests are async functions on the far ends of the channels; its templates are real directories with
//! nothing in them; its faults are those a real one has.

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::console::Tail;
use crate::error::VmmError;
use crate::exit::{Death, Exit};
use crate::limits::CONSOLE_TAIL_BYTES;
use crate::machine::Machine;
use crate::qmp::QmpError;
use crate::template::{Draft, Template, TemplateKey};
use crate::vm::{GuestChannels, Status, Timings, Vm, Vmm};

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
}

/// The fake.
#[derive(Clone)]
pub struct FakeVmm {
    guest: Guest,
    fault: Fault,
}

impl FakeVmm {
    /// A VMM each of whose guests is one call of `guest`; what it returns is how the VM ends.
    pub fn new<F, R>(guest: F) -> Self
    where
        F: Fn(GuestChannels) -> R + Send + Sync + 'static,
        R: Future<Output = Exit> + Send + 'static,
    {
        Self { guest: Arc::new(move |channels| Box::pin(guest(channels))), fault: Fault::None }
    }

    /// The same, with a fault.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    fn start(&self, machine: &Machine) -> Result<FakeVm, VmmError> {
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
        self.start(machine)
    }

    async fn fork(&self, machine: &Machine, template: &Template) -> Result<FakeVm, VmmError> {
        template.ram()?;
        template.state()?;
        self.start(machine)
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
    exit: Option<Exit>,
}

impl FakeVm {
    /// Writes on the guest's console.
    pub fn write_console(&self, text: &str) {
        self.console.push(text.as_bytes());
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
    fn take_channels(&mut self) -> Option<GuestChannels> {
        self.channels.take()
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
        self.answer("stop")?;
        self.status = Status::Paused;
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), VmmError> {
        self.answer("cont")?;
        self.status = Status::Running;
        Ok(())
    }

    async fn status(&mut self) -> Result<Status, VmmError> {
        self.answer("query-status")?;
        Ok(self.status)
    }

    async fn save(mut self, draft: Draft, key: &TemplateKey) -> Result<Template, VmmError> {
        self.answer("migrate")?;
        self.kill().await;
        draft.state().write_all(b"fake").map_err(VmmError::Channels)?;
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
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::machine::{Accelerator, Shape};
    use crate::template::KeyInputs;

    fn machine() -> Machine {
        Machine {
            shape: Shape::new(Accelerator::Tcg, 1, 128).unwrap(),
            kernel: "kernel".into(),
            initrd: "initrd".into(),
            kernel_arguments: Vec::new(),
            disks: Vec::new(),
        }
    }

    /// Echoes one byte, then powers off.
    fn echo() -> FakeVmm {
        FakeVmm::new(|mut channels: GuestChannels| async move {
            let byte = channels.control.read_u8().await.unwrap();
            channels.control.write_u8(byte).await.unwrap();
            Exit::PoweredOff
        })
    }

    #[tokio::test]
    async fn a_guest_answers_and_ends() {
        // Promise: the fake behaves as a VM does to those who use it.
        let mut vm = echo().boot(&machine(), None).await.unwrap();
        let mut channels = vm.take_channels().unwrap();
        assert!(vm.take_channels().is_none());
        channels.control.write_u8(7).await.unwrap();
        assert_eq!(channels.control.read_u8().await.unwrap(), 7);
        assert_eq!(vm.wait().await, Exit::PoweredOff);
        assert_eq!(vm.kill().await, Exit::PoweredOff);
        assert!(matches!(vm.status().await, Err(VmmError::Ended(Exit::PoweredOff))));
    }

    #[tokio::test]
    async fn a_template_is_saved_and_forked() {
        // Promise: templates of the fake go through the same directories as real ones.
        let parent = tempfile::tempdir().unwrap();
        let draft = Draft::create(&parent.path().join("t"), 128 << 20).unwrap();
        let vm = echo().boot(&machine(), Some(&draft)).await.unwrap();
        let key = TemplateKey::new(&KeyInputs { shape: machine().shape, vmm: "fake", parts: &[] });
        let template = vm.save(draft, &key).await.unwrap();
        let mut fork = echo().fork(&machine(), &template).await.unwrap();
        assert_eq!(fork.kill().await, Exit::Killed);
    }

    #[tokio::test]
    async fn every_fault_shows() {
        // Promise: each fault a real VMM has can be had on demand.
        let start = |fault| async move { echo().with_fault(fault).boot(&machine(), None).await };
        assert!(matches!(start(Fault::DiesAtStart).await, Err(VmmError::Ended(Exit::VmmDied { .. }))));
        let mut panicked = start(Fault::PanickedGuest).await.unwrap();
        assert_eq!(panicked.wait().await, Exit::Panicked { message: "fake".to_owned() });
        assert!(String::from_utf8_lossy(&panicked.console_tail()).contains("Kernel panic"));
        let mut dead = start(Fault::DeadControl).await.unwrap();
        assert!(matches!(dead.pause().await, Err(VmmError::Qmp(QmpError::Silent { .. }))));
        let mut silent = start(Fault::SilentGuest).await.unwrap();
        let mut channels = silent.take_channels().unwrap();
        let wait = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(wait, channels.control.read_u8()).await.is_err());
        assert_eq!(silent.kill().await, Exit::Killed);
    }
}
