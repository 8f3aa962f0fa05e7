//! Pausing: the VM goes, its memory stays.

use std::time::Duration;

use crate::host::in_namespace;
use crate::support::{Machine, Process, Workspace, assert_matches, wait_until};
use crate::uniqueness::told_right;

fn is_any_alive(machine: &Machine) -> bool {
    let is_pyros = |process: &Process| {
        process.words[0].contains("qemu") || process.words.get(1).is_some_and(|word| word == "shim")
    };
    Process::all().iter().any(|process| is_pyros(process) && process.concerns(machine.root()))
}

fn pause(workspace: &Workspace<'_>) {
    workspace.call("pause", [""; 0]).finish().exits(0);
}

#[test]
fn a_paused_workspace_takes_no_process_and_goes_on_where_it_was() {
    // Promise: pausing ends every process and keeps the memory, as often as one likes; a resumed workspace goes on.
    let machine = Machine::new();
    let workspace = machine.workspace(&["--name", "w"]);
    workspace.shell("echo nonce > /dev/shm/nonce; echo disk > disk");
    workspace.count_in_memory();
    let boot = workspace.shell("cat /proc/sys/kernel/random/boot_id");
    for round in 0..3 {
        let before = workspace.counted();
        let told = workspace.call("pause", [""; 0]).finish();
        let line = "[workspace-pause] workspace_id=... write_ms=... standstill_ms=... memory_bytes=... memory_ms=...";
        assert_matches(line, &told.exits(0).err());
        assert!(told.out().contains("State: paused\n"), "{}", told.out());
        // The supervisor tells it with its last breath.
        wait_until("a paused workspace has no process", || !is_any_alive(&machine));
        let listed = machine.pyro(["workspace", "list"]).finish().exits(0).out();
        assert!(listed.contains(" [paused] "), "{listed}");
        if round != 1 {
            let told = workspace.call("resume", [""; 0]).finish();
            assert!(told.exits(0).out().contains("State: started\n"), "{}", told.out());
        }
        // Or by any command.
        assert_eq!(workspace.shell("cat /dev/shm/nonce disk"), "nonce\ndisk\n");
        let resumed = workspace.counted();
        assert!((before..before + 100).contains(&resumed), "{resumed} after {before}");
        wait_until("it counts on", || workspace.counted() > resumed + 3);
    }
    assert_eq!(workspace.shell("cat /proc/sys/kernel/random/boot_id"), boot, "it is the same computer");
    // The command that goes on is in the history, where it was or under a new number.
    let logs = workspace.call("logs", ["--json"]).finish().exits(0).json();
    let running =
        logs["entries"].as_array().unwrap().iter().filter(|entry| entry["state"] == "running").count();
    assert_eq!(running, 1, "the counter goes on: {logs}");
}

#[test]
fn the_clock_is_right_after_a_pause() {
    // Promise: however long a workspace was paused, its clock is right to 50 ms, and never goes back.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let watch = "last=0; while :; do now=${EPOCHREALTIME/./}; [ $now -ge $last ] || echo back; last=$now; done > /dev/shm/back";
    workspace.detach(&["bash", "-c", watch]);
    for _ in 0..2 {
        let before = told_right(&workspace);
        pause(&workspace);
        std::thread::sleep(Duration::from_secs(3));
        workspace.call("resume", [""; 0]).finish().exits(0);
        assert!(told_right(&workspace) >= before + Duration::from_secs(3));
    }
    assert_eq!(workspace.shell("cat /dev/shm/back"), "", "no process has seen time go back");
}

