//! From a disk to `/workspace`.
//!
//! The baseline lies below, what was changed above. The two are joined at a place that no process of the
//! guest can reach, and the tree alone is shown at `/workspace`: so a push is staged in the same mount as the
//! tree, where a rename moves it, and is not seen before it is whole.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_remount, move_mount, open_tree,
    unmount,
};

use super::directory::open_child;
use super::disk::Disk;
use super::error::{WorkspaceError, step};

/// Name of the directory, in a place of the agent's own, where the layers are joined.
pub(crate) const JOINT: &str = "workspace";

/// Where the tree is shown.
pub(crate) const SHOWN_AT: &str = "/workspace";

/// Relative to the disk's directory, so that no path of the agent's is seen in a guest's list of mounts.
/// `redirect_dir` lets directories be renamed, `index` keeps hard links together when they are copied up;
/// copying up without contents would leave files whose contents are in a layer below.
const OPTIONS: &std::ffi::CStr =
    c"lowerdir=base,upperdir=upper,workdir=work,index=on,redirect_dir=on,metacopy=off";

/// How long a path a moved directory of the baseline may have had: the kernel's default of 256 bytes makes
/// renames of deep directories fail.
const REDIRECT_BYTES_MAX: &str = "2048";
const REDIRECT_PARAMETER: &str = "/sys/module/overlay/parameters/redirect_max";

/// The joined layers.
#[derive(Debug)]
pub(crate) struct Joint {
    /// `/workspace` as the guest sees it.
    pub(crate) tree: OwnedFd,
    /// Where pushes are staged.
    pub(crate) stage: OwnedFd,
}

/// Joins the layers at [`JOINT`] in `place`.
pub(crate) fn join(disk: &Disk, place: BorrowedFd<'_>) -> Result<Joint, WorkspaceError> {
    // A kernel without the parameter refuses such renames, as it always did.
    let _ = std::fs::write(REDIRECT_PARAMETER, REDIRECT_BYTES_MAX);
    let target = joint_path(place);
    let flags = MountFlags::NOATIME | MountFlags::NODEV;
    let before = rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(step("the working directory cannot be opened"))?;
    rustix::process::fchdir(disk.home()).map_err(step("the workspace's disk cannot be entered"))?;
    let mounted = mount("overlay", target, "overlay", flags, OPTIONS);
    rustix::process::fchdir(&before).map_err(step("the working directory cannot be left"))?;
    mounted.map_err(step("the workspace cannot be mounted"))?;
    let open = || {
        let top = open_child(place, JOINT.as_bytes())?;
        Ok(Joint { tree: open_child(&top, b"tree")?, stage: open_child(&top, b"stage")? })
    };
    open().map_err(step("the workspace cannot be opened"))
}

/// Shows the tree at `target`, a directory of the guest's.
pub(crate) fn show(joint: &Joint, target: &str) -> Result<(), WorkspaceError> {
    let show = || {
        let clone =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(&joint.tree, "", clone)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = rustix::fs::openat(CWD, target, flags, Mode::empty())?;
        let by_descriptors =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&tree, "", &target, "", by_descriptors)?;
        // The agent opens no device there; the guest's processes may, as anywhere.
        let shown = format!("/proc/self/fd/{}", tree.as_fd().as_raw_fd());
        mount_remount(shown, MountFlags::BIND | MountFlags::NOATIME, c"")
    };
    show().map_err(step("/workspace cannot be mounted"))
}

/// Undoes [`show`]; fails, and changes nothing, while somebody is in there.
pub(crate) fn hide(target: &str) -> Result<(), WorkspaceError> {
    match unmount(target, UnmountFlags::empty()) {
        Err(Errno::BUSY) => Err(WorkspaceError::Refused("a process is in /workspace")),
        result => result.map_err(step("/workspace cannot be unmounted")),
    }
}

/// Undoes [`join`], once nothing is shown any more.
pub(crate) fn part(joint: Joint, place: BorrowedFd<'_>) -> Result<(), WorkspaceError> {
    drop(joint);
    unmount(joint_path(place), UnmountFlags::empty()).map_err(step("the workspace cannot be taken apart"))
}

fn joint_path(place: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}/{JOINT}", place.as_raw_fd())
}
