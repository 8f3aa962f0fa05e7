//! From the kernel's first process to an agent that can be spoken to.
//!
//! Owns everything that is done once per boot, before a template is saved: it does nothing that would make
//! two forks of one template alike in what must differ.

mod cgroups;
mod devices;
mod loopback;
mod modules;
mod mounts;

pub(crate) use cgroups::make_command_cgroups;
pub(crate) use devices::{find_disk, ports};
pub(crate) use loopback::bring_up_loopback;
pub(crate) use modules::load_modules;
pub(crate) use mounts::{mount_devices, mount_kernel_filesystems, open_console};

use rustix::io::Errno;

/// A step of the boot that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// A filesystem of the kernel's could not be mounted.
    #[error("{target} cannot be mounted: {errno}")]
    Mount { target: &'static str, errno: Errno },
    /// The list of modules could not be read.
    #[error("the list of modules cannot be read: {0}")]
    ModuleOrder(Errno),
    /// A port never showed up.
    #[error("there is no port named {0}")]
    PortMissing(&'static str),
    /// A port is there and cannot be opened.
    #[error("the port named {name} cannot be opened: {errno}")]
    Port { name: &'static str, errno: Errno },
    /// The machine has no vsock device that works.
    #[error("there is no vsock device: {0}")]
    Vsock(std::io::Error),
    /// The control groups of commands could not be made.
    #[error("control groups cannot be made: {0}")]
    Cgroups(Errno),
}