#[test]
fn a_pause_outlives_a_restart_of_the_host() {
    // Promise: a host whose own uptime has jumped, as by a restart or hours of sleep, resumes a guest at the right time.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo nonce > /dev/shm/nonce");
    pause(&workspace);
    let hours = ["--time", "--fork", "--monotonic", "9000", "--boottime", "9000"];
    let privileges: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--map-root-user"] };
    let flags = [&hours, privileges].concat();
    // Once far ahead, where it stays up; then back, as after a restart.
    let resumed = in_namespace(workspace.call("resume", [""; 0]), &flags, "exec \"$0\" \"$@\"").finish();
    assert!(resumed.exits(0).out().contains("State: started\n"));
    for _ in 0..2 {
        let before = told_right(&workspace);
        std::thread::sleep(Duration::from_secs(1));
        assert!(told_right(&workspace) >= before + Duration::from_secs(1));
        assert_eq!(workspace.shell("cat /dev/shm/nonce; timeout 5 sleep 0.1"), "nonce\n", "its timers run");
        pause(&workspace);
    }
}

#[test]
fn a_paused_workspace_can_be_stopped_snapshot_reset_and_deleted() {
    // Promise: what can be done with a workspace can be done with one that is paused, and what cannot be is told.
    let machine = Machine::new();
    let workspace = machine.workspace(&["--name", "w"]);
    workspace.shell("echo disk > disk; echo nonce > /dev/shm/nonce");
    workspace.snapshot("checkpoint", &[]);
    pause(&workspace);
    let told = workspace.call("pause", [""; 0]).finish();
    told.exits(0).explains(&["paused already"]);
    let told = workspace.call("exec", ["--no-start", "--", "true"]).finish();
    told.exits(125).explains(&["w is paused", "pyro workspace resume w"]);
    assert_eq!(workspace.call("diff", ["--no-start", "--json"]).finish().error_code(), "workspace-paused");
    let told = workspace.call("stop", [""; 0]).finish();
    told.exits(0).explains(&["its memory was dropped"]);
    assert!(told.out().contains("State: stopped\n"), "{}", told.out());
    let left = std::fs::read_dir(machine.root().join("state/memories")).unwrap().count();
    assert_eq!(left, 0, "the memory is given back");
    let told = workspace.call("pause", [""; 0]).finish();
    told.exits(125).explains(&["w is stopped"]);
    let told = workspace.call("resume", [""; 0]).finish();
    told.exits(0).explains(&["it was stopped, not paused"]);
    assert_eq!(workspace.shell("cat disk; ls /dev/shm"), "disk\n", "it has booted afresh");
    workspace.call("resume", [""; 0]).finish().exits(0).explains(&["it runs already"]);

    workspace.shell("echo late > late; echo nonce > /dev/shm/nonce");
    pause(&workspace);
    workspace.snapshot("of-paused", &[]);
    assert_eq!(workspace.shell("cat /dev/shm/nonce"), "nonce\n", "a snapshot resumes it");
    pause(&workspace);
    workspace.reset(&["--snapshot", "checkpoint"]);
    assert_eq!(workspace.shell("ls; ls /dev/shm"), "disk\n");
    assert_eq!(workspace.state(), "started");
    pause(&workspace);
    workspace.call("delete", ["--yes"]).finish().exits(0);
    machine.wait_until_clean();
}

#[test]
fn a_pause_under_load_loses_nothing() {
    // Promise: output and input that are under way when a workspace is paused arrive, once, in order.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo \"line $i of a text that is long enough to fill pipes and windows\"; done; echo end > /dev/shm/end";
    let sequence = workspace.detach(&["sh", "-c", script]);
    for _ in 0..4 {
        pause(&workspace);
        workspace.call("resume", [""; 0]).finish().exits(0);
    }
    wait_until("it ends", || workspace.shell("ls /dev/shm").contains("end"));
    let logs = workspace.call("logs", ["--json"]).finish().exits(0).json();
    let entries = logs["entries"].as_array().unwrap();
    let texts = entries.iter().filter(|entry| entry["command"].to_string().contains("a text that"));
    let whole: String = texts.map(|entry| entry["stdout"].as_str().unwrap()).collect();
    let numbers: Vec<u32> = whole.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
    assert_eq!(numbers, (1..=3000).collect::<Vec<_>>(), "command {sequence}: {} entries", entries.len());
}
