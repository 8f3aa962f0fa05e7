//! The kernel's own filesystems, mounted in the initramfs and later moved into the guest's root as they are.

use rustix::fs::{Mode, OFlags, symlink};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::BootError;

const NOTHING: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// `/proc`, `/sys`, `/dev` and the unified control groups.
pub(crate) fn mount_kernel_filesystems() -> Result<(), BootError> {
    mounted("/proc", "proc", NOTHING, c"")?;
    mounted("/sys", "sysfs", NOTHING, c"")?;
    mounted("/dev", "devtmpfs", MountFlags::NOSUID, c"mode=0755")?;
    mounted("/sys/fs/cgroup", "cgroup2", NOTHING, c"nsdelegate")
}

/// What belongs below `/dev`, and `/run`. Made before a template is saved: it is alike in every fork.
pub(crate) fn mount_devices() -> Result<(), BootError> {
    mounted("/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, c"ptmxmode=0666,mode=0620,gid=5")?;
    mounted("/dev/shm", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    mounted("/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")?;
    // A kernel without message queues is a kernel all the same.
    let _ = mounted("/dev/mqueue", "mqueue", NOTHING, c"");
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        let _ = symlink(target, link);
    }
    Ok(())
}

/// Makes the console the agent's three standard streams: a kernel that found none has left them closed, and
/// a port must not become one of them. Keeps the kernel itself quiet but for what ends it.
pub(crate) fn open_console() {
    let _ = std::fs::write("/proc/sys/kernel/printk", "3");
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let Ok(console) = rustix::fs::open("/dev/console", flags, Mode::empty())
        .or_else(|_| rustix::fs::open("/dev/null", flags, Mode::empty()))
    else {
        return;
    };
    let _ = rustix::stdio::dup2_stdin(&console);
    let _ = rustix::stdio::dup2_stdout(&console);
    let _ = rustix::stdio::dup2_stderr(&console);
    if std::os::fd::AsRawFd::as_raw_fd(&console) <= 2 {
        std::mem::forget(console);
    }
}

fn mounted(
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    options: &std::ffi::CStr,
) -> Result<(), BootError> {
    let _ = rustix::fs::mkdir(target, Mode::from_raw_mode(0o755));
    match mount(kind, target, kind, flags, options) {
        // The kernel may have mounted devtmpfs itself.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(errno) => Err(BootError::Mount { target, errno }),
    }
}
