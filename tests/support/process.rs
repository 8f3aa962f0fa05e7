//! Processes of this machine, as `/proc` shows them (proc(5)).

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::GONE_SECONDS_MAX;

const RECHECK_MS: Duration = Duration::from_millis(10);

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    parent: u32,
    pub(crate) words: Vec<String>,
}

impl Process {
    /// Every process there is; zombies are none.
    pub(crate) fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| Process::of(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    fn of(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        (state != "Z").then_some(Process { pid, parent, words })
    }

    /// All supervisors, of whatever machine.
    pub(crate) fn shims() -> Vec<Process> {
        let mut all = Process::all();
        all.retain(|process| process.words.get(1).is_some_and(|word| word == "shim"));
        all
    }

    /// The supervisors that a client has started.
    pub(crate) fn shims_of(client: u32) -> Vec<Process> {
        let mut all = Process::shims();
        all.retain(|process| process.parent == client);
        all
    }

    /// The VMMs under a supervisor.
    pub(crate) fn vmms_of(shim: u32) -> Vec<Process> {
        let mut all = Process::all();
        all.retain(|process| process.parent == shim && process.words[0].contains("qemu"));
        all
    }

    /// The processes that one has started and not lost.
    pub(crate) fn children_of(pid: u32) -> Vec<Process> {
        let mut all = Process::all();
        all.retain(|process| process.parent == pid);
        all
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid.try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// The same for one that may have ended by itself.
    pub(crate) fn try_signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_raw(self.pid.try_into().unwrap()).unwrap(), signal);
    }

    pub(crate) fn is_alive(&self) -> bool {
        Process::of(self.pid).is_some_and(|now| now.words == self.words)
    }

    /// Most memory it ever had, in KiB.
    pub(crate) fn peak_kib(pid: u32) -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The processor's time that it has used, in ticks.
    pub(crate) fn ticks(pid: u32) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace();
        // In the user's mode and in the kernel's.
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Whether another test starts it at this moment: until it is a program of its own it has every file that this one has.
    pub(crate) fn is_being_started(&self) -> bool {
        let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
        let own = std::process::id();
        self.parent == own && program(self.pid) == program(own)
    }

    /// Whether it has anything under a directory: an open file, its working directory, a word of its command.
    pub(crate) fn concerns(&self, root: &Path) -> bool {
        let proc = PathBuf::from(format!("/proc/{}", self.pid));
        let root = root.as_os_str().as_bytes();
        let leads =
            |link: &Path| fs::read_link(link).is_ok_and(|to| to.as_os_str().as_bytes().starts_with(root));
        let files = fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
        self.words.iter().any(|word| word.as_bytes().windows(root.len()).any(|part| part == root))
            || leads(&proc.join("cwd"))
            || files.into_iter().any(|file| leads(&file.path()))
    }
}

/// Waits for something that must come soon.
pub(crate) fn wait_until(what: &str, mut came: impl FnMut() -> bool) {
    let deadline = Instant::now() + GONE_SECONDS_MAX;
    while !came() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(RECHECK_MS);
    }
}
