//! One control group (v2) per command: the whole of what it started, however it hides.
//!
//! A group is made ahead of the command that will use it and removed after it, so that neither is waited
//! for. A group that still holds processes stays until they are gone. Where there is no hierarchy (a test on
//! a host) commands run without, and a kill reaches their process group only.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::child::signal_process;
use super::outcome::out_of_memory_kills;
use crate::limits::{CGROUP_DEPTH_MAX, GIVE_WAY_CPU_WEIGHT, PROCESS_LIST_BYTES_MAX, SMALL_FILE_BYTES_MAX};
use crate::small_file::read_at;

/// The groups of all commands.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    parent: Option<OwnedFd>,
    spare: Option<Cgroup>,
    /// Groups whose command has ended and that were not empty when last looked at.
    lingering: Vec<Cgroup>,
    made: u64,
}

/// The group of one command.
#[derive(Debug)]
pub(crate) struct Cgroup {
    name: CString,
    directory: OwnedFd,
}

impl Cgroups {
    /// Groups below `parent`, a directory of a mounted hierarchy.
    pub(crate) fn below(parent: &Path) -> rustix::io::Result<Cgroups> {
        let parent = rustix::fs::open(parent, DIRECTORY, Mode::empty())?;
        Ok(Cgroups { parent: Some(parent), ..Cgroups::default() })
    }

    /// Stops every process of every command, or lets it run again.
    pub(crate) fn set_frozen(&self, frozen: bool) -> rustix::io::Result<()> {
        let Some(parent) = &self.parent else { return Ok(()) };
        write(parent.as_fd(), "cgroup.freeze", if frozen { b"1" } else { b"0" })
    }

    /// Whether all of them stand; where there is no hierarchy nothing ever runs on.
    pub(crate) fn are_frozen(&self) -> bool {
        let Some(parent) = &self.parent else { return true };
        let events = read_at(parent, "cgroup.events", SMALL_FILE_BYTES_MAX).unwrap_or_default();
        String::from_utf8_lossy(&events).lines().any(|line| line == "frozen 1")
    }

    /// Makes the group for the next command, if there is none yet.
    pub(crate) fn prepare(&mut self) -> rustix::io::Result<()> {
        if self.spare.is_none() {
            self.spare = self.make()?;
        }
        Ok(())
    }

    /// A group for one command; `None` where there is no hierarchy.
    pub(crate) fn take(&mut self) -> rustix::io::Result<Option<Cgroup>> {
        self.prepare()?;
        Ok(self.spare.take())
    }

    /// Takes a group back whose command did not come to life.
    pub(crate) fn put_back(&mut self, cgroup: Option<Cgroup>) {
        match cgroup {
            Some(cgroup) if self.spare.is_some() => self.dispose(Some(cgroup)),
            cgroup => self.spare = cgroup.or(self.spare.take()),
        }
    }

    /// Removes a group, now or once it is empty.
    pub(crate) fn dispose(&mut self, cgroup: Option<Cgroup>) {
        self.lingering.extend(cgroup);
        self.sweep();
    }

    /// Removes the groups that have become empty.
    pub(crate) fn sweep(&mut self) {
        let Some(parent) = &self.parent else { return };
        self.lingering.retain(|cgroup| remove(parent.as_fd(), &cgroup.name, 0) == Err(Errno::BUSY));
    }

    fn make(&mut self) -> rustix::io::Result<Option<Cgroup>> {
        let Some(parent) = &self.parent else { return Ok(None) };
        self.made += 1;
        let name = CString::new(format!("exec-{}", self.made)).map_err(|_| Errno::INVAL)?;
        rustix::fs::mkdirat(parent, &name, Mode::from_raw_mode(0o755))?;
        let directory = rustix::fs::openat(parent, &name, DIRECTORY, Mode::empty())?;
        Ok(Some(Cgroup { name, directory }))
    }
}

impl Cgroup {
    /// Kills every process in it.
    pub(crate) fn kill(&self) -> rustix::io::Result<()> {
        write(self.directory.as_fd(), "cgroup.kill", b"1")
    }

    /// Lets the other groups go first where the processor is wanted by both.
    pub(crate) fn give_way(&self) {
        // A kernel without the controller shares evenly.
        let _ = write(self.directory.as_fd(), "cpu.weight", GIVE_WAY_CPU_WEIGHT);
    }

    /// Sends a signal to every process in it, and lets those go on that are stopped: they would not hear it.
    pub(crate) fn signal(&self, signal: u8) {
        signal_all(self.directory.as_fd(), signal, 0);
    }

    /// Whether no process is left in it.
    pub(crate) fn is_empty(&self) -> bool {
        let events = read_at(&self.directory, "cgroup.events", SMALL_FILE_BYTES_MAX).unwrap_or_default();
        String::from_utf8_lossy(&events).lines().any(|line| line == "populated 0")
    }

    /// Processes in it that were killed for want of memory.
    pub(crate) fn out_of_memory_kills(&self) -> u32 {
        let events = read_at(&self.directory, "memory.events", SMALL_FILE_BYTES_MAX).unwrap_or_default();
        out_of_memory_kills(&String::from_utf8_lossy(&events))
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

const SIGCONT: u8 = 18;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Writes one value to a control file.
pub(crate) fn write(directory: BorrowedFd<'_>, name: &str, value: &[u8]) -> rustix::io::Result<()> {
    let file = rustix::fs::openat(directory, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value).map(drop)
}

/// Signals the processes of a group and of those that its command made inside.
fn signal_all(group: BorrowedFd<'_>, signal: u8, depth: u32) {
    let processes = read_at(group, "cgroup.procs", PROCESS_LIST_BYTES_MAX).unwrap_or_default();
    let processes = String::from_utf8_lossy(&processes);
    for pid in processes.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
        signal_process(pid, signal);
        signal_process(pid, SIGCONT);
    }
    for name in inside(group).filter(|_| depth < CGROUP_DEPTH_MAX) {
        if let Ok(inside) = rustix::fs::openat(group, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            signal_all(inside.as_fd(), signal, depth + 1);
        }
    }
}

/// Removes a group with those that its command made inside; `BUSY` while one of them has processes.
fn remove(parent: BorrowedFd<'_>, name: &CStr, depth: u32) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::BUSY | Errno::NOTEMPTY) if depth < CGROUP_DEPTH_MAX => {}
        result => return result,
    }
    let directory = rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    for name in inside(directory.as_fd()) {
        remove(directory.as_fd(), &name, depth + 1)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Names of the groups inside one.
fn inside(group: BorrowedFd<'_>) -> impl Iterator<Item = CString> {
    let entries = Dir::read_from(group).into_iter().flatten().filter_map(Result::ok);
    let directories = entries.filter(|entry| entry.file_type().is_dir());
    directories.map(|entry| entry.file_name().to_owned()).filter(|name| *name != *c"." && *name != *c"..")
}
