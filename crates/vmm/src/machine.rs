//! What a virtual machine is made of, without how it is started.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{DISKS_MAX, LAYERS_MAX, MEMORY_MIB, SERIAL_BYTES_MAX, VCPU_COUNT};

/// How guest code is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// By the processor, through `/dev/kvm`.
    Kvm,
    /// By translation, in software.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        })
    }
}

/// How the guest is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Two connections of AF_VSOCK, through `/dev/vhost-vsock`.
    Vsock,
    /// Two virtio-serial ports.
    Serial,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Vsock => "vsock",
            Transport::Serial => "serial",
        })
    }
}

/// A description of a machine that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// Too few or too many virtual CPUs.
    #[error("{asked} vCPUs: must be {} to {}", VCPU_COUNT.start(), VCPU_COUNT.end())]
    VcpuCount {
        /// What was asked for.
        asked: u32,
    },
    /// Too little or too much memory.
    #[error("{asked} MiB of memory: must be {} to {}", MEMORY_MIB.start(), MEMORY_MIB.end())]
    Memory {
        /// What was asked for.
        asked: u32,
    },
    /// A serial the guest could not see whole, or that would need quoting.
    #[error("disk serial {serial:?}: must be 1 to {SERIAL_BYTES_MAX} of a-z, 0-9 and '-'")]
    Serial {
        /// What was asked for.
        serial: String,
    },
    /// More disks than the machine has slots.
    #[error("{asked} disks: at most {DISKS_MAX}")]
    DiskCount {
        /// What was asked for.
        asked: usize,
    },
    /// A disk of too many layers.
    #[error("a disk of {asked} layers: at most {LAYERS_MAX}")]
    LayerCount {
        /// What was asked for.
        asked: usize,
    },
    /// A kernel argument with a space, a control or a non-ASCII character in it, or a line too long.
    #[error("kernel argument {argument:?} cannot be passed")]
    KernelArgument {
        /// What was asked for.
        argument: String,
    },
}

/// Processor, memory and channel of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Shape {
    accelerator: Accelerator,
    transport: Transport,
    vcpu_count: u8,
    memory_mib: u32,
}

impl Shape {
    /// A shape within [`VCPU_COUNT`] and [`MEMORY_MIB`].
    ///
    /// # Errors
    /// When a value is outside.
    pub fn new(
        accelerator: Accelerator,
        transport: Transport,
        vcpu_count: u32,
        memory_mib: u32,
    ) -> Result<Self, MachineError> {
        let vcpus = u8::try_from(vcpu_count).ok().filter(|count| VCPU_COUNT.contains(count));
        let vcpu_count = vcpus.ok_or(MachineError::VcpuCount { asked: vcpu_count })?;
        if !MEMORY_MIB.contains(&memory_mib) {
            return Err(MachineError::Memory { asked: memory_mib });
        }
        Ok(Self { accelerator, transport, vcpu_count, memory_mib })
    }

    /// How guest code is executed.
    pub fn accelerator(self) -> Accelerator {
        self.accelerator
    }

    /// How the guest is reached.
    pub fn transport(self) -> Transport {
        self.transport
    }

    /// Virtual CPUs.
    pub fn vcpu_count(self) -> u8 {
        self.vcpu_count
    }

    /// Memory, in MiB.
    pub fn memory_mib(self) -> u32 {
        self.memory_mib
    }

    /// Memory, in bytes.
    pub fn memory_bytes(self) -> u64 {
        u64::from(self.memory_mib) << 20
    }
}

/// The name by which the guest finds a disk (`/sys/block/*/serial`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Serial(String);

impl Serial {
    /// The serial as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = MachineError;

    fn from_str(text: &str) -> Result<Self, MachineError> {
        let fits = !text.is_empty() && text.len() <= SERIAL_BYTES_MAX;
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits && plain {
            Ok(Self(text.to_owned()))
        } else {
            Err(MachineError::Serial { serial: text.to_owned() })
        }
    }
}

/// Where a disk's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// A raw file, never written.
    ReadOnly(PathBuf),
    /// A raw file, written in place.
    Writable(PathBuf),
    /// A qcow2 overlay over layers and a raw file that are never written.
    Overlay {
        /// The qcow2 file that takes what the guest writes.
        overlay: PathBuf,
        /// The qcow2 files under it, lowest first.
        layers: Vec<PathBuf>,
        /// The raw file under them all.
        backing: PathBuf,
    },
}

impl Image {
    /// Files that stand between the raw file and the overlay.
    pub(crate) fn layer_count(&self) -> usize {
        match self {
            Image::ReadOnly(_) | Image::Writable(_) => 0,
            Image::Overlay { layers, .. } => layers.len(),
        }
    }
}

/// Whether what the guest flushes must be on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flush {
    /// Yes: no lost work.
    Honored,
    /// No: the disk does not outlive its VM.
    Ignored,
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its name in the guest.
    pub serial: Serial,
    /// Its bytes.
    pub image: Image,
    /// Whether flushes count.
    pub flush: Flush,
}

/// A whole machine.
///
/// The kernel is an ELF file with a PVH note (an unpacked `vmlinux`). Kernel and initramfs must be readable by
/// the user id QEMU runs under; disks need not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Processor, memory and channel.
    pub shape: Shape,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initrd: PathBuf,
    /// Words added to the kernel's command line, for the guest's own use.
    pub kernel_arguments: Vec<String>,
    /// Disks; the guest must find them by serial.
    pub disks: Vec<Disk>,
}

impl Machine {
    /// Checks what the types do not: the number of disks and of their layers, and the kernel's arguments.
    ///
    /// # Errors
    /// When there are too many disks or layers, or an argument that is not one printable word.
    pub fn check(&self) -> Result<(), MachineError> {
        if self.disks.len() > DISKS_MAX {
            return Err(MachineError::DiskCount { asked: self.disks.len() });
        }
        let deepest = self.disks.iter().map(|disk| disk.image.layer_count()).max().unwrap_or(0);
        if deepest > LAYERS_MAX {
            return Err(MachineError::LayerCount { asked: deepest });
        }
        let bad =
            self.kernel_arguments.iter().find(|a| a.is_empty() || !a.bytes().all(|b| b.is_ascii_graphic()));
        match bad {
            Some(argument) => Err(MachineError::KernelArgument { argument: argument.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_outside_the_limits_do_not_exist() {
        // Promise: an absurd vCPU or memory value is refused with the value in the message.
        let shape = |vcpus, mib| Shape::new(Accelerator::Tcg, Transport::Serial, vcpus, mib);
        assert!(shape(1, 128).is_ok());
        assert_eq!(shape(0, 1024), Err(MachineError::VcpuCount { asked: 0 }));
        assert_eq!(shape(257, 1024), Err(MachineError::VcpuCount { asked: 257 }));
        assert_eq!(shape(1, 127), Err(MachineError::Memory { asked: 127 }));
        assert_eq!(shape(1, u32::MAX), Err(MachineError::Memory { asked: u32::MAX }));
    }

    #[test]
    fn serials_need_no_quoting_and_reach_the_guest_whole() {
        // Promise: a serial can neither be cut short nor smuggle in another option.
        assert!("base".parse::<Serial>().is_ok());
        for bad in ["", "a,b", "A", "a b", "x".repeat(21).as_str()] {
            assert!(bad.parse::<Serial>().is_err(), "{bad:?}");
        }
    }
}
