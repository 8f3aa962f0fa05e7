//! Which accelerator and which transport a guest gets, and what is told of it.

use std::fs;
use std::path::Path;

use super::{as_by_default, assert_emulates, summary, wait_patiently};
use crate::host::in_namespace;
use crate::support::{Call, Machine};
use crate::templates::templates;

/// Where a program listens that has nothing to do with pyro; it could be a guest's port.
const STRANGERS_PORT: u32 = 0x2_0000;

/// What rules say to who wants a socket: Docker's, and those of a service that names the families it may have.
const EPERM: u32 = 1;
const EAFNOSUPPORT: u32 = 97;

#[test]
fn kvm_and_vsock_are_taken_where_they_are() {
    // Promise: who sets nothing gets KVM and vsock, once a guest has run so, and doctor tells the same.
    let machine = Machine::new();
    let first = as_by_default(machine.run(["true"])).finish();
    first.exits(0).explains(&[&summary("kvm", "guest_vsock")]);
    let told = as_by_default(machine.pyro(["doctor"])).finish();
    told.exits(0).tells("KVM: exists=yes readable=yes writable=yes usable=yes\n");
    told.tells("\nRuntime: PASS\n").tells("\nAccelerator: kvm (a guest has run on it)\n");
    told.tells("\nTransport: vsock (a guest was reached over it)\n");
    assert!(!told.out().contains("emulated"), "{}", told.out());
    let report = as_by_default(machine.pyro(["doctor", "--json"])).finish().exits(0).json();
    assert_eq!((&report["kvm"]["usable"], &report["accelerator"]["name"]), (&"yes".into(), &"kvm".into()));
    // What else a guest could come to over vsock is told.
    let _listener = pyro_vsock::listen(STRANGERS_PORT).unwrap();
    let told = as_by_default(machine.pyro(["doctor"])).finish();
    told.exits(0).tells(&format!("listen on vsock, and guests can reach them: port {STRANGERS_PORT} fix: "));
    // What is known of the host does not hold in a container of it that forbids the sockets.
    let rules = machine.root().join("rules");
    let contained = |call: Call| in_container(as_by_default(call), &rules);
    for errno in [EAFNOSUPPORT, EPERM] {
        fs::write(&rules, without_vsock_sockets(errno)).unwrap();
        contained(machine.run(["true"])).finish().exits(0).explains(&[&summary("kvm", "guest_serial")]);
    }
    let reason =
        "/dev/vhost-vsock is of no use: AF_VSOCK sockets are forbidden: Operation not permitted (os error 1)";
    let told = contained(machine.pyro(["doctor"])).finish();
    told.exits(0).tells(&format!("\nTransport: serial ({reason})\n"));
    let asked = in_container(machine.run(["true"]).env("PYRO_TRANSPORT", "vsock"), &rules).finish();
    asked.exits(125).says("").explains(&[
        "guests cannot be reached over vsock",
        reason,
        "PYRO_TRANSPORT=serial",
    ]);
}

/// The same call in a container that has all of the host, under rules for its system calls.
fn in_container(call: Call, rules: &Path) -> Call {
    let script = format!("exec bwrap --dev-bind / / --seccomp 9 -- \"$0\" \"$@\" 9<'{}'", rules.display());
    in_namespace(call, &["--mount"], &script)
}

/// A program of seccomp's (linux/filter.h) that lets everything through but sockets of the family 40, AF_VSOCK, for which it
/// gives this error.
fn without_vsock_sockets(errno: u32) -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYSTEM_CALL: u32 = 0;
    const FIRST_ARGUMENT: u32 = 16;
    const SOCKET: u32 = 41;
    const AF_VSOCK: u32 = 40;
    const ERROR: u32 = 0x0005_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let program: [(u16, u8, u8, u32); 6] = [
        (LOAD, 0, 0, SYSTEM_CALL),
        (JUMP_IF_EQUAL, 0, 3, SOCKET),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_IF_EQUAL, 0, 1, AF_VSOCK),
        (RETURN, 0, 0, ERROR | errno),
        (RETURN, 0, 0, ALLOW),
    ];
    let bytes = |(code, yes, no, value): (u16, u8, u8, u32)| {
        [&code.to_le_bytes()[..], &[yes, no], &value.to_le_bytes()].concat()
    };
    program.map(bytes).concat()
}

#[test]
fn emulation_can_be_asked_for_and_shares_no_template() {
    // Promise: `--accelerator tcg` is emulation, though there is KVM: no copy of a guest that ran in the other way, and that one
    // goes on being copied.
    let machine = Machine::alone();
    run(&machine, "kvm").finish().exits(0).explains(&[&summary("kvm", "guest_vsock")]);
    let before = templates(machine.cache()).0;
    assert_emulates(run(&machine, "tcg").start());
    let after = templates(machine.cache()).0;
    assert!(before.iter().all(|template| after.contains(template)), "{before:?} {after:?}");
    assert_is_copied(&machine);
}

#[test]
fn an_emulated_guest_is_reached_over_vsock() {
    // Promise: emulated guests have vsock where it is asked for, and a template of their own.
    let machine = Machine::alone();
    run(&machine, "kvm").finish().exits(0);
    let before = templates(machine.cache()).0;
    let emulated = run(&machine, "tcg").start();
    wait_patiently(&emulated, "phase=start");
    emulated.finish().exits(0).explains(&["phase=template", &summary("tcg", "guest_vsock")]);
    let after = templates(machine.cache()).0;
    let kept = before.iter().all(|template| after.contains(template));
    assert!(kept && after.len() == before.len() + 1, "{before:?} {after:?}");
    assert_is_copied(&machine);
}

fn run(machine: &Machine, accelerator: &str) -> Call {
    let options = ["--accelerator", accelerator, "--timeout-seconds", "120"];
    machine.run_with(&options, ["true"]).env("PYRO_TRANSPORT", "vsock")
}

/// That a guest under KVM is a copy.
fn assert_is_copied(machine: &Machine) {
    let again = run(machine, "kvm").finish();
    assert!(!again.exits(0).err().contains("phase=template"), "{}", again.err());
    again.explains(&[&summary("kvm", "guest_vsock")]);
}
