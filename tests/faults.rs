//! Processes of pyro that die or stop while they are needed.

use rustix::process::Signal;

use crate::support::{Machine, Running, remains_of, wait_until};

/// A command that answers each line, so that it is known to be alive.
fn begun(machine: &Machine, options: &[&str]) -> Running {
    let running = machine.run_with(options, ["sh", "-c", "echo begun; exec sleep 1000"]).start();
    running.wait_for_out("begun\n");
    running
}

#[test]
fn a_supervisor_that_is_killed_is_told_and_cleaned_up() {
    // Promise: the VM dies with its supervisor, the client says so, and the next command removes what is left.
    let machine = Machine::new();
    let running = begun(&machine, &[]);
    let (shim, vmm) = (running.shim(), running.vmm());
    shim.signal(Signal::KILL);
    running.finish().exits(125).explains(&["supervisor was lost", "run the command again"]);
    wait_until("the VMM dies with its supervisor", || !vmm.is_alive());
    assert!(!remains_of(machine.root()).is_empty(), "nobody was left to remove the VM's directories");
    machine.pyro(["env", "list"]).finish().exits(0);
    assert_eq!(remains_of(machine.root()), [""; 0]);
}

#[test]
fn a_vmm_that_is_killed_is_told() {
    // Promise: a QEMU that dies gives one clear error, and nothing is left.
    let machine = Machine::new();
    let running = begun(&machine, &[]);
    running.vmm().signal(Signal::KILL);
    running.finish().exits(125).explains(&["QEMU ended with signal 9", "run the command again"]);
    let running = machine.run_with(&["--json"], ["sleep", "1000"]).start();
    running.vmm().signal(Signal::SEGV);
    let told = running.finish();
    told.exits(125);
    assert_eq!(told.error_code(), "vmm-died");
}

#[test]
fn a_vmm_that_stops_is_noticed() {
    // Promise: a QEMU that stands still is found out soon after the command's time limit, and ended.
    let machine = Machine::new();
    let running = begun(&machine, &["--timeout-seconds", "5"]);
    let vmm = running.vmm();
    vmm.signal(Signal::STOP);
    running.finish().exits(125).explains(&["did not end a command at its time limit"]);
    assert!(!vmm.is_alive());
}

#[test]
fn a_supervisor_that_stops_does_not_bind_its_client() {
    // Promise: Ctrl-C works against a supervisor that stands still, and nothing outlives it.
    let machine = Machine::new();
    let running = begun(&machine, &[]);
    let shim = running.shim();
    shim.signal(Signal::STOP);
    running.signal(Signal::INT);
    running.finish().exits(130);
    // The client kills what does not end; the next command finds what that leaves.
    machine.pyro(["env", "list"]).finish().exits(0);
    machine.wait_until_clean();
    wait_until("the supervisor ends", || !shim.is_alive());
}
