//! The files of a root that say who the system is, changed where they still say what they were given.
//!
//! A file that says something else is a user's own and stays. Works on the joined root, follows no symlink, and
//! leaves the mount it starts from nowhere: what a guest has put in the way must not lead the agent astray.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::identity::Identity;
use crate::limits::SMALL_FILE_BYTES_MAX;
use crate::small_file::{create_at, read, write_all};

/// How a file is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Its bytes are overwritten: quick, and for a root that goes with its VM.
    InPlace,
    /// Another takes its place, so that a guest that dies leaves one or the other.
    Replaced,
}

#[derive(Clone, Copy, Debug)]
enum Says {
    MachineId,
    Hostname,
    /// Among other things, which name is this system's own.
    Hosts,
}

const FILES: [(&str, &str, Says); 4] = [
    ("etc", "machine-id", Says::MachineId),
    ("etc", "hostname", Says::Hostname),
    ("etc", "hosts", Says::Hosts),
    ("var/lib/dbus", "machine-id", Says::MachineId),
];

/// Name of a file that is to take another's place.
const DRAFT: &str = ".pyro-identity";

/// The address that [`super::furnish`] gives to a system's own name.
const OWN_ADDRESS: &str = "127.0.1.1";

/// Gives a root that says it is `old` the identity `new`.
pub(crate) fn rename(
    root: BorrowedFd<'_>,
    old: &Identity,
    new: &Identity,
    manner: Manner,
) -> rustix::io::Result<()> {
    FILES.into_iter().try_for_each(|(directory, name, says)| {
        let place = Place { root, directory, name };
        let Some((stat, contents)) = present(place.read())? else { return Ok(()) };
        match says.renamed(&contents, old, new) {
            Some(renamed) if renamed != contents => place.write(&stat, &renamed, manner),
            _ => Ok(()),
        }
    })
}

/// Looks at all that [`rename`] would look at, so that a template holds it.
pub(crate) fn read_ahead(root: BorrowedFd<'_>) {
    for (directory, name, _) in FILES {
        let _ = Place { root, directory, name }.read();
    }
}

impl Says {
    /// What a file is to hold; `None` where it does not say `old`.
    fn renamed(self, contents: &[u8], old: &Identity, new: &Identity) -> Option<Vec<u8>> {
        let whole = |old: &str, new: &str| {
            let rest = contents.strip_prefix(old.as_bytes())?;
            rest.trim_ascii().is_empty().then(|| [new.as_bytes(), rest].concat())
        };
        match self {
            Says::MachineId => whole(&old.machine_id, &new.machine_id),
            Says::Hostname => whole(&old.hostname, &new.hostname),
            Says::Hosts => Some(renamed_hosts(contents, &old.hostname, &new.hostname)),
        }
    }
}

fn renamed_hosts(contents: &[u8], old: &str, new: &str) -> Vec<u8> {
    let lines = contents.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let own = [OWN_ADDRESS.as_bytes(), old.as_bytes()].map(Some);
        if [words.next(), words.next()] != own || words.next().is_some() {
            return line.to_vec();
        }
        format!("{OWN_ADDRESS} {new}\n").into_bytes()
    });
    lines.collect::<Vec<_>>().concat()
}

/// Where a file is.
#[derive(Clone, Copy)]
struct Place<'a> {
    root: BorrowedFd<'a>,
    directory: &'a str,
    name: &'a str,
}

impl Place<'_> {
    /// State and contents of a regular file that is read whole.
    fn read(self) -> rustix::io::Result<(Stat, Vec<u8>)> {
        let file = self.open_file(OFlags::RDONLY)?;
        let stat = rustix::fs::fstat(&file)?;
        match read(file, SMALL_FILE_BYTES_MAX)? {
            contents if contents.len() < SMALL_FILE_BYTES_MAX => Ok((stat, contents)),
            _ => Err(Errno::NOENT),
        }
    }

    fn write(self, file: &Stat, contents: &[u8], manner: Manner) -> rustix::io::Result<()> {
        match manner {
            Manner::InPlace => self.overwrite(file, contents),
            Manner::Replaced => match self.replace(file, contents) {
                // A full disk has room for what is there already.
                Err(Errno::NOSPC | Errno::DQUOT) => self.overwrite(file, contents),
                result => result,
            },
        }
    }

    fn overwrite(self, file: &Stat, contents: &[u8]) -> rustix::io::Result<()> {
        let open = self.open_file(OFlags::WRONLY)?;
        write_all(&open, contents, 0)?;
        let bytes = contents.len() as u64;
        // Names are often as long as one another.
        if u64::try_from(file.st_size) != Ok(bytes) {
            rustix::fs::ftruncate(&open, bytes)?;
        }
        rustix::fs::futimens(&open, &times(file))
    }

    fn replace(self, file: &Stat, contents: &[u8]) -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat2(self.root, self.directory, flags, Mode::empty(), CONFINED)?;
        let before = rustix::fs::fstat(&directory)?;
        // What a guest that died has left.
        let _ = rustix::fs::unlinkat(&directory, DRAFT, AtFlags::empty());
        let put = || {
            create_at(&directory, DRAFT, contents, Mode::RUSR | Mode::WUSR)?;
            if (file.st_uid, file.st_gid) != (0, 0) {
                let (owner, group) = (Uid::from_raw(file.st_uid), Gid::from_raw(file.st_gid));
                let nofollow = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(&directory, DRAFT, Some(owner), Some(group), nofollow)?;
            }
            let mode = Mode::from_raw_mode(file.st_mode & 0o7777);
            rustix::fs::chmodat(&directory, DRAFT, mode, AtFlags::empty())?;
            rustix::fs::utimensat(&directory, DRAFT, &times(file), AtFlags::SYMLINK_NOFOLLOW)?;
            rustix::fs::renameat(&directory, DRAFT, &directory, self.name)?;
            rustix::fs::futimens(&directory, &times(&before))
        };
        let is_put = put();
        if is_put.is_err() {
            let _ = rustix::fs::unlinkat(&directory, DRAFT, AtFlags::empty());
        }
        is_put
    }

    fn open_file(self, access: OFlags) -> rustix::io::Result<OwnedFd> {
        // Neither a FIFO nor a device holds the one who opens it up.
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let path = format!("{}/{}", self.directory, self.name);
        rustix::fs::openat2(self.root, path, flags, Mode::empty(), CONFINED)
    }
}

