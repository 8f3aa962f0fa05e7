//! Copies of a running workspace, with its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Machine, Running, Workspace, packages, wait_until};
use crate::uniqueness::told_right;

/// Copies of one counter.
const COPIES: usize = 8;

/// Counts in memory, and writes each number with a random one beside it.
const COUNTER: &str = "
import os, random, time
print('counting', flush=True)
count = 0
with open('/workspace/counted', 'a', buffering=1) as counted:
    while True:
        count += 1
        counted.write(f'{count} {os.getpid()} {os.urandom(8).hex()}{random.SystemRandom().getrandbits(64):x}\\n')
        time.sleep(0.02)
";

/// A workspace in which a Python counts.
fn counting(machine: &Machine) -> Workspace<'_> {
    let debs = machine.root().join("debs");
    packages::put(&packages::PYTHON, &debs);
    let workspace = machine.workspace(&[]);
    workspace.call("sync push", [debs.to_str().unwrap(), "--dest", "debs"]).finish().exits(0);
    workspace.shell(
        "dpkg --force-depends -i debs/*.deb >/dev/null 2>&1; rm -r debs; python3.11 -c 'import random'",
    );
    workspace.call("file write", ["counter.py", "--text", COUNTER]).finish().exits(0);
    workspace.detach(&["python3.11", "counter.py"]);
    wait_until("the counter counts", || {
        workspace.shell("cat counted 2>/dev/null || true").lines().count() > 5
    });
    workspace
}

/// What the counter has written: numbers without a gap, by one process, with the random numbers beside them.
fn counted(workspace: &Workspace<'_>) -> Vec<String> {
    let told = workspace.shell("cat counted");
    let lines: Vec<&str> = told.lines().collect();
    let process = lines[0].split(' ').nth(1).unwrap();
    for (number, line) in (1..).zip(&lines) {
        assert!(line.starts_with(&format!("{number} {process} ")), "{line} is no line {number} of {process}");
    }
    lines.iter().map(|line| line.rsplit_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn eight_copies_of_a_running_counter_count_on() {
    // Promise: a live fork takes processes along: eight copies count on from where their source was, each with its own
    // random numbers, name, ids and the right time, and the source goes on answering.
    let machine = Machine::alone();
    let source = counting(&machine);
    source.shell("echo nonce > /dev/shm/nonce");
    let answering = Answering::start(&source);
    let before = counted(&source);
    let told = source.call("fork", ["--count", "8", "--name", "copy"]).finish();
    let err = told.exits(0).err();
    let sum = err.lines().last().unwrap();
    println!("{sum}; longest wait for the source: {:?}", answering.end());
    for part in ["count=8 ", " standstill_ms=", " memory_bytes=", " duration_ms="] {
        assert!(sum.contains(part), "{err}");
    }
    let copies: Vec<Workspace<'_>> =
        (1..=COPIES).map(|copy| machine.adopt(&format!("copy-{copy}"))).collect();
    let all: Vec<&Workspace<'_>> = copies.iter().chain([&source]).collect();
    for workspace in &all {
        let at_first = counted(workspace).len();
        assert!(at_first >= before.len(), "{at_first} after {}", before.len());
        wait_until("the copy counts on", || counted(workspace).len() > at_first + 3);
        assert_eq!(workspace.shell("cat /dev/shm/nonce"), "nonce\n");
        told_right(workspace);
    }
    assert_own_random_numbers(&all, &before);
    for what in
        ["hostname", "cat /etc/machine-id", "cat /proc/sys/kernel/random/boot_id", "cat /etc/hostname"]
    {
        let told: BTreeSet<String> = all.iter().map(|workspace| workspace.shell(what)).collect();
        assert_eq!(told.len(), COPIES + 1, "{what}: {told:?}");
    }
    let logs = copies[0].call("logs", ["--json"]).finish().exits(0).json();
    let entries = logs["entries"].as_array().unwrap();
    let counter = entries.iter().find(|entry| entry["command"].to_string().contains("counter.py"));
    assert_eq!(counter.unwrap()["state"], "running", "the copy's history has what goes on in it: {logs}");
    source.call("delete", ["--yes"]).finish().exits(0);
    let at_last = counted(&copies[7]).len();
    wait_until("the copy outlives its source", || counted(&copies[7]).len() > at_last);
}

/// What was common ended with the fork: from there on each copy has numbers that nobody else has.
fn assert_own_random_numbers(all: &[&Workspace<'_>], before: &[String]) {
    let counted: Vec<Vec<String>> = all.iter().map(|workspace| counted(workspace)).collect();
    let common = (0..).take_while(|line| {
        let numbers: Vec<Option<&String>> = counted.iter().map(|numbers| numbers.get(*line)).collect();
        numbers[0].is_some() && numbers.iter().all(|number| *number == numbers[0])
    });
    let common = common.count();
    assert!(common >= before.len(), "{common} numbers are common, {} were there before", before.len());
    let mut drawn_by = BTreeMap::new();
    for (copy, numbers) in counted.iter().enumerate() {
        for (place, number) in numbers.iter().enumerate().skip(common) {
            if let Some((other, _)) = drawn_by.insert(number, (copy, place)) {
                panic!(
                    "copies {other} and {copy} of {} drew one random number, their {place}th; {common} are common",
                    all.len()
                );
            }
        }
    }
}

/// A command in a workspace that answers line after line, and somebody who takes the time.
struct Answering<'a> {
    over: &'a AtomicBool,
    asking: std::thread::JoinHandle<Duration>,
}

impl Answering<'_> {
    fn start(workspace: &Workspace<'_>) -> Answering<'static> {
        let over: &'static AtomicBool = Box::leak(Box::default());
        let options =
            ["-i", "--timeout-seconds", "600", "--", "sh", "-c", "while read line; do echo \"$line.\"; done"];
        let mut running: Running = workspace.call("exec", options).start();
        let asking = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let asked = Instant::now();
                running.send(&format!("{number}\n"));
                running.wait_for_out(&format!("\n{number}.\n")[usize::from(number == 0)..]);
                longest = longest.max(asked.elapsed());
                std::thread::sleep(Duration::from_millis(2));
            }
            running.close_stdin();
            running.finish().exits(0);
            longest
        });
        Answering { over, asking }
    }

    /// The longest wait for an answer; one that never came has failed already.
    fn end(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.asking.join().unwrap()
    }
}

