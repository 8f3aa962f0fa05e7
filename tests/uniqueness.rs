//! Every fork of a template is a computer of its own, and current.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Machine, Workspace};

/// Tells a line for everything that no two guests may share.
pub(crate) const IDENTITY: &str =
    "cat /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1; cat /etc/machine-id
    cat /proc/sys/kernel/random/boot_id; hostname; perl -e 'printf \"%d\\n\", rand 1e9'; mktemp -u";

/// How far a guest's clock may be off (the product's promise).
pub(crate) const CLOCK_MS_MAX: Duration = Duration::from_millis(50);

#[test]
fn no_two_runs_share_an_identity() {
    // Promise: random numbers, machine id, boot id and host name of two forks of one template differ.
    let machine = Machine::new();
    let told = || machine.shell(IDENTITY).finish().exits(0).out();
    let (first, second) = (told(), told());
    assert_unlike(&first, &second);
    let machine_id = first.lines().nth(2).unwrap();
    assert!(machine_id.len() == 32 && machine_id.chars().all(|c| c.is_ascii_hexdigit()), "{machine_id}");
}

#[test]
fn no_secret_key_is_baked_in() {
    // Promise: nothing that must be unique is part of an environment.
    let machine = Machine::new();
    machine
        .shell("ls /etc/ssh/*key* /var/lib/systemd/random-seed 2>/dev/null | wc -l")
        .finish()
        .exits(0)
        .says("0\n");
}

#[test]
fn the_clock_is_right() {
    // Promise: a guest's clock is right to 50 ms, at its start and some seconds later.
    let machine = Machine::new();
    let script = "while read line; do echo \"$line $EPOCHREALTIME end$line\"; done";
    let mut running = machine.run_with(&["-i", "--timeout-seconds", "120"], ["bash", "-c", script]).start();
    for round in 0..5 {
        let before = now();
        running.send(&format!("q{round}\n"));
        running.wait_for_out(&format!("endq{round}\n"));
        let after = now();
        let told = running.out_so_far();
        let guest = told.lines().last().and_then(|line| line.split(' ').nth(1)).unwrap();
        let guest = Duration::from_secs_f64(guest.parse().unwrap());
        assert!(
            before <= guest + CLOCK_MS_MAX && guest <= after + CLOCK_MS_MAX,
            "{before:?} {guest:?} {after:?}"
        );
        std::thread::sleep(Duration::from_millis(700));
    }
    running.close_stdin();
    running.finish().exits(0);
}

#[test]
fn the_clock_is_utc_of_the_host() {
    // Promise: the date inside is the date outside.
    let machine = Machine::new();
    let before = now().as_secs();
    let told: u64 = machine.run(["date", "+%s"]).finish().exits(0).out().trim().parse().unwrap();
    assert!((before - 1..=now().as_secs() + 1).contains(&told), "{told}");
}

/// Asserts that two guests who were asked for their [`IDENTITY`] have nothing in common.
pub(crate) fn assert_unlike(first: &str, second: &str) {
    assert_eq!((first.lines().count(), second.lines().count()), (7, 7), "{first}");
    for (number, (a, b)) in first.lines().zip(second.lines()).enumerate() {
        assert!(!a.is_empty() && a != b, "line {number} of both: {a}");
    }
}

/// A workspace's time, which must be that of the host.
pub(crate) fn told_right(workspace: &Workspace<'_>) -> Duration {
    let before = now();
    let told = workspace.exec(["bash", "-c", "echo $EPOCHREALTIME"]).finish().exits(0).out();
    let (guest, after) = (Duration::from_secs_f64(told.trim().parse().unwrap()), now());
    assert!(
        before <= guest + CLOCK_MS_MAX && guest <= after + CLOCK_MS_MAX,
        "{before:?} {guest:?} {after:?}"
    );
    guest
}

pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
