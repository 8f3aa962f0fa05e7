//! A root that is assembled, and whose name it bears.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use pyro_proto::agent::{Failure, FailureKind, Prepare, WorkspaceDisk};
use rustix::io::Errno;

use super::boot_id;
use super::identity::{self, Identity};
use super::names::{self, Manner};
use crate::console::warn;
use crate::failure::{errno_text, failure, system};
use crate::scratch::Scratch;
use crate::workspace::Record;

/// The root of a guest, for as long as the guest and its copies live.
#[derive(Debug)]
pub(crate) struct Standing {
    scratch: Arc<Scratch>,
    /// The joined root.
    root: OwnedFd,
    /// A directory of the agent's own.
    place: OwnedFd,
    record: Record,
    /// Whose identity the root's files bear.
    borne: Identity,
    /// Whether the disk knows.
    is_recorded: bool,
}

impl Standing {
    /// Takes over a root that was just assembled. On a disk that bears nobody's identity yet the files were made
    /// for this one; those of a disk that does not say are left as they are.
    pub(crate) fn new(
        scratch: Scratch,
        root: OwnedFd,
        place: OwnedFd,
        record: Record,
        prepare: &Prepare,
    ) -> Result<Standing, Failure> {
        let given = Identity::of(prepare);
        let recorded = record.read().map_err(|errno| system("the disk's identity cannot be read", errno))?;
        let is_recorded = recorded.is_some();
        let borne = recorded.unwrap_or_else(|| given.clone());
        let mut standing = Standing { scratch: Arc::new(scratch), root, place, record, borne, is_recorded };
        standing.bear(given, Manner::Replaced)?;
        if prepare.workspace != WorkspaceDisk::Existing {
            // It may be a template's, whose forks are all renamed.
            names::read_ahead(standing.root.as_fd());
        }
        standing.show_boot_id(prepare)?;
        Ok(standing)
    }

    /// The disk below.
    pub(crate) fn scratch(&self) -> &Arc<Scratch> {
        &self.scratch
    }

    /// Makes this copy of a guest itself. `prepare` has passed [`super::check`].
    pub(crate) fn adopt(&mut self, prepare: &Prepare) -> Result<(), Failure> {
        if !self.scratch.is_thawed() {
            return Err(failure(FailureKind::Refused, "the scratch disk is frozen"));
        }
        identity::adopt(prepare)?;
        self.take_names(prepare)
    }

    fn take_names(&mut self, prepare: &Prepare) -> Result<(), Failure> {
        let manner = match prepare.workspace {
            WorkspaceDisk::Plain => Manner::InPlace,
            WorkspaceDisk::Empty | WorkspaceDisk::Unseeded | WorkspaceDisk::Existing => Manner::Replaced,
        };
        self.bear(Identity::of(prepare), manner)?;
        self.show_boot_id(prepare)
    }

    /// A full disk is no reason not to start: the names are then changed another time. What goes with its VM is not
    /// recorded.
    fn bear(&mut self, given: Identity, manner: Manner) -> Result<(), Failure> {
        match self.rename(given, manner) {
            Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => {
                warn(format_args!("the root keeps another's name: {}", errno_text(errno)));
                Ok(())
            }
            result => result.map_err(|errno| system("the root cannot be given its name", errno)),
        }
    }

    fn rename(&mut self, given: Identity, manner: Manner) -> rustix::io::Result<()> {
        if self.borne != given {
            names::rename(self.root.as_fd(), &self.borne, &given, manner)?;
            (self.borne, self.is_recorded) = (given, false);
        }
        if manner == Manner::Replaced && !self.is_recorded {
            self.record.write(&self.borne)?;
            self.is_recorded = true;
        }
        Ok(())
    }

    fn show_boot_id(&self, prepare: &Prepare) -> Result<(), Failure> {
        let Some(boot_id) = &prepare.boot_id else { return Ok(()) };
        boot_id::show(self.place.as_fd(), boot_id)
            .map_err(|errno| system("the boot id cannot be shown", errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Unattached;
    use rustix::fs::{Mode, OFlags};
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    /// A disk and a root in one temporary directory.
    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Bench {
            let bench = Bench(tempfile::tempdir().unwrap());
            std::fs::create_dir(bench.0.path().join("etc")).unwrap();
            bench
        }

        fn file(&self) -> std::path::PathBuf {
            self.0.path().join("etc/hostname")
        }

        /// A VM that starts on the disk.
        fn start(&self, prepare: &Prepare) -> Standing {
            let (root, place) = (open(self.0.path()), open(self.0.path()));
            let record =
                Unattached::open(open(self.0.path()), open(self.0.path())).unwrap().record().unwrap();
            Standing::new(Scratch::new(open(self.0.path())), root, place, record, prepare).unwrap()
        }

        fn hostname(&self) -> String {
            std::fs::read_to_string(self.file()).unwrap()
        }
    }

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    fn prepare(hostname: &str, workspace: WorkspaceDisk) -> Prepare {
        let (hostname, machine_id) = (hostname.to_owned(), "0".repeat(32));
        Prepare { entropy: [0; 32], realtime_ns: 0, hostname, machine_id, workspace, boot_id: None }
    }

    /// A disk keeps its files while it is itself, and a copy of it is given names of its own.
    #[test]
    fn a_copy_of_a_disk_is_renamed() {
        let bench = Bench::new();
        std::fs::write(bench.file(), "first\n").unwrap();
        bench.start(&prepare("first", WorkspaceDisk::Empty));
        let before = std::fs::metadata(bench.file()).unwrap();
        bench.start(&prepare("first", WorkspaceDisk::Existing));
        let after = std::fs::metadata(bench.file()).unwrap();
        assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
        bench.start(&prepare("copy", WorkspaceDisk::Existing));
        assert_eq!(bench.hostname(), "copy\n");
        std::fs::write(bench.file(), "mine\n").unwrap();
        bench.start(&prepare("another", WorkspaceDisk::Existing));
        assert_eq!(bench.hostname(), "mine\n");
    }

    /// A disk of a release that recorded nothing is left as it is, and known from then on.
    #[test]
    fn a_disk_without_a_record_is_left_alone() {
        let bench = Bench::new();
        std::fs::write(bench.file(), "old\n").unwrap();
        bench.start(&prepare("old", WorkspaceDisk::Existing));
        assert_eq!(bench.hostname(), "old\n");
        bench.start(&prepare("copy", WorkspaceDisk::Existing));
        assert_eq!(bench.hostname(), "copy\n");
    }

    /// A guest that is prepared again and again bears the last name; the disk knows once it is to be kept.
    #[test]
    fn the_last_name_counts() {
        let bench = Bench::new();
        std::fs::write(bench.file(), "template\n").unwrap();
        let mut standing = bench.start(&prepare("template", WorkspaceDisk::Plain));
        let recorded = |standing: &Standing| standing.record.read().unwrap().unwrap().hostname;
        standing.take_names(&prepare("parked", WorkspaceDisk::Plain)).unwrap();
        assert_eq!((bench.hostname(), recorded(&standing)), ("parked\n".to_owned(), "template".to_owned()));
        standing.take_names(&prepare("claimed", WorkspaceDisk::Empty)).unwrap();
        assert_eq!((bench.hostname(), recorded(&standing)), ("claimed\n".to_owned(), "claimed".to_owned()));
        standing.take_names(&prepare("run", WorkspaceDisk::Plain)).unwrap();
        standing.take_names(&prepare("run", WorkspaceDisk::Unseeded)).unwrap();
        assert_eq!((bench.hostname(), recorded(&standing)), ("run\n".to_owned(), "run".to_owned()));
    }
}
