//! The two traits the rest of the system knows a VMM by.
//!
//! ```text
//!            boot ──────────► running ──save──► (template, VM gone)
//!   template ─fork─► running ─┬─pause─► paused ─resume─► running
//!                             │            └─capture─► (template, VM paused)
//!                             └─ guest ends, QEMU dies, kill ──► Exit
//! ```
//!
//! A VM owns its process: dropping it kills QEMU. Futures are not `Send`; callers run on one thread, and a
//! VM must be started on a thread that lives as long as the VM (its death is tied to that thread's).

#![allow(async_fn_in_trait, reason = "callers run on a current-thread runtime and need no Send futures")]

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;

use crate::error::VmmError;
use crate::exit::Exit;
use crate::machine::{Flush, Machine, Serial};
use crate::rendezvous::Rendezvous;
use crate::sparse::copy_sparse;
use crate::template::{Draft, Template, TemplateKey};

/// What starts virtual machines.
pub trait Vmm {
    /// The machines it starts.
    type Vm: Vm;

    /// Starts `machine` at its kernel. Returns once the guest runs, which is long before it answers: wait on
    /// the control channel and on [`Vm::wait`] at once, with a deadline.
    ///
    /// With a draft, guest memory is the draft's file, and [`Vm::save`] can make a template of it.
    ///
    /// # Errors
    /// When a file is missing, or QEMU does not start.
    async fn boot(&self, machine: &Machine, draft: Option<&Draft>) -> Result<Self::Vm, VmmError>;

    /// Starts `machine` from a template instead of its kernel, which is not read. The machine must be the one
    /// the template was saved from, apart from what its disks hold (their sizes must be the same). Returns
    /// once the guest runs on.
    ///
    /// # Errors
    /// When the template cannot be used, or QEMU does not start.
    async fn fork(&self, machine: &Machine, template: &Template) -> Result<Self::Vm, VmmError>;
}

/// A running virtual machine.
pub trait Vm: Sized {
    /// Hands out the way to the guest, once.
    fn take_channels(&mut self) -> Option<Approach>;

    /// The VMM's process id.
    fn pid(&self) -> u32;

    /// How long each phase of the start took.
    fn timings(&self) -> Timings;

    /// The end of what the guest wrote on its console.
    fn console_tail(&self) -> Vec<u8>;

    /// Stops the guest's processors.
    ///
    /// # Errors
    /// When QEMU does not answer or has ended.
    async fn pause(&mut self) -> Result<(), VmmError>;

    /// Lets them go on.
    ///
    /// # Errors
    /// When QEMU does not answer or has ended.
    async fn resume(&mut self) -> Result<(), VmmError>;

    /// Whether the guest runs.
    ///
    /// # Errors
    /// When QEMU does not answer or has ended.
    async fn status(&mut self) -> Result<Status, VmmError>;

    /// Puts an overlay, empty and made for it, on top of a disk, whether the guest runs or not. From here on the
    /// guest writes there, and what it wrote to before is a layer: complete, and open for reading only.
    ///
    /// # Errors
    /// When there is no such disk, it has as many layers as it can have, or the VMM refuses: then the disk is as it
    /// was. When the VMM fails half-way: then the VM is ended, and what it wrote meanwhile counts for nothing.
    async fn add_layer(&mut self, serial: &Serial, overlay: &Path) -> Result<(), VmmError>;

    /// Decides whether flushes of a disk count, from now on.
    ///
    /// # Errors
    /// When there is no such disk, or the VMM refuses; then nothing has changed.
    async fn set_flush(&mut self, serial: &Serial, flush: Flush) -> Result<(), VmmError>;

    /// The work of copying the memory this VM was forked from into the draft, which must be of its size and unused: the
    /// long part of keeping its memory, for a thread of its own while the guest runs.
    ///
    /// # Errors
    /// When the VM was not forked.
    fn base_copy(&self, draft: &Draft) -> Result<BaseCopy, VmmError>;

    /// Completes the draft, after [`Vm::base_copy`], with device state and with what the guest has written of its
    /// memory. The VM must be paused and stays so; the draft can then be finished, and forked by machines whose
    /// disks hold what this one's held.
    ///
    /// # Errors
    /// When the VM runs or was not forked, or state or memory cannot be copied. The VM can go on.
    async fn capture(&mut self, draft: &Draft) -> Result<Captured, VmmError>;

    /// Makes a template of this VM, which was booted with `draft`, and ends it.
    ///
    /// # Errors
    /// When the state cannot be saved or stored; the VM is gone all the same.
    async fn save(self, draft: Draft, key: &TemplateKey) -> Result<Template, VmmError>;

    /// Waits until the VM has ended, and says how. Safe to give up and call again.
    async fn wait(&mut self) -> Exit;

    /// Ends the VM and waits until its process is gone.
    async fn kill(&mut self) -> Exit;
}

/// The way to a guest that has just been started.
#[derive(Debug)]
pub struct Approach(pub(crate) Way);

#[derive(Debug)]
pub(crate) enum Way {
    /// The streams are there, whether the guest is or not.
    Open(GuestChannels),
    /// The guest has to come.
    Awaited(Rendezvous),
}

impl Approach {
    /// Waits until the streams are there: at once over virtio-serial, when the guest has connected over vsock. Set a
    /// deadline, and watch the VM meanwhile.
    ///
    /// # Errors
    /// When the sockets fail.
    pub async fn arrive(self) -> io::Result<GuestChannels> {
        match self.0 {
            Way::Open(channels) => Ok(channels),
            Way::Awaited(rendezvous) => rendezvous.meet().await,
        }
    }
}

/// The two byte streams to the guest: virtio-serial ports `pyro.control` and `pyro.bulk`, or connections of vsock.
#[derive(Debug)]
pub struct GuestChannels {
    /// Small messages.
    pub control: UnixStream,
    /// Large ones.
    pub bulk: UnixStream,
}

/// A copy of the memory that a VM was forked from, to be made.
#[derive(Debug)]
pub struct BaseCopy {
    pub(crate) base: File,
    pub(crate) ram: File,
}

impl BaseCopy {
    /// Makes it; blocks for as long as the disk takes.
    ///
    /// # Errors
    /// When the sizes differ, or the disk has no room.
    pub fn run(self) -> Result<(), VmmError> {
        let copy = || {
            if self.base.metadata()?.len() != self.ram.metadata()?.len() {
                return Err(io::Error::other("the draft has another size than the memory"));
            }
            copy_sparse(&self.base, &self.ram)
        };
        copy().map_err(VmmError::Memory)
    }
}

/// What was copied of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Captured {
    /// Memory that was not its template's, in bytes.
    pub memory_bytes: u64,
    /// How long device state and that memory took.
    pub copied_in: Duration,
}

/// Whether a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its processors run.
    Running,
    /// They are stopped.
    Paused,
}

/// How long the phases of a start took, each counted from the end of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Opening files, preparing the jail, until QEMU is executed.
    pub spawn: Duration,
    /// Until QEMU answers on its control channel.
    pub qmp_ready: Duration,
    /// Until the device state is loaded (forks only).
    pub load: Duration,
    /// Until the guest runs on (forks only).
    pub cont: Duration,
}
