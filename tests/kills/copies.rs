//! `kill -9` at random moments of what keeps and copies whole computers. After each: the workspace is there, as it was
//! before or as it was to be, whatever was acknowledged is so, and nothing stray is left.

use std::collections::BTreeMap;

use super::{Dice, wait_until_nothing_is_stray};
use crate::support::{Call, Machine, Workspace};

/// Rounds in CI: three to four minutes.
const ROUNDS_DEFAULT: u64 = 200;

/// Snapshots that are kept; beyond, one is deleted.
const SNAPSHOTS_MAX: usize = 5;

/// After so many rounds everything is looked over.
const ROUNDS_BETWEEN_COLLECTIONS: u64 = 10;

#[test]
fn computers_are_kept_and_copied_whole_under_kills() {
    // Promise: no kill during snapshot, reset, fork, pause, resume, claim or refill loses, halves or strands anything.
    // Its VMs take turns, so that another test has the other processor.
    let machine = Machine::new().pooling(1);
    let dice = Dice::new();
    let mut lab = Lab::new(&machine, &dice);
    for round in 0..Dice::rounds_or(ROUNDS_DEFAULT) {
        let work = Work::ALL[usize::try_from(dice.below(Work::ALL.len() as u64)).unwrap()];
        let what = format!("round {round}, {work:?}, PYRO_TEST_SEED={}", dice.seed);
        lab.work(work, round, &what);
        lab.check(&what);
        if round % ROUNDS_BETWEEN_COLLECTIONS == 0 {
            let freed = machine.pyro(["gc", "--json"]).finish().exits(0).json();
            assert_eq!(freed["failures"], serde_json::json!([]), "{what}");
        }
    }
}

/// What is done when somebody is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Snapshot,
    MemorySnapshot,
    Reset,
    Fork,
    LiveFork,
    Pause,
    Resume,
    Run,
}

impl Work {
    const ALL: [Work; 8] = [
        Work::Snapshot,
        Work::MemorySnapshot,
        Work::Reset,
        Work::Fork,
        Work::LiveFork,
        Work::Pause,
        Work::Resume,
        Work::Run,
    ];
}

/// A workspace, and what must be in it and in its snapshots.
struct Lab<'a> {
    machine: &'a Machine,
    dice: &'a Dice,
    workspace: Workspace<'a>,
    version: u64,
    newest: u64,
    snapshots: BTreeMap<String, u64>,
    /// Whose client was killed: they may still come.
    unacknowledged: BTreeMap<String, u64>,
}

