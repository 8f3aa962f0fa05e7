//! `kill -9` of client, supervisor and QEMU at random moments of a push, a command, a diff, a creation and a
//! deletion, and (in [`copies`] and [`inhabited`]) of snapshot, reset, fork, pause, resume, claim, refill, and of all that
//! is done with shells and services. After each: every change
//! that was acknowledged is there, nothing half-done shows, and the next command works. `PYRO_TEST_KILLS` asks for more rounds, `PYRO_TEST_SEED` repeats a run.

mod copies;
mod inhabited;

use std::cell::Cell;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::tree::write;
use crate::support::{Call, Machine, Process, Workspace, wait_until};

/// Rounds of each of the two tests in CI.
const ROUNDS_DEFAULT: u64 = 100;

/// Files of one push: all of one version, or all of another.
const FILES: usize = 40;

/// Longest waits before the kill, one of which is drawn first: the works take from some tens of milliseconds to
/// most of a second, and every part of them shall be hit.
const DELAYS_US_MAX: [u64; 5] = [15_000, 40_000, 100_000, 250_000, 700_000];

#[test]
fn changes_survive_any_kill() {
    // Promise: no kill of any process loses acknowledged work, or leaves a push or a command half-done.
    let machine = Machine::new();
    let dice = Dice::new();
    let mut lab = Lab::new(&machine, &dice);
    for round in 0..dice.rounds() {
        let what = format!("round {round}, PYRO_TEST_SEED={}", dice.seed);
        match dice.below(3) {
            0 => lab.push(&what),
            1 => lab.exec(&what),
            _ => lab.diff(&what),
        }
    }
}

#[test]
fn workspaces_come_and_go_whole_under_kills() {
    // Promise: a creation or deletion that is killed leaves the workspace there, whole, or not at all.
    let machine = Machine::new();
    let dice = Dice::new();
    let seed = machine.root().join("seed");
    (0..FILES).for_each(|file| write(&seed, format!("file_{file}"), "seed\n"));
    for round in 0..dice.rounds() {
        let what = format!("round {round}, PYRO_TEST_SEED={}", dice.seed);
        let name = format!("w{round}");
        let create =
            ["workspace", "create", "debian:12", "--name", &name, "--seed-path", seed.to_str().unwrap()];
        let is_made = dice.kill_during(&machine, machine.pyro(create), &what);
        // Of one whose client was killed as it was announced nobody has heard yet.
        let is_there = check_whole(&machine, &name, &what) || {
            wait_until_nothing_is_stray(&machine, &what);
            check_whole(&machine, &name, &what)
        };
        if is_there {
            let is_deleted =
                dice.kill_during(&machine, machine.pyro(["workspace", "delete", "--yes", &name]), &what);
            let is_there = check_whole(&machine, &name, &what);
            assert!(!(is_deleted && is_there), "{what}: deleted, and there");
            if is_there {
                machine.pyro(["workspace", "delete", "--yes", &name]).finish().exits(0);
            }
        } else {
            assert!(!is_made, "{what}: made, and not there");
        }
        let left = machine.pyro(["workspace", "list", "--id-only"]).finish();
        assert_eq!(left.exits(0).out(), "", "{what}");
    }
    // A client that was killed has not waited for the supervisor that ends behind it.
    machine.wait_until_clean();
}

/// Every supervisor is a workspace's that runs, or parked; every VMM has a supervisor; nobody is on the way any more.
fn wait_until_nothing_is_stray(machine: &Machine, what: &str) {
    wait_until(&format!("{what}: nothing is stray"), || {
        let status = machine.pyro(["pool", "status", "--json"]).finish().exits(0).json();
        let parked = status["parked"].as_array().unwrap().len();
        let listed = machine.pyro(["workspace", "list", "--json"]).finish().exits(0).json();
        let all = listed["workspaces"].as_array().unwrap();
        let running = all.iter().filter(|workspace| workspace["state"] == "started").count();
        let of_machine = |process: &Process| process.concerns(machine.root());
        let shims = Process::shims().into_iter().filter(of_machine).count();
        let is_vmm = |process: &Process| process.words[0].contains("qemu") && of_machine(process);
        let vmms = Process::all().into_iter().filter(is_vmm).count();
        status["starting"] == 0 && shims == parked + running && vmms == shims
    });
}

/// Whether a workspace is there; one that is has all of its seed.
fn check_whole(machine: &Machine, name: &str, what: &str) -> bool {
    let listed = machine.pyro(["workspace", "list", "--json"]).finish();
    let listed = listed.exits(0).json();
    let is_there = listed["workspaces"].as_array().unwrap().iter().any(|workspace| workspace["name"] == name);
    if is_there {
        let told = machine
            .pyro([
                "workspace",
                "exec",
                name,
                "--timeout-seconds",
                "120",
                "--",
                "sh",
                "-c",
                "cat file_* | sort | uniq -c",
            ])
            .finish();
        assert_eq!(told.exits(0).out().trim(), format!("{FILES} seed"), "{what}");
    }
    is_there
}

/// Random numbers that a seed repeats, and what is done with them.
struct Dice {
    seed: u64,
    state: Cell<u64>,
}

