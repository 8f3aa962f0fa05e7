//! VMs that were started to be parked and are not yet: counted, so that nobody starts more in their place.
//!
//! A mark names the process that its VM hangs on: first the one that is about to start the shim, then the shim. With
//! that the VM is gone too, whatever became of it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use pyro_store::{Directories, ProcessIdentity, VmId};

use crate::limits::POOL_BIRTH_SECONDS_MAX;

/// The directory of the marks, beside those of the lots, whose names are digests.
pub(super) const BIRTHS: &str = "births";

/// A VM that was started to be parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Birth {
    pub(super) vm: VmId,
    pub(super) lot: String,
    process: ProcessIdentity,
    age: Duration,
}

impl Birth {
    /// Whether a ticket may still come of it.
    pub(super) fn is_pending(&self) -> bool {
        self.age < POOL_BIRTH_SECONDS_MAX && self.process.is_alive()
    }
}

/// Marks a VM as being born: before its shim is started by the process that does, then by the shim.
pub(super) fn mark(
    directories: &Directories,
    vm: &VmId,
    lot: &str,
    process: ProcessIdentity,
) -> io::Result<()> {
    let path = path(directories, vm);
    // The name of one that is not whole is no VM's.
    let part = path.with_extension("part");
    fs::create_dir_all(directories.parked().join(BIRTHS))?;
    fs::write(&part, format!("{lot} {} {}", process.pid, process.start_ticks))?;
    fs::rename(part, path)
}

/// Takes the mark away.
pub(super) fn over(directories: &Directories, vm: &VmId) {
    let _ = fs::remove_file(path(directories, vm));
}

/// All that are marked.
pub(super) fn all(directories: &Directories) -> Vec<Birth> {
    let marks = fs::read_dir(directories.parked().join(BIRTHS)).into_iter().flatten().flatten();
    marks
        .filter_map(|entry| {
            let vm = VmId::parse(entry.file_name().to_str()?).ok()?;
            let text = fs::read_to_string(entry.path()).ok()?;
            let begun = entry.metadata().ok()?.modified().ok()?;
            // A clock that was set back makes it young again.
            let age = SystemTime::now().duration_since(begun).unwrap_or_default();
            let (lot, process) = parse(&text).unwrap_or((String::new(), NOBODY));
            Some(Birth { vm, lot, process, age })
        })
        .collect()
}

/// No process has this number.
const NOBODY: ProcessIdentity = ProcessIdentity { pid: 0, start_ticks: 0 };

fn parse(text: &str) -> Option<(String, ProcessIdentity)> {
    let mut words = text.split(' ');
    let (lot, pid, start_ticks) = (words.next()?, words.next()?, words.next()?);
    Some((lot.to_owned(), ProcessIdentity { pid: pid.parse().ok()?, start_ticks: start_ticks.parse().ok()? }))
}

fn path(directories: &Directories, vm: &VmId) -> PathBuf {
    directories.parked().join(BIRTHS).join(vm.as_str())
}