impl<'a> Lab<'a> {
    fn new(machine: &'a Machine, dice: &'a Dice) -> Lab<'a> {
        let workspace = machine.workspace(&["--name", "lab"]);
        let none = BTreeMap::new();
        let mut lab = Lab {
            machine,
            dice,
            workspace,
            version: 0,
            newest: 0,
            snapshots: none.clone(),
            unacknowledged: none,
        };
        lab.write();
        lab.workspace.snapshot("first", &[]);
        lab.snapshots.insert("first".to_owned(), lab.version);
        lab
    }

    /// A new version of what is in the workspace, acknowledged.
    fn write(&mut self) {
        self.newest += 1;
        self.version = self.newest;
        let version = self.version;
        self.workspace.shell(&format!("echo {version} > new; mv new version; echo {version} > /etc/version"));
    }

    fn kill_during(&self, call: Call, what: &str) -> bool {
        self.dice.kill_during(self.machine, call, what)
    }

    fn work(&mut self, work: Work, round: u64, what: &str) {
        match work {
            Work::Snapshot => self.snapshot(&format!("s{round}"), &[], what),
            Work::MemorySnapshot => self.snapshot(&format!("m{round}"), &["--memory"], what),
            Work::Reset => self.reset(what),
            Work::Fork => {
                let name = self.any_snapshot();
                let version = self.snapshots[&name];
                self.fork(&["--snapshot", &name], version, what);
            }
            Work::LiveFork => {
                self.workspace.shell("true");
                self.fork(&[], self.version, what);
            }
            Work::Pause => {
                self.workspace.shell("true");
                let is_paused = self.kill_during(self.workspace.call("pause", [""; 0]), what);
                assert!(!is_paused || self.workspace.state() == "paused", "{what}");
            }
            Work::Resume => {
                self.workspace.shell("true");
                self.workspace.call("pause", [""; 0]).finish().exits(0);
                self.kill_during(self.workspace.call("resume", [""; 0]), what);
            }
            Work::Run => {
                self.kill_during(self.machine.run(["echo", "ran"]), what);
                self.machine.run(["echo", "ran"]).finish().exits(0).says("ran\n");
            }
        }
    }

    fn any_snapshot(&self) -> String {
        let number = usize::try_from(self.dice.below(self.snapshots.len() as u64)).unwrap();
        self.snapshots.keys().nth(number).unwrap().clone()
    }

    fn snapshot(&mut self, name: &str, options: &[&str], what: &str) {
        self.write();
        let call = self.workspace.call("snapshot create", [name].iter().chain(options));
        let is_made = self.kill_during(call, what);
        let into = if is_made { &mut self.snapshots } else { &mut self.unacknowledged };
        into.insert(name.to_owned(), self.version);
        if self.snapshots.len() > SNAPSHOTS_MAX {
            let old = self.any_snapshot();
            let is_gone = self.kill_during(self.workspace.call("snapshot delete", [&old]), what);
            let is_there = self.workspace.snapshots().contains(&old);
            assert!(!(is_gone && is_there), "{what}: deleted, and there");
            if !is_there {
                self.snapshots.remove(&old);
            }
        }
    }

    fn reset(&mut self, what: &str) {
        self.write();
        let name = self.any_snapshot();
        let is_reset = self.kill_during(self.workspace.call("reset", ["--snapshot", &name]), what);
        let found = self.found(&self.workspace, what);
        let expected = self.snapshots[&name];
        assert!(
            found == expected || (!is_reset && found == self.version),
            "{what}: reset from {} to {name} of {expected}, found {found}",
            self.version
        );
        self.version = found;
    }

    /// Two copies: each is there and whole, or not at all.
    fn fork(&self, options: &[&str], version: u64, what: &str) {
        let call = self.workspace.call("fork", ["--count", "2", "--name", "copy"].iter().chain(options));
        let is_made = self.kill_during(call, what);
        let copies = self.copies();
        assert!(!is_made || copies.len() == 2, "{what}: made, and not there: {copies:?}");
        self.check_copies(copies, version, what);
        // Of one whose client was killed as it was announced nobody may have heard.
        wait_until_nothing_is_stray(self.machine, what);
        self.check_copies(self.copies(), version, what);
    }

    fn copies(&self) -> Vec<String> {
        self.listed().into_keys().filter(|name| name != "lab").collect()
    }

    fn check_copies(&self, copies: Vec<String>, version: u64, what: &str) {
        for name in copies {
            let copy = self.machine.adopt(&name);
            assert_eq!(self.found(&copy, what), version, "{what}: {name}");
            copy.call("delete", ["--yes"]).finish().exits(0);
        }
    }

    /// States of all workspaces by their names.
    fn listed(&self) -> BTreeMap<String, String> {
        let listed = self.machine.pyro(["workspace", "list", "--json"]).finish().exits(0).json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let all = listed["workspaces"].as_array().unwrap();
        all.iter().map(|one| (text(&one["name"]), text(&one["state"]))).collect()
    }

    /// The one version that is everywhere in a workspace.
    fn found(&self, workspace: &Workspace<'_>, what: &str) -> u64 {
        let told = workspace.shell("cat version /etc/version; ls -A");
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines.len() == 3 && lines[0] == lines[1] && lines[2] == "version", "{what}: {told:?}");
        lines[0].parse().unwrap()
    }

    fn check(&mut self, what: &str) {
        let listed = self.listed();
        let states: Vec<(&str, &str)> = listed.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let [("lab", "started" | "stopped" | "paused")] = states[..] else { panic!("{what}: {listed:?}") };
        assert_eq!(self.found(&self.workspace, what), self.version, "{what}");
        let mut found = self.workspace.snapshots();
        found.retain(|name| name != "baseline");
        found.sort();
        let late = found.iter().filter_map(|name| self.unacknowledged.remove_entry(name));
        self.snapshots.extend(late);
        assert_eq!(found.iter().collect::<Vec<_>>(), self.snapshots.keys().collect::<Vec<_>>(), "{what}");
        wait_until_nothing_is_stray(self.machine, what);
    }
}
