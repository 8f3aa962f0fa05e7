//! The boot id that a guest's software sees: a file of the agent's over the kernel's own.
//!
//! The kernel draws its boot id once and keeps it, so a copy of a guest that has looked at it would share it.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount_remount, move_mount, open_tree};

use crate::limits::SMALL_FILE_BYTES_MAX;
use crate::small_file::{read_at, write_all};

const SHOWN_AT: &str = "/proc/sys/kernel/random/boot_id";

/// Name of the file, in a place that no path of the guest leads to.
const FILE: &str = "boot-id";

/// Shows `boot_id`, a UUID, to everybody in the guest. The file is always as long, so writing it anew is enough
/// where it is shown already.
pub(crate) fn show(place: BorrowedFd<'_>, boot_id: &str) -> rustix::io::Result<()> {
    let contents = format!("{boot_id}\n").into_bytes();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(place, FILE, flags, Mode::from_raw_mode(0o444))?;
    write_all(&file, &contents, 0)?;
    if read_at(CWD, SHOWN_AT, SMALL_FILE_BYTES_MAX)? == contents {
        return Ok(());
    }
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(place, FILE, clone)?;
    move_mount(&tree, "", CWD, SHOWN_AT, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    let shown = format!("/proc/self/fd/{}", tree.as_raw_fd());
    let read_only = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_remount(shown, MountFlags::BIND | read_only, c"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::namespace::in_namespace;
    use std::os::fd::AsFd;

    /// Every process sees the boot id that a copy was given last, and none can change it; it is mounted once.
    #[test]
    fn the_last_boot_id_is_shown() {
        if !in_namespace("root::boot_id::tests::the_last_boot_id_is_shown") {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let place = rustix::fs::open(directory.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        for digit in ["1", "2"] {
            let boot_id = "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace('x', digit);
            show(place.as_fd(), &boot_id).unwrap();
            let seen = std::process::Command::new("cat").arg(SHOWN_AT).output().unwrap();
            assert_eq!(String::from_utf8(seen.stdout).unwrap(), format!("{boot_id}\n"));
            assert!(std::fs::write(SHOWN_AT, "mine\n").is_err());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(mounts.matches(SHOWN_AT).count(), 1);
    }
}
