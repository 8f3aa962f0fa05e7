//! What QEMU is allowed, in the jail's terms.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use pyro_jail::{Answer, Grant, Limits, RunAs, Spec};

use crate::limits::{ADDRESS_SPACE_SLACK_BYTES, OPEN_FILES_MAX, TRANSLATION_CACHE_MIB};
use crate::machine::Shape;
use crate::qemu::Qemu;

/// What the caller decides about the confinement of its VMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Ids to run QEMU under, when the caller is root.
    pub run_as: Option<RunAs>,
    /// Largest disk file QEMU may write, in bytes.
    pub file_bytes_max: u64,
    /// Most threads of the user id, when nothing else runs under it.
    pub task_count_max: Option<u64>,
}

/// ELF interpreters of x86-64 (System V ABI, and musl's), of which a machine has one or both.
const INTERPRETERS: &[&str] = &["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"];

/// Where shared libraries are, and what the dynamic linker reads to find them.
const LIBRARIES: &[&str] = &[
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/nix/store",
];

/// Firmware directories, beside QEMU's own.
const FIRMWARE: &[&str] = &["/usr/share/qemu", "/usr/share/seabios", "/usr/share/qboot"];

/// Devices and kernel files QEMU and its libraries read as they start.
const KERNEL_FILES: &[&str] = &["/dev/urandom", "/sys/devices/system/cpu"];

/// The spec of one QEMU.
pub(crate) fn spec(
    qemu: &Qemu,
    shape: Shape,
    confinement: &Confinement,
    inherit: Vec<OwnedFd>,
    grants: Vec<Grant>,
    answers: Vec<Answer>,
) -> Spec {
    Spec {
        run_as: confinement.run_as.clone(),
        execute: executables(qemu.path()),
        read: readable(qemu.path()),
        grants,
        answers,
        inherit,
        limits: Limits {
            file_bytes_max: confinement.file_bytes_max,
            address_space_bytes_max: Some(address_space_bytes(shape)),
            open_files_max: OPEN_FILES_MAX,
            task_count_max: confinement.task_count_max,
        },
    }
}

fn executables(qemu: &Path) -> Vec<PathBuf> {
    let interpreters = INTERPRETERS.iter().map(PathBuf::from).filter(|path| path.exists());
    interpreters.chain([qemu.to_owned()]).collect()
}

/// Libraries and firmware, also of a QEMU installed under a prefix of its own.
fn readable(qemu: &Path) -> Vec<PathBuf> {
    let own = qemu.parent().and_then(Path::parent).filter(|prefix| prefix.parent().is_some());
    let own = own.into_iter().flat_map(|prefix| [prefix.join("lib"), prefix.join("share/qemu")]);
    let system = LIBRARIES.iter().chain(FIRMWARE).chain(KERNEL_FILES).map(PathBuf::from);
    system.chain(own).collect()
}

fn address_space_bytes(shape: Shape) -> u64 {
    shape.memory_bytes() + (u64::from(TRANSLATION_CACHE_MIB) << 20) + ADDRESS_SPACE_SLACK_BYTES
}
