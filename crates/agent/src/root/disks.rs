//! The disks of a guest, mounted by the names that the host gave them.

use std::path::PathBuf;

use pyro_proto::agent::{Failure, FailureKind};
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use crate::boot::find_disk;
use crate::failure::{failure, system};

/// The device of the disk with this serial.
pub(crate) fn disk(serial: &str) -> Result<PathBuf, Failure> {
    find_disk(serial)
        .ok_or_else(|| failure(FailureKind::DiskMissing, format!("this VM has no disk named {serial}")))
}

/// Mounts an ext4 filesystem at `target`, a directory that is made if need be.
pub(crate) fn mount_ext4(
    device: &std::path::Path,
    target: &str,
    flags: MountFlags,
    options: &std::ffi::CStr,
) -> Result<(), Failure> {
    make_directory(target)
        .and_then(|()| mount(device, target, "ext4", flags, options))
        .map_err(|errno| system(format_args!("the disk for {target} cannot be mounted"), errno))
}

/// Makes a directory of the agent's own, which may be there already.
pub(crate) fn make_directory(path: &str) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}
