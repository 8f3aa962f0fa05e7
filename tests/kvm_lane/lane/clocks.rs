//! A guest's clock under KVM.

use std::time::Duration;

use crate::support::{Machine, Running, Workspace};
use crate::uniqueness::{CLOCK_MS_MAX, now, told_right};

/// Where the guest's kernel says what it tells the time by.
const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Between two looks at the clock.
const STRETCH: Duration = Duration::from_secs(4);

#[test]
fn a_copys_clock_runs_at_the_right_rate() {
    // Promise: after a fork, and after a pause, the clock is KVM's own, is right, and goes as fast as the host's.
    let machine = Machine::alone();
    let source = machine.workspace(&["--name", "source"]);
    source.call("fork", ["--name", "copy"]).finish().exits(0);
    let copy = machine.adopt("copy");
    assert_goes_right(&source);
    assert_goes_right(&copy);
    copy.call("pause", [""; 0]).finish().exits(0);
    copy.call("resume", [""; 0]).finish().exits(0);
    assert_goes_right(&copy);
}

fn assert_goes_right(workspace: &Workspace<'_>) {
    assert_eq!(workspace.shell(&format!("cat {CLOCK_SOURCE}")), "kvm-clock\n");
    told_right(workspace);
    let script = "while read -r line; do read -r up rest < /proc/uptime; echo \"$line $up end$line\"; done";
    let options = ["-i", "--timeout-seconds", "120", "--", "bash", "-c", script];
    let mut running = workspace.call("exec", options).start();
    let began = uptime(&mut running, "a");
    std::thread::sleep(STRETCH);
    let ended = uptime(&mut running, "b");
    running.close_stdin();
    running.finish().exits(0);
    // Each was looked at somewhere between its question and its answer.
    let (least, most) = (ended.0 - began.2, ended.2 - began.0);
    let guest = ended.1 - began.1;
    assert!(
        least <= guest + CLOCK_MS_MAX && guest <= most + CLOCK_MS_MAX,
        "{guest:?} in the guest are {least:?} to {most:?} on the host"
    );
}

/// The host's time, how long the guest is up, and the host's time again.
fn uptime(running: &mut Running, word: &str) -> (Duration, Duration, Duration) {
    let before = now();
    running.send(&format!("{word}\n"));
    running.wait_for_out(&format!("end{word}\n"));
    let after = now();
    let told = running.out_so_far();
    let up = told.lines().last().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
    (before, Duration::from_secs_f64(up), after)
}
