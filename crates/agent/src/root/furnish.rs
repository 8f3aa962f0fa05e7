//! What an image may lack and a system needs: some directories, and the files of `/etc` that tell a system
//! who it is. Written into the upper layer before the layers are joined, which spares the copying up that a
//! write through the joined root costs.
//!
//! Never touches what the upper layer has: that may be what a user made of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pyro_proto::agent::Prepare;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use crate::small_file::create_at;

const RESOLV_CONF: &[u8] = b"# This guest has no network.\n";

/// Directories of every system, with the mode of one that is made.
const DIRECTORIES: [(&str, RawMode); 6] =
    [("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("run", 0o755), ("tmp", 0o1777), ("workspace", 0o755)];

/// The two layers of a root, not yet joined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers<'a> {
    pub(crate) base: BorrowedFd<'a>,
    pub(crate) upper: BorrowedFd<'a>,
}

/// Writes what is missing into the upper layer.
pub(crate) fn furnish(layers: Layers<'_>, prepare: &Prepare) -> rustix::io::Result<()> {
    for (name, mode) in DIRECTORIES {
        layers.ensure_directory(name, mode)?;
    }
    let Some(etc) = layers.open_etc()? else { return Ok(()) };
    let create = |name, contents: &[u8], mode| match exists(etc.as_fd(), name) {
        true => Ok(()),
        false => create_at(&etc, name, contents, Mode::from_raw_mode(mode)),
    };
    create("hostname", format!("{}\n", prepare.hostname).as_bytes(), 0o644)?;
    create("hosts", hosts(&prepare.hostname).as_bytes(), 0o644)?;
    create("machine-id", format!("{}\n", prepare.machine_id).as_bytes(), 0o444)?;
    if !layers.base_resolves("etc/resolv.conf") {
        create("resolv.conf", RESOLV_CONF, 0o644)?;
    }
    if !exists(etc.as_fd(), "mtab") && !exists(layers.base, "etc/mtab") {
        rustix::fs::symlinkat("../proc/self/mounts", &etc, "mtab")?;
    }
    Ok(())
}

/// Opens a directory of the joined root that must be one; whatever a user has left in its place gives way.
pub(crate) fn open_mount_point(root: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    // An image may have a symlink here; it must lead inside.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat2(root, name, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    match open() {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            make_directory(root, name, 0o755)?;
            open()
        }
        result => result,
    }
}

impl Layers<'_> {
    /// A directory of the joined root; something else of that name in the base is covered.
    fn ensure_directory(self, name: &str, mode: RawMode) -> rustix::io::Result<()> {
        let is_there = exists(self.upper, name)
            || kind(self.base, name) == Some(FileType::Directory)
            || self.base_resolves_to_directory(name);
        if is_there {
            return Ok(());
        }
        make_directory(self.upper, name, mode)
    }

    /// `/etc` of the upper layer, as the base has it; none where a user has made something else of it.
    fn open_etc(self) -> rustix::io::Result<Option<OwnedFd>> {
        let known = kind(self.upper, "etc");
        if known.is_some_and(|kind| kind != FileType::Directory) {
            return Ok(None);
        }
        if known.is_none() {
            make_directory(self.upper, "etc", 0o755)?;
            if let Some(base) = stat(self.base, "etc").filter(|base| is_directory(base.st_mode)) {
                match_owner(self.upper, "etc", &base)?;
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(self.upper, "etc", flags, Mode::empty()).map(Some)
    }

    fn base_resolves(self, path: &str) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(self.base, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).is_ok()
    }

    fn base_resolves_to_directory(self, path: &str) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        rustix::fs::openat2(self.base, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).is_ok()
    }
}

fn hosts(hostname: &str) -> String {
    format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {hostname}\n")
}

/// Makes a directory; whatever else has the name in this layer gives way.
pub(crate) fn make_directory(parent: BorrowedFd<'_>, name: &str, mode: RawMode) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Err(Errno::EXIST) if kind(parent, name) == Some(FileType::Directory) => return Ok(()),
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode))?;
        }
        result => result?,
    }
    // A mode that the process's mask of 022 takes nothing from needs no second call.
    if mode & 0o022 == 0 {
        Ok(())
    } else {
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
    }
}

