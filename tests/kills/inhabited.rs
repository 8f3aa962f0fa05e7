//! `kill -9` of client, supervisor and QEMU at random moments of everything that is done with shells and services. After
//! each: what was acknowledged is so, what ran is running or known to be lost, and the next order is obeyed.

use std::collections::BTreeSet;

use super::Dice;
use crate::support::{Call, Machine, Workspace};

/// Rounds in CI.
const ROUNDS_DEFAULT: u64 = 60;

/// Echoes what is typed, with its number.
const ECHO: &str = "stty -echo; echo ready; while read line; do echo \"<$line>\"; done";

/// Comes back with its workspace.
const SERVICE: &str =
    "rm -f up; trap 'exit 0' TERM; echo begun; sleep 0.2; touch up; while :; do sleep 0.1; done";

#[test]
fn inhabitants_survive_kills_or_are_known_to_be_lost() {
    // Promise: no kill during an order to a shell or a service leaves a record that is not so, or a workspace that cannot go on.
    let machine = Machine::new();
    let dice = Dice::new();
    let lab = Lab { machine: &machine, dice: &dice, workspace: machine.workspace(&[]) };
    for round in 0..Dice::rounds_or(ROUNDS_DEFAULT) {
        let work = Work::ALL[usize::try_from(dice.below(Work::ALL.len() as u64)).unwrap()];
        let what = format!("round {round}, {work:?}, PYRO_TEST_SEED={}", dice.seed);
        lab.work(work, &what);
    }
}

/// In the middle of what somebody is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Open,
    Type,
    Read,
    Close,
    Serve,
    Follow,
    Restart,
    StopService,
    StopAndStart,
}

impl Work {
    const ALL: [Work; 9] = [
        Work::Open,
        Work::Type,
        Work::Read,
        Work::Close,
        Work::Serve,
        Work::Follow,
        Work::Restart,
        Work::StopService,
        Work::StopAndStart,
    ];
}

/// A workspace with a service that always comes back.
struct Lab<'a> {
    machine: &'a Machine,
    dice: &'a Dice,
    workspace: Workspace<'a>,
}

impl Lab<'_> {
    fn kill_during(&self, call: Call, what: &str) -> bool {
        self.dice.kill_during(self.machine, call, what)
    }

    fn work(&self, work: Work, what: &str) {
        match work {
            Work::Open | Work::Type | Work::Read | Work::Close => self.shell(work, what),
            Work::Serve | Work::Follow | Work::Restart | Work::StopService | Work::StopAndStart => {
                self.service(work, what);
            }
        }
        self.check(what);
    }

    fn shell(&self, work: Work, what: &str) {
        if work == Work::Open {
            let call = self.workspace.call("shell open", ["--", "sh", "-c", ECHO]);
            let before = self.shell_ids();
            let is_open = self.kill_during(call, what);
            // Old records are forgotten one by one: their number tells nothing.
            let is_there = !self.shell_ids().is_subset(&before);
            assert!(is_there || !is_open, "{what}: opened, and not there");
            return;
        }
        let shell = self.workspace.open(&[], &["sh", "-c", ECHO]);
        shell.wait_for("^ready$");
        shell.write("acknowledged");
        shell.wait_for("^<acknowledged>$");
        let is_done = match work {
            Work::Type => self.kill_during(shell.call("write", ["--input", "last words"]), what),
            Work::Read => {
                self.kill_during(shell.call("read", ["--until", "never", "--wait-ms", "300"]), what)
            }
            _ => self.kill_during(shell.call("close", [""; 0]), what),
        };
        let state = shell.state();
        let kept = shell.call("read", ["--plain", "--wait-for-idle-ms", "0"]).finish();
        assert!(
            kept.exits(0).out().contains("<acknowledged>"),
            "{what}: what was read is not kept: {}",
            kept.out()
        );
        // Of a VMM that was killed this very moment nobody may have heard yet.
        let is_heard = || shell.call("write", ["--input", "heard"]).finish().status.success();
        if state == "running" && is_heard() {
            assert!(!(is_done && work == Work::Close), "{what}: closed, and running");
            shell.write("afterwards");
            let said = shell.wait_for("^<afterwards>$");
            assert!(!is_done || work != Work::Type || said.contains("<last words>"), "{what}: {said}");
            shell.close();
        } else {
            let state = shell.state();
            assert!(["lost", "closed"].contains(&state.as_str()), "{what}: {state}");
            let told = shell.call("write", ["--input", "x", "--json"]).finish();
            assert_eq!(told.error_code(), "shell-ended", "{what}");
        }
    }

    fn shell_ids(&self) -> BTreeSet<String> {
        let shells = self.workspace.shells();
        shells.iter().map(|shell| shell["shell_id"].as_str().unwrap().to_owned()).collect()
    }

    fn service(&self, work: Work, what: &str) {
        let options = ["--restart", "always", "--ready-file", "up"];
        if self.workspace.services().is_empty() || self.workspace.service_state("s") != "running" {
            // It may be on its way back: then this is refused, and it will be there.
            let told = self.workspace.start("s", &options, &["sh", "-c", SERVICE]).finish();
            assert!(told.status.success() || told.err().contains("runs already"), "{what}: {}", told.err());
            self.workspace.wait_for_service("s", "running");
        }
        let (workspace, stopped) = (&self.workspace, ["stopped", "failed", "exited", "lost"]);
        match work {
            Work::Serve => {
                workspace.stop_service("s");
                let call = workspace.start("s", &options, &["sh", "-c", SERVICE]);
                if self.kill_during(call, what) {
                    let state = workspace.service_state("s");
                    assert!(["running", "lost"].contains(&state.as_str()), "{what}: {state}");
                }
            }
            // It ends with whoever is killed.
            Work::Follow => _ = self.kill_during(workspace.call("service logs", ["s", "-f"]), what),
            Work::Restart => _ = self.kill_during(workspace.call("service restart", ["s"]), what),
            Work::StopService => {
                if self.kill_during(workspace.call("service stop", ["s"]), what) {
                    let state = workspace.service_state("s");
                    assert!(stopped.contains(&state.as_str()), "{what}: stopped, and {state}");
                }
            }
            _ => {
                workspace.call("stop", [""; 0]).finish().exits(0);
                self.kill_during(workspace.call("start", [""; 0]), what);
                // Who starts it the next time waits for its services.
                workspace.call("start", [""; 0]).finish().exits(0);
                workspace.wait_for_service("s", "running");
            }
        }
    }

    /// Whoever was killed: records are of things that are so, and the workspace obeys.
    fn check(&self, what: &str) {
        assert_eq!(self.workspace.shell("echo alive"), "alive\n", "{what}");
        let shell = self.workspace.open(&[], &["sh", "-c", "echo fresh"]);
        shell.wait_for("^fresh$");
        let running = self.workspace.shells().iter().filter(|one| one["state"] == "running").count();
        let there: usize = self.workspace.shell("pgrep -fc 'stty -ech[o]' || true").trim().parse().unwrap();
        assert!(running <= there + 1, "{what}: {running} shells are said to run, {there} do");
        if let Some(service) = self.workspace.services().first() {
            let is_up = service["state"] == "running";
            let runs = self.workspace.runs("sh -c .*touch u[p].*");
            assert!(!is_up || runs, "{what}: {service} and nothing runs");
        }
    }
}
