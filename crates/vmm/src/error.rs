//! What can go wrong with a virtual machine.

use std::io;
use std::path::PathBuf;

use pyro_jail::JailError;

use crate::exit::Exit;
use crate::machine::MachineError;
use crate::qmp::QmpError;
use crate::template::TemplateError;

/// A VM could not be started, saved, forked or asked something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// The machine cannot be built as described.
    #[error("the machine cannot be built")]
    Machine(#[from] MachineError),
    /// A file of the machine could not be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Sockets or descriptors could not be made.
    #[error("cannot prepare the VM's channels")]
    Channels(#[source] io::Error),
    /// The host's end of vsock could not be had.
    #[error("guests cannot be awaited over vsock here; PYRO_TRANSPORT=serial does without it")]
    Vsock(#[source] io::Error),
    /// QEMU could not be confined.
    #[error("cannot confine QEMU")]
    Jail(#[from] JailError),
    /// QEMU could not be started.
    #[error("cannot start {}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// QEMU or the guest ended while something was still wanted of it.
    #[error("{0}")]
    Ended(Exit),
    /// QEMU's control channel failed.
    #[error("QEMU cannot be controlled")]
    Qmp(#[from] QmpError),
    /// What was asked does not go together with how the VM was started or stands.
    #[error("the VM cannot {what}: {reason}")]
    Unfit {
        /// What was asked.
        what: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The machine has no disk of this name that can change while it runs.
    #[error("there is no disk {serial:?} that can change while the VM runs")]
    NoSuchDisk {
        /// The disk's serial.
        serial: String,
    },
    /// The guest's memory could not be copied.
    #[error("cannot copy the guest's memory")]
    Memory(#[source] io::Error),
    /// The device state could not be loaded or saved.
    #[error("QEMU could not {what} the device state")]
    State {
        /// `load` or `save`.
        what: &'static str,
    },
    /// The template cannot be used.
    #[error("the template cannot be used")]
    Template(#[from] TemplateError),
}
