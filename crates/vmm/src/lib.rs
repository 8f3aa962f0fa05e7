//! Virtual machines: QEMU's microvm behind a trait.
//!
//! What the crate owns: starting a confined QEMU, its control channel, its console, how it ended; templates
//! and their forks; blank scratch disks. What it must never do: know of workspaces, or of what is said over
//! the two byte streams to the guest ([`GuestChannels`]); let QEMU open a file by a path of the host; trust a
//! QEMU that runs.
//!
//! Callers use a current-thread runtime with I/O and time enabled, on a thread that lives as long as its VMs.

mod arguments;
mod confinement;
mod console;
mod error;
mod exit;
#[cfg(feature = "fake")]
pub mod fake;
mod guest_memory;
mod kernel_line;
mod launch;
pub mod limits;
mod live_disk;
mod machine;
mod memory_file;
mod qemu;
mod qemu_vm;
mod qmp;
mod rendezvous;
mod scratch;
mod sparse;
mod stub_kernel;
mod template;
mod tsc;
mod vm;

pub use confinement::Confinement;
pub use error::VmmError;
pub use exit::{Death, Exit};
pub use machine::{Accelerator, Disk, Flush, Image, Machine, MachineError, Serial, Shape, Transport};
pub use qemu::{QEMU_PROGRAM, QEMU_VERSION_MIN, Qemu, QemuError, QemuVersion};
pub use qemu_vm::{QemuVm, QemuVmm};
pub use qmp::QmpError;
pub use rendezvous::{VHOST_DEVICE, try_vsock};
pub use scratch::{
    BLANK_RECIPE, ScratchError, check_layer, create_blank, create_disposable_overlay, create_overlay,
    merge_layers,
};
pub use template::{Draft, KeyInputs, Template, TemplateDisk, TemplateError, TemplateKey, host_processor};
pub use vm::{Approach, BaseCopy, Captured, GuestChannels, Status, Timings, Vm, Vmm};