impl Dice {
    fn new() -> Dice {
        let number = std::env::var("PYRO_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = number.unwrap_or_else(|| u64::from(std::process::id()));
        println!("PYRO_TEST_SEED={seed}");
        Dice { seed, state: Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1) }
    }

    fn rounds(&self) -> u64 {
        Dice::rounds_or(ROUNDS_DEFAULT)
    }

    /// As many as were asked for.
    fn rounds_or(default: u64) -> u64 {
        std::env::var("PYRO_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// xorshift64, Marsaglia 2003.
    fn below(&self, bound: u64) -> u64 {
        let mut x = self.state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state.set(x);
        x % bound
    }

    /// Runs a call, kills somebody some time into it, and waits for its end; gives whether it succeeded.
    fn kill_during(&self, machine: &Machine, call: Call, what: &str) -> bool {
        let running = call.start();
        let longest = DELAYS_US_MAX[usize::try_from(self.below(DELAYS_US_MAX.len() as u64)).unwrap()];
        sleep(Duration::from_micros(self.below(longest)));
        let shims = || {
            Process::all().into_iter().filter(|process| {
                process.words.get(1).is_some_and(|word| word == "shim") && process.concerns(machine.root())
            })
        };
        let victims: Vec<Process> = match self.below(3) {
            0 => Vec::new(),
            1 => shims().collect(),
            _ => shims().flat_map(|shim| Process::vmms_of(shim.pid)).collect(),
        };
        let victim = match victims.len() {
            0 => {
                running.signal(Signal::KILL);
                "client"
            }
            count => {
                let victim = &victims[usize::try_from(self.below(count as u64)).unwrap()];
                victim.try_signal(Signal::KILL);
                "server"
            }
        };
        let finished = running.finish();
        println!("{what}: killed the {victim}, {:?}", finished.status);
        finished.status.success()
    }
}

/// A workspace, and what must be in it.
struct Lab<'a> {
    machine: &'a Machine,
    dice: &'a Dice,
    workspace: Workspace<'a>,
    source: PathBuf,
    pushed: u64,
    written: u64,
    version: u64,
}

impl<'a> Lab<'a> {
    fn new(machine: &'a Machine, dice: &'a Dice) -> Lab<'a> {
        let workspace = machine.workspace(&[]);
        let source = machine.root().join("source");
        let mut lab = Lab { machine, dice, workspace, source, pushed: 0, written: 0, version: 0 };
        lab.prepare();
        lab.push_call().finish().exits(0);
        lab.exec_call().finish().exits(0);
        (lab.pushed, lab.written) = (lab.version, lab.version);
        lab
    }

    /// Files of a new version.
    fn prepare(&mut self) {
        self.version += 1;
        for file in 0..FILES {
            // Few lines, for an emulated guest looks at all of them.
            write(&self.source, format!("file_{file}"), format!("{:60}\n", self.version).repeat(130));
        }
    }

    fn push_call(&self) -> Call {
        self.workspace.call("sync push", [self.source.to_str().unwrap(), "--dest", "data"])
    }

    /// A change that is there whole or not at all: a rename makes it so.
    fn exec_call(&self) -> Call {
        self.workspace.exec(["sh", "-c", &format!("echo {} > new && mv new written", self.version)])
    }

    fn push(&mut self, what: &str) {
        self.prepare();
        let is_done = self.dice.kill_during(self.machine, self.push_call(), what);
        let (pushed, written) = self.look(what);
        assert!(
            pushed == self.version || (!is_done && pushed == self.pushed),
            "{what}: pushed {} over {}, found {pushed}",
            self.version,
            self.pushed
        );
        assert_eq!(written, self.written, "{what}");
        self.pushed = pushed;
    }

    fn exec(&mut self, what: &str) {
        self.version += 1;
        let is_done = self.dice.kill_during(self.machine, self.exec_call(), what);
        let (pushed, written) = self.look(what);
        assert!(
            written == self.version || (!is_done && written == self.written),
            "{what}: wrote {} over {}, found {written}",
            self.version,
            self.written
        );
        assert_eq!(pushed, self.pushed, "{what}");
        self.written = written;
    }

    fn diff(&mut self, what: &str) {
        self.dice.kill_during(self.machine, self.workspace.call("diff", [""; 0]), what);
        assert_eq!(self.look(what), (self.pushed, self.written), "{what}");
    }

    /// The one version of all that was pushed, and that which was written; nothing is there that nobody asked for.
    fn look(&self, what: &str) -> (u64, u64) {
        let told =
            self.workspace.shell("rm -f new; cat data/* | uniq; cat written; ls -A; ls -A data | wc -l");
        let (versions, listed) = told.split_once("data\n").unwrap_or_else(|| panic!("{what}: {told:?}"));
        assert_eq!(listed, format!("written\n{FILES}\n"), "{what}: {told:?}");
        let versions: Option<Vec<u64>> = versions.lines().map(|line| line.trim().parse().ok()).collect();
        let Some([pushed, written]) = versions.as_deref() else { panic!("{what}: {told:?}") };
        (*pushed, *written)
    }
}
