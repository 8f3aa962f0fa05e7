//! How a command's end becomes the program's.

use crate::support::Machine;

#[test]
fn the_commands_code_is_the_programs() {
    // Promise: `pyro run` exits as the command in the guest does.
    let machine = Machine::new();
    for code in [0, 1, 7, 255] {
        machine.shell(&format!("exit {code}")).finish().exits(code);
    }
}

#[test]
fn a_command_that_is_missing_is_127() {
    // Promise: not found is told apart from everything else, with what to do.
    let machine = Machine::new();
    machine.run(["no-such-command"]).finish().exits(127).says("").explains(&["no-such-command"]);
    machine.run(["/no/such/file"]).finish().exits(127).explains(&["/no/such/file"]);
    let told = machine.run_with(&["--json"], ["no-such-command"]).finish();
    told.exits(127);
    assert_eq!(told.error_code(), "command-not-found");
}

#[test]
fn a_command_that_cannot_be_executed_is_126() {
    // Promise: a file without permission, a directory and a file of no format are not executable.
    let machine = Machine::new();
    for file in ["/etc/passwd", "/etc", "/etc/shadow"] {
        machine.run([file]).finish().exits(126).says("").explains(&[file]);
    }
    let told = machine.run_with(&["--json"], ["/etc/passwd"]).finish();
    told.exits(126);
    assert_eq!(told.error_code(), "command-not-executable");
}

#[test]
fn a_signal_is_128_and_its_number() {
    // Promise: a command killed by a signal shows as a shell shows it.
    let machine = Machine::new();
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("INT", 130)] {
        machine.shell(&format!("kill -{signal} $$")).finish().exits(code);
    }
    let told = machine.run_with(&["--json"], ["sh", "-c", "kill -9 $$"]).finish();
    assert_eq!(told.exits(137).json()["reason"], "signal");
}

#[test]
fn a_command_at_its_time_limit_is_124() {
    // Promise: the time limit ends the command and everything it started, however stubborn, and says so.
    let machine = Machine::new();
    let stubborn = "trap '' TERM INT HUP; echo begun; sleep 1000 & sleep 1000";
    let ended = machine.run_with(&["--timeout-seconds", "5"], ["sh", "-c", stubborn]).finish();
    ended.exits(124).says("begun\n").explains(&["time limit of 5 s", "--timeout-seconds"]);
    let told = machine.run_with(&["--timeout-seconds", "1", "--json"], ["sleep", "1000"]).finish();
    let told = told.exits(124).json();
    assert_eq!((&told["reason"], &told["exit_code"]), (&"timeout".into(), &124.into()));
}

#[test]
fn a_vm_at_its_time_to_live_is_gone() {
    // Promise: a VM does not outlive its time, whatever its command's limit says.
    let machine = Machine::new();
    let options = ["--ttl-seconds", "3", "--timeout-seconds", "600"];
    let ended = machine.run_with(&options, ["sleep", "1000"]).finish();
    ended.exits(125).explains(&["time to live is over", "--ttl-seconds"]);
}

#[test]
fn a_missing_directory_or_user_is_pyros_failure() {
    // Promise: what the caller asked wrongly is not mistaken for the command's own end.
    let machine = Machine::new();
    machine.run_with(&["--workdir", "/no/such"], ["true"]).finish().exits(125).explains(&["/no/such"]);
    machine.run_with(&["--user", "nosuchuser"], ["true"]).finish().exits(125).explains(&["nosuchuser"]);
}
