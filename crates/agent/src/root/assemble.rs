//! Puts the root together and steps into it for good.
//!
//! The agent moves the new root over the initramfs instead of changing its root alone: the kernel refuses
//! user namespaces to processes in a mere chroot. What can be done before a fork is done before: after it,
//! under emulation, every path through the kernel is slow once.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use pyro_proto::agent::{DISK_BASE, DISK_SCRATCH, Failure, Prepare, WorkspaceDisk};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, mount, mount_change, mount_move, move_mount,
};

use super::disks::{disk, make_directory, mount_ext4};
use super::furnish::{self, Layers, furnish};
use super::identity;
use super::standing::Standing;
use super::warm::read_ahead;
use crate::failure::system;
use crate::scratch::Scratch;
use crate::workspace::{JOINT, Unattached};

const BASE: &str = "/base";
const SCRATCH: &str = "/scratch";
const NEW_ROOT: &str = "/newroot";
const JOINTS: &str = "/joints";

/// No index, no metadata-only copies, no redirects: an upper layer that any kernel reads the same, alone.
const OVERLAY_OPTIONS: &std::ffi::CStr =
    c"lowerdir=/base,upperdir=/scratch/root/upper,workdir=/scratch/root/work,index=off,metacopy=off,redirect_dir=off";

/// Where commands start, and a workspace is mounted.
const WORKSPACE: &str = "workspace";

/// Mounts that are made at boot and move into the root.
const MOVED: [&str; 4] = ["proc", "sys", "dev", "run"];

/// A mounted base image, and what else a fork will need at hand.
#[derive(Debug)]
pub(crate) struct Warm {
    base: OwnedFd,
    /// The scratch disk's device: found before the fork, since looking costs.
    scratch: PathBuf,
    /// Where a workspace's layers are joined, out of the guest's sight.
    joints: OwnedFd,
}

/// Mounts the base image and reads what every command will need. Touches nothing of the scratch disk: a
/// fork will have another one there.
pub(crate) fn warm() -> Result<Warm, Failure> {
    let device = disk(DISK_BASE)?;
    let scratch = disk(DISK_SCRATCH)?;
    mount_ext4(&device, BASE, MountFlags::RDONLY | MountFlags::NOATIME | MountFlags::NODEV, c"")?;
    let joint = format!("{JOINTS}/{JOINT}");
    [SCRATCH, NEW_ROOT, JOINTS, &joint]
        .into_iter()
        .try_for_each(make_directory)
        .map_err(|errno| system("a mount point cannot be made", errno))?;
    let joints = open_directory(JOINTS).map_err(|errno| system("a mount point cannot be opened", errno))?;
    let base = open_directory(BASE).map_err(|errno| system("the base image cannot be opened", errno))?;
    read_ahead(base.as_fd());
    Ok(Warm { base, scratch, joints })
}

/// Makes this fork itself and assembles its root. `prepare` has passed [`super::check`]. Gives the root, and the
/// workspace that is to be opened in it.
pub(crate) fn prepare(warm: Warm, prepare: &Prepare) -> Result<(Standing, Unattached), Failure> {
    identity::adopt(prepare)?;
    // `noinit_itable`: a fresh disk is not to be written to behind the guest's back.
    mount_ext4(&warm.scratch, SCRATCH, MountFlags::NOATIME | MountFlags::NODEV, c"noinit_itable")?;
    let scratch =
        open_directory(SCRATCH).map_err(|errno| system("the scratch disk cannot be opened", errno))?;
    lay_out(&scratch, &warm, prepare)
        .map_err(|errno| system("the scratch disk cannot be laid out", errno))?;
    mount("overlay", NEW_ROOT, "overlay", MountFlags::NOATIME, OVERLAY_OPTIONS)
        .map_err(|errno| system("the root cannot be mounted", errno))?;
    enter().map_err(|errno| system("the root cannot be entered", errno))?;
    let root = open_directory("/").map_err(|errno| system("the root cannot be opened", errno))?;
    let copy = |fd: &OwnedFd| {
        let copy = rustix::io::fcntl_dupfd_cloexec(fd, 0);
        copy.map_err(|errno| system("a descriptor cannot be copied", errno))
    };
    let (whole, place) = (Scratch::new(copy(&scratch)?), copy(&warm.joints)?);
    let unattached = Unattached::open(scratch, warm.joints)?;
    let standing = Standing::new(whole, root, place, unattached.record()?, prepare)?;
    Ok((standing, unattached))
}

fn lay_out(scratch: &OwnedFd, warm: &Warm, prepare: &Prepare) -> rustix::io::Result<()> {
    for name in ["root", "root/upper", "root/work"] {
        furnish::make_directory(scratch.as_fd(), name, 0o755)?;
    }
    let upper = rustix::fs::openat(scratch, "root/upper", DIRECTORY, Mode::empty())?;
    // An existing workspace was furnished at its first start: what is missing since, a user has removed.
    if prepare.workspace == WorkspaceDisk::Existing {
        return Ok(());
    }
    furnish(Layers { base: warm.base.as_fd(), upper: upper.as_fd() }, prepare)
}

fn enter() -> rustix::io::Result<()> {
    let root = open_directory(NEW_ROOT)?;
    let onto_fd = MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    furnish::open_mount_point(root.as_fd(), WORKSPACE)?;
    for name in MOVED {
        let target = furnish::open_mount_point(root.as_fd(), name)?;
        move_mount(CWD, format!("/{name}"), &target, "", onto_fd)?;
    }
    rustix::process::fchdir(&root)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    // As service managers have it, since container tools rely on it.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open_directory(path: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, DIRECTORY, Mode::empty())
}
