//! The few files of `/etc` that tell a system who it is. A file that already says so is left alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pyro_proto::agent::Prepare;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::small_file::{ensure_at, read_in};

const RESOLV_CONF: &[u8] = b"# This guest has no network.\n";

/// Writes them below `root`; `/etc` is made where an image has none.
pub(crate) fn write_etc(root: BorrowedFd<'_>, prepare: &Prepare) -> rustix::io::Result<()> {
    let etc = open_etc(root)?;
    let file = Mode::from_raw_mode(0o644);
    ensure_at(&etc, "hostname", format!("{}\n", prepare.hostname).as_bytes(), file)?;
    ensure_at(&etc, "hosts", hosts(&prepare.hostname).as_bytes(), file)?;
    ensure_at(&etc, "machine-id", format!("{}\n", prepare.machine_id).as_bytes(), Mode::from_raw_mode(0o444))?;
    if read_in(root, "etc/resolv.conf", 0).is_err() {
        ensure_at(&etc, "resolv.conf", RESOLV_CONF, file)?;
    }
    match rustix::fs::symlinkat("../proc/self/mounts", &etc, "mtab") {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

fn hosts(hostname: &str) -> String {
    format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {hostname}\n")
}

fn open_etc(root: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat2(root, "etc", flags, Mode::empty(), ResolveFlags::IN_ROOT);
    open().or_else(|_| {
        ensure_directory(root, "etc", 0o755)?;
        open()
    })
}

/// Makes a directory where there is none; whatever else has the name gives way.
pub(crate) fn ensure_directory(parent: BorrowedFd<'_>, name: &str, mode: u32) -> rustix::io::Result<()> {
    let make = || {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
    };
    match make() {
        Err(Errno::EXIST) if is_directory(parent, name) => Ok(()),
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            make()
        }
        result => result,
    }
}

fn is_directory(parent: BorrowedFd<'_>, name: &str) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(parent.as_fd(), name, flags, Mode::empty(), ResolveFlags::IN_ROOT).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    fn written(root: &Path) {
        let prepare = Prepare {
            entropy: [0; 32],
            realtime_ns: 0,
            hostname: "vm-1".to_owned(),
            machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
        };
        let root = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        write_etc(root.as_fd(), &prepare).unwrap();
    }

    /// An image without `/etc` still resolves localhost and its own name.
    #[test]
    fn an_empty_image_gets_its_files() {
        let root = tempfile::tempdir().unwrap();
        written(root.path());
        let hosts = std::fs::read_to_string(root.path().join("etc/hosts")).unwrap();
        assert!(hosts.contains("127.0.0.1 localhost\n") && hosts.contains("127.0.1.1 vm-1\n"));
        let mode = std::fs::metadata(root.path().join("etc/machine-id")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o444);
    }

    /// A file that is right is not rewritten, a wrong one is, and a dangling resolv.conf becomes a file.
    #[test]
    fn only_what_differs_is_written() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("hostname"), "vm-1\n").unwrap();
        std::fs::write(etc.join("hosts"), "10.0.0.1 other\n").unwrap();
        symlink("../run/nowhere", etc.join("resolv.conf")).unwrap();
        symlink("/outside", etc.join("machine-id")).unwrap();
        let inode = std::fs::metadata(etc.join("hostname")).unwrap().ino();
        written(root.path());
        assert_eq!(std::fs::metadata(etc.join("hostname")).unwrap().ino(), inode);
        assert!(std::fs::read_to_string(etc.join("hosts")).unwrap().starts_with("127.0.0.1"));
        assert_eq!(std::fs::read(etc.join("resolv.conf")).unwrap(), RESOLV_CONF);
        assert!(std::fs::symlink_metadata(etc.join("machine-id")).unwrap().is_file());
    }

    /// A name server that an image brings along is kept.
    #[test]
    fn a_name_server_is_kept() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/resolv.conf"), "nameserver 10.0.0.1\n").unwrap();
        written(root.path());
        assert_eq!(std::fs::read(root.path().join("etc/resolv.conf")).unwrap(), b"nameserver 10.0.0.1\n");
    }
}
