//! A workspace of a machine: what is done in it reads as the domain. It is deleted at the end, and so is its VM.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::client::Finished;
use super::{Call, DEBIAN, Machine, Process, wait_until};

/// A workspace that exists.
#[derive(Debug)]
pub(crate) struct Workspace<'a> {
    machine: &'a Machine,
    pub(crate) id: String,
}

impl Machine {
    /// `pyro workspace create debian:12 OPTIONS`
    pub(crate) fn workspace(&self, options: &[&str]) -> Workspace<'_> {
        let fixed = ["workspace", "create", DEBIAN, "--id-only"];
        let made = self.pyro(fixed.iter().chain(options)).finish();
        let id = made.exits(0).out().trim().to_owned();
        Workspace { machine: self, id }
    }

    /// One that was made in another way.
    pub(crate) fn adopt(&self, id: &str) -> Workspace<'_> {
        Workspace { machine: self, id: id.to_owned() }
    }

    /// The same, from a directory or an archive.
    pub(crate) fn seeded(&self, seed: &Path) -> Workspace<'_> {
        self.workspace(&["--seed-path", seed.to_str().unwrap()])
    }
}

impl Workspace<'_> {
    /// `pyro workspace COMMAND… ID REST…`
    pub(crate) fn call<W: AsRef<OsStr>>(&self, command: &str, rest: impl IntoIterator<Item = W>) -> Call {
        let fixed = std::iter::once("workspace").chain(command.split(' ')).map(OsString::from);
        let rest = rest.into_iter().map(|word| word.as_ref().to_owned());
        self.machine.pyro(fixed.chain([OsString::from(&self.id)]).chain(rest))
    }

    /// `pyro workspace exec ID --timeout-seconds 120 -- COMMAND…`
    pub(crate) fn exec<W: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = W>) -> Call {
        let fixed = ["--timeout-seconds", "120", "--"].map(OsString::from);
        let command = command.into_iter().map(|word| word.as_ref().to_owned());
        self.call("exec", fixed.into_iter().chain(command))
    }

    /// A script of the guest's shell, which must succeed; gives what it wrote.
    pub(crate) fn shell(&self, script: &str) -> String {
        self.exec(["sh", "-euc", script]).finish().exits(0).out()
    }

    /// A Perl program in the guest, from standard input: one process, however much it does.
    pub(crate) fn perl(&self, program: impl Into<Vec<u8>>) -> Finished {
        let options = ["-i", "--timeout-seconds", "120", "--", "perl", "-"];
        let finished = self.call("exec", options).input(program).finish();
        finished.exits(0);
        finished
    }

    /// `pyro workspace snapshot create ID NAME OPTIONS`, which must succeed.
    pub(crate) fn snapshot(&self, name: &str, options: &[&str]) -> Finished {
        let finished = self.call("snapshot create", [name].iter().chain(options)).finish();
        finished.exits(0);
        finished
    }

    /// `pyro workspace reset ID OPTIONS`, which must succeed.
    pub(crate) fn reset(&self, options: &[&str]) -> Finished {
        let finished = self.call("reset", options).finish();
        finished.exits(0);
        finished
    }

    /// `pyro workspace status ID --json`
    pub(crate) fn status(&self) -> serde_json::Value {
        self.call("status", ["--json"]).finish().exits(0).json()
    }

    /// `started`, `paused` or `stopped`.
    pub(crate) fn state(&self) -> String {
        self.status()["state"].as_str().unwrap().to_owned()
    }

    /// Names of its snapshots, as they are listed.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        let listed = self.call("snapshot list", ["--json"]).finish().exits(0).json();
        let snapshots = listed["snapshots"].as_array().unwrap();
        snapshots.iter().map(|one| one["snapshot_name"].as_str().unwrap().to_owned()).collect()
    }

    /// Starts a script that outlives this call; gives its number.
    pub(crate) fn detach(&self, command: &[&str]) -> String {
        let options = ["--detach", "--timeout-seconds", "600", "--"];
        let finished = self.call("exec", options.iter().chain(command)).finish();
        finished.exits(0).out().trim().to_owned()
    }

    /// Starts a process that counts in memory, ten times a second; see [`Workspace::counted`].
    pub(crate) fn count_in_memory(&self) {
        let script = "i=0; while :; do i=$((i+1)); echo $i >> /dev/shm/count; sleep 0.1; done";
        self.detach(&["sh", "-c", script]);
        wait_until("it counts", || self.shell("ls /dev/shm").contains("count"));
    }

    /// How far that process is.
    pub(crate) fn counted(&self) -> u64 {
        self.shell("tail -n 1 /dev/shm/count").trim().parse().unwrap()
    }

    /// Its supervisor, when it runs: nobody else has its directory open.
    pub(crate) fn shim(&self) -> Option<Process> {
        let place = self.machine.root().join("state/workspaces").join(&self.id);
        Process::shims().into_iter().find(|process| process.concerns(&place))
    }

    /// Its VMM, which must be there.
    pub(crate) fn vmm(&self) -> Process {
        let shim = self.shim().expect("the workspace runs");
        Process::vmms_of(shim.pid).pop().expect("a supervisor has a VMM")
    }

    /// The changes as a patch.
    pub(crate) fn patch(&self) -> Vec<u8> {
        let finished = self.call("diff", [""; 0]).finish();
        finished.exits(0);
        finished.stdout
    }

    /// The whole tree in the guest as its own `tar` packs it: pyro's ways of taking files are not asked.
    pub(crate) fn tar(&self) -> Vec<u8> {
        let finished = self.exec(["tar", "-C", "/workspace", "--format=gnu", "-cf", "-", "."]).finish();
        finished.exits(0);
        finished.stdout
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        let deleted = self.machine.pyro(["workspace", "delete", "--yes", &self.id]).finish();
        if !std::thread::panicking() {
            let is_gone = deleted.status.success() || deleted.err().contains("there is no workspace");
            assert!(is_gone, "{}", deleted.err());
        }
    }
}