fn match_owner(parent: BorrowedFd<'_>, name: &str, base: &Stat) -> rustix::io::Result<()> {
    if (base.st_uid, base.st_gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(base.st_uid), Gid::from_raw(base.st_gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if base.st_mode & 0o7777 != 0o755 {
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(base.st_mode), AtFlags::empty())?;
    }
    Ok(())
}

fn stat(parent: BorrowedFd<'_>, path: &str) -> Option<Stat> {
    rustix::fs::statat(parent, path, AtFlags::SYMLINK_NOFOLLOW).ok()
}

fn kind(parent: BorrowedFd<'_>, path: &str) -> Option<FileType> {
    stat(parent, path).map(|stat| FileType::from_raw_mode(stat.st_mode))
}

fn exists(parent: BorrowedFd<'_>, path: &str) -> bool {
    stat(parent, path).is_some()
}

fn is_directory(mode: RawMode) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::agent::WorkspaceDisk;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::{Path, PathBuf};

    struct Root {
        directory: tempfile::TempDir,
    }

    impl Root {
        fn new() -> Root {
            let directory = tempfile::tempdir().unwrap();
            for layer in ["base", "upper"] {
                std::fs::create_dir(directory.path().join(layer)).unwrap();
            }
            Root { directory }
        }

        fn base(&self, path: &str) -> PathBuf {
            self.directory.path().join("base").join(path)
        }

        fn upper(&self, path: &str) -> PathBuf {
            self.directory.path().join("upper").join(path)
        }

        fn furnish(&self) {
            let prepare = Prepare {
                entropy: [0; 32],
                realtime_ns: 0,
                hostname: "vm-1".to_owned(),
                machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
                workspace: WorkspaceDisk::Plain,
                boot_id: None,
            };
            let (base, upper) = (open(&self.base("")), open(&self.upper("")));
            furnish(Layers { base: base.as_fd(), upper: upper.as_fd() }, &prepare).unwrap();
        }
    }

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    /// An empty image still resolves localhost and its own name, and has a place for temporary files.
    #[test]
    fn an_empty_image_is_furnished() {
        let root = Root::new();
        root.furnish();
        let hosts = std::fs::read_to_string(root.upper("etc/hosts")).unwrap();
        assert!(hosts.contains("127.0.0.1 localhost\n") && hosts.contains("127.0.1.1 vm-1\n"));
        assert_eq!(std::fs::metadata(root.upper("etc/machine-id")).unwrap().mode() & 0o777, 0o444);
        assert_eq!(std::fs::metadata(root.upper("tmp")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(std::fs::read(root.upper("etc/resolv.conf")).unwrap(), RESOLV_CONF);
    }

    /// What an image has is left as it is, and a second start changes nothing.
    #[test]
    fn only_what_is_missing_is_made() {
        let root = Root::new();
        for name in ["proc", "sys", "dev", "run", "tmp", "etc"] {
            std::fs::create_dir(root.base(name)).unwrap();
        }
        std::fs::write(root.base("etc/resolv.conf"), "nameserver 10.0.0.1\n").unwrap();
        symlink("/proc/mounts", root.base("etc/mtab")).unwrap();
        root.furnish();
        let made = |path: &str| std::fs::read_dir(root.upper(path)).unwrap().count();
        assert_eq!((made(""), made("etc")), (2, 3));
        let inode = std::fs::metadata(root.upper("etc/hostname")).unwrap().ino();
        root.furnish();
        assert_eq!(std::fs::metadata(root.upper("etc/hostname")).unwrap().ino(), inode);
    }

    /// A dangling resolv.conf of an image becomes a file; a symlink that a user left in place of a file of
    /// ours stays, and is not followed.
    #[test]
    fn symlinks_do_not_lead_astray() {
        let root = Root::new();
        std::fs::create_dir(root.base("etc")).unwrap();
        symlink("../run/nowhere", root.base("etc/resolv.conf")).unwrap();
        std::fs::create_dir(root.upper("etc")).unwrap();
        let outside = root.directory.path().join("outside");
        symlink(&outside, root.upper("etc/machine-id")).unwrap();
        root.furnish();
        assert_eq!(std::fs::read(root.upper("etc/resolv.conf")).unwrap(), RESOLV_CONF);
        assert_eq!(std::fs::read_link(root.upper("etc/machine-id")).unwrap(), outside);
        assert!(!outside.exists());
    }

    /// What a user made of a system survives a start, whatever it is, and lets it start.
    #[test]
    fn what_a_user_has_made_survives() {
        let root = Root::new();
        std::fs::create_dir(root.base("etc")).unwrap();
        root.furnish();
        std::fs::write(root.upper("etc/hosts"), "10.0.0.1 mine\n").unwrap();
        std::fs::remove_file(root.upper("etc/hostname")).unwrap();
        std::fs::create_dir_all(root.upper("etc/hostname/directory")).unwrap();
        std::fs::remove_dir(root.upper("tmp")).unwrap();
        symlink("var/tmp", root.upper("tmp")).unwrap();
        root.furnish();
        assert_eq!(std::fs::read(root.upper("etc/hosts")).unwrap(), b"10.0.0.1 mine\n");
        assert!(root.upper("etc/hostname/directory").is_dir());
        assert_eq!(std::fs::read_link(root.upper("tmp")).unwrap(), Path::new("var/tmp"));
        std::fs::remove_dir_all(root.upper("etc")).unwrap();
        symlink("/nowhere", root.upper("etc")).unwrap();
        root.furnish();
        assert_eq!(std::fs::read_link(root.upper("etc")).unwrap(), Path::new("/nowhere"));
    }

    /// A mount point that is gone, or something else by now, is made again.
    #[test]
    fn mount_points_are_there() {
        let root = Root::new();
        let joined = open(&root.upper(""));
        std::fs::write(root.upper("sys"), "").unwrap();
        symlink("circle", root.upper("circle")).unwrap();
        for name in ["proc", "sys", "circle"] {
            open_mount_point(joined.as_fd(), name).unwrap();
            assert!(root.upper(name).is_dir(), "{name}");
        }
    }
}