#[test]
fn a_fork_of_a_fork_goes_on_too() {
    // Promise: a live fork can be forked, stopped and reset like any workspace.
    let machine = Machine::alone();
    let source = machine.workspace(&["--name", "w"]);
    source.count_in_memory();
    source.shell("echo one > one");
    source.call("fork", ["--name", "first"]).finish().exits(0);
    let first = machine.adopt("first");
    first.shell("echo two > two");
    first.call("fork", ["--name", "second"]).finish().exits(0);
    let second = machine.adopt("second");
    for workspace in [&source, &first, &second] {
        let then = workspace.counted();
        wait_until("it counts on", || workspace.counted() > then);
    }
    assert_eq!(second.shell("cat one two; ls"), "one\ntwo\none\ntwo\n");
    first.call("delete", ["--yes"]).finish().exits(0);
    second.call("stop", [""; 0]).finish().exits(0);
    assert_eq!(second.shell("ls; ls /dev/shm"), "one\ntwo\n");
    second.shell("rm one; echo three > three");
    second.reset(&[]);
    assert_eq!(second.shell("ls; ls /dev/shm"), "one\ntwo\n", "it is what it was made as");
}

#[test]
fn commands_begin_while_memory_is_kept() {
    // Promise: commands that come while a snapshot with memory is taken wait for a moment, and run.
    let machine = Machine::alone();
    let workspace = machine.workspace(&[]);
    // A busy guest takes its time to fall silent, in which others come.
    workspace.detach(&["sh", "-c", "while :; do :; done"]);
    let over = AtomicBool::new(false);
    let ran: Vec<u32> = std::thread::scope(|scope| {
        let run = |client: u32| {
            let (workspace, over) = (&workspace, &over);
            scope.spawn(move || {
                let mut ran = 0;
                while !over.load(Ordering::Relaxed) {
                    let said = format!("{client} {ran}\n");
                    assert_eq!(workspace.shell(&format!("echo '{}'", said.trim())), said);
                    ran += 1;
                }
                ran
            })
        };
        let clients: Vec<_> = (0..3).map(run).collect();
        for number in 0..20 {
            workspace.snapshot(&format!("m{number}"), &["--memory"]);
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(ran.iter().all(|ran| *ran > 0), "{ran:?}");
    workspace.reset(&["--snapshot", "m5"]);
    assert_eq!(workspace.shell("echo alive"), "alive\n");
}
