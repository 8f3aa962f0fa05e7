//! What happens to the VM when something happens to the client.

use rustix::process::Signal;

use crate::support::{Machine, Running, remains_of, wait_until};

/// A command that has begun, and would go on for ever.
fn begun(machine: &Machine) -> Running {
    let script = "trap '' INT TERM HUP; echo begun; while :; do sleep 1; done";
    let running = machine.run_with(&["--timeout-seconds", "600"], ["sh", "-c", script]).start();
    running.wait_for_out("begun\n");
    running
}

#[test]
fn interrupts_end_the_command_and_the_vm() {
    // Promise: Ctrl-C, SIGTERM and SIGHUP end everything before the client is gone, with the code a shell expects.
    let machine = Machine::new();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let running = begun(&machine);
        let vmm = running.vmm();
        running.signal(signal);
        running.finish().exits(code);
        assert!(!vmm.is_alive());
        assert_eq!(remains_of(machine.root()), [""; 0]);
    }
}

#[test]
fn an_interrupt_while_the_vm_comes_up_leaves_nothing() {
    // Promise: there is no moment at which Ctrl-C leaves a VM behind.
    let machine = Machine::new();
    for phase in ["phase=create", "phase=start"] {
        let running = machine.run(["sleep", "1000"]).start();
        running.wait_for_err(phase);
        running.signal(Signal::INT);
        running.finish().exits(130);
        machine.wait_until_clean();
    }
}

#[test]
fn a_killed_client_takes_its_vm_along() {
    // Promise: nothing of a VM outlives its client, even one that could not say goodbye.
    let machine = Machine::new();
    let running = begun(&machine);
    let (shim, vmm) = (running.shim(), running.vmm());
    running.signal(Signal::KILL);
    assert_eq!(running.finish().status.code(), None);
    machine.wait_until_clean();
    wait_until("the processes end", || !shim.is_alive() && !vmm.is_alive());
}

#[test]
fn a_killed_client_that_makes_a_template_leaves_no_half_of_one() {
    // Promise: a template is whole or not there; the next command makes it anew.
    let machine = Machine::with_own_environment();
    let running = machine.run(["true"]).start();
    running.wait_for_err("phase=template");
    running.vmm();
    running.signal(Signal::KILL);
    running.finish();
    machine.wait_until_clean();
    machine.run(["echo", "whole"]).finish().exits(0).says("whole\n").explains(&["phase=template"]);
}
