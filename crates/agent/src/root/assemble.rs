//! Puts the root together and steps into it for good.
//!
//! The agent moves the new root over the initramfs instead of changing its root alone: the kernel refuses
//! user namespaces to processes in a mere chroot.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use pyro_proto::agent::{DISK_BASE, DISK_SCRATCH, Failure, FailureKind, Prepare};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change, mount_move};

use super::etc::{ensure_directory, write_etc};
use super::identity;
use crate::boot::disk;
use crate::failure::{failure, system};

pub(crate) const BASE: &str = "/base";
const SCRATCH: &str = "/scratch";
const NEW_ROOT: &str = "/newroot";

/// No index, no metadata-only copies, no redirects: an upper layer that any kernel reads the same, alone.
const OVERLAY_OPTIONS: &std::ffi::CStr =
    c"lowerdir=/base,upperdir=/scratch/root/upper,workdir=/scratch/root/work,index=off,metacopy=off,redirect_dir=off";

/// Mounts that are made at boot and move into the root.
const MOVED: [&str; 4] = ["proc", "sys", "dev", "run"];

/// Makes this fork itself and assembles its root.
pub(crate) fn prepare(prepare: &Prepare) -> Result<(), Failure> {
    identity::check(prepare)?;
    identity::adopt(prepare)?;
    mount_base()?;
    mount_scratch()?;
    mount_overlay()?;
    let root = open_directory(NEW_ROOT).map_err(|errno| system("the root cannot be opened", errno))?;
    fill(root.as_fd(), prepare).map_err(|errno| system("the root cannot be furnished", errno))?;
    enter(&root).map_err(|errno| system("the root cannot be entered", errno))
}

/// Mounts the base image, unless it is mounted already.
pub(crate) fn mount_base() -> Result<(), Failure> {
    let flags = MountFlags::RDONLY | MountFlags::NOATIME | MountFlags::NODEV;
    match mount_disk(DISK_BASE, BASE, flags, c"") {
        Err(failure) if failure.kind == FailureKind::Refused => Ok(()),
        result => result,
    }
}

/// `noinit_itable`: a fresh disk is not to be written to behind the guest's back.
fn mount_scratch() -> Result<(), Failure> {
    mount_disk(DISK_SCRATCH, SCRATCH, MountFlags::NOATIME | MountFlags::NODEV, c"noinit_itable")?;
    let scratch = open_directory(SCRATCH).map_err(|errno| system("the scratch disk cannot be opened", errno))?;
    ["root", "root/upper", "root/work"]
        .iter()
        .try_for_each(|name| ensure_directory(scratch.as_fd(), name, 0o755))
        .map_err(|errno| system("the scratch disk cannot be laid out", errno))
}

/// Mounts the disk with this serial; `Refused` when something is mounted there already.
pub(crate) fn mount_disk(
    serial: &str,
    target: &str,
    flags: MountFlags,
    options: &std::ffi::CStr,
) -> Result<(), Failure> {
    let device = disk(serial)
        .ok_or_else(|| failure(FailureKind::DiskMissing, format!("this VM has no disk named {serial}")))?;
    make_directory(target).map_err(|errno| system(format_args!("{target} cannot be made"), errno))?;
    match mount(&device, target, "ext4", flags, options) {
        Err(Errno::BUSY) => Err(failure(FailureKind::Refused, format!("the {serial} disk is mounted already"))),
        result => result.map_err(|errno| system(format_args!("the {serial} disk cannot be mounted"), errno)),
    }
}

fn mount_overlay() -> Result<(), Failure> {
    make_directory(NEW_ROOT)
        .and_then(|()| mount("overlay", NEW_ROOT, "overlay", MountFlags::NOATIME, OVERLAY_OPTIONS))
        .map_err(|errno| system("the root cannot be mounted", errno))
}

fn fill(root: BorrowedFd<'_>, prepare: &Prepare) -> rustix::io::Result<()> {
    write_etc(root, prepare)?;
    ensure_directory(root, "tmp", 0o1777)?;
    ensure_directory(root, "workspace", 0o755)?;
    for name in MOVED {
        ensure_directory(root, name, 0o755)?;
        let target = Path::new(NEW_ROOT).join(name);
        mount_move(Path::new("/").join(name), &target)?;
    }
    Ok(())
}

fn enter(root: &OwnedFd) -> rustix::io::Result<()> {
    rustix::process::fchdir(root)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    // As systems have it since containers rely on it: mounts inside namespaces follow.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
}

pub(crate) fn make_directory(path: &str) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

pub(crate) fn open_directory(path: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