/// When something was read and changed last. A change of names keeps it: a root that is set back is to be the one that it
/// was.
fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// No symlink, and no other mount.
const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Passes over what is not there, or is not what is looked for.
fn present<T>(result: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::INVAL | Errno::NXIO) => {
            Ok(None)
        }
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::FileType;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    struct Root(tempfile::TempDir);

    impl Root {
        fn new() -> Root {
            let root = Root(tempfile::tempdir().unwrap());
            std::fs::create_dir_all(root.path("var/lib/dbus")).unwrap();
            std::fs::create_dir(root.path("etc")).unwrap();
            root
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn write(&self, path: &str, contents: &str) {
            std::fs::write(self.path(path), contents).unwrap();
        }

        fn read(&self, path: &str) -> String {
            std::fs::read_to_string(self.path(path)).unwrap()
        }

        fn rename(&self, old: &Identity, new: &Identity, manner: Manner) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let root = rustix::fs::open(self.0.path(), flags, Mode::empty()).unwrap();
            rename(root.as_fd(), old, new, manner).unwrap();
        }
    }

    fn identity(hostname: &str, digit: &str) -> Identity {
        Identity { hostname: hostname.to_owned(), machine_id: digit.repeat(32) }
    }

    /// Every file that says the old identity says the new one, with its mode and times, whichever of the two is longer.
    #[test]
    fn files_are_renamed() {
        for manner in [Manner::InPlace, Manner::Replaced] {
            let root = Root::new();
            let (long, short) = (identity("a-long-name", "a"), identity("b", "b"));
            root.write("etc/machine-id", &format!("{}\n", long.machine_id));
            root.write("var/lib/dbus/machine-id", &long.machine_id);
            root.write("etc/hostname", "a-long-name\n");
            let others = "127.0.0.1 localhost a-long-name\n#127.0.1.1 a-long-name\n127.0.1.1 a-long-name.x\n";
            root.write("etc/hosts", &format!("{others}127.0.1.1\ta-long-name\n::1 a-long-name"));
            let read_only = std::fs::Permissions::from_mode(0o444);
            std::fs::set_permissions(root.path("etc/machine-id"), read_only).unwrap();
            let modified = |path: &str| std::fs::metadata(root.path(path)).unwrap().modified().unwrap();
            let before = ["etc", "etc/hostname", "etc/hosts"].map(modified);
            for (old, new) in [(&long, &short), (&short, &long)] {
                root.rename(old, new, manner);
                assert_eq!(["etc", "etc/hostname", "etc/hosts"].map(modified), before);
                assert_eq!(root.read("etc/machine-id"), format!("{}\n", new.machine_id));
                assert_eq!(root.read("var/lib/dbus/machine-id"), new.machine_id);
                assert_eq!(root.read("etc/hostname"), format!("{}\n", new.hostname));
                let hosts = format!("{others}127.0.1.1 {}\n::1 a-long-name", new.hostname);
                assert_eq!(root.read("etc/hosts"), hosts);
                assert_eq!(std::fs::metadata(root.path("etc/machine-id")).unwrap().mode(), 0o100_444);
            }
            assert_eq!(std::fs::read_dir(root.path("etc")).unwrap().count(), 3);
        }
    }

    /// What a user made of such a file stays, whatever it is; nothing is made that was not there.
    #[test]
    fn what_a_user_has_made_stays() {
        let root = Root::new();
        let (old, new) = (identity("old", "a"), identity("new", "b"));
        let outside = root.path("outside");
        root.write("outside", &format!("{}\n", old.machine_id));
        symlink(&outside, root.path("etc/machine-id")).unwrap();
        root.write("etc/hostname", "older\n");
        rustix::fs::mknodat(rustix::fs::CWD, root.path("etc/hosts"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::fs::remove_dir(root.path("var/lib/dbus")).unwrap();
        symlink("../../etc", root.path("var/lib/dbus")).unwrap();
        root.rename(&old, &new, Manner::Replaced);
        assert_eq!(root.read("outside"), format!("{}\n", old.machine_id));
        assert_eq!(std::fs::read_link(root.path("etc/machine-id")).unwrap(), outside);
        assert_eq!(root.read("etc/hostname"), "older\n");
        std::fs::remove_dir_all(root.path("etc")).unwrap();
        symlink("/nowhere", root.path("etc")).unwrap();
        root.rename(&old, &new, Manner::InPlace);
        assert_eq!(std::fs::read_link(root.path("etc")).unwrap(), Path::new("/nowhere"));
    }
}
