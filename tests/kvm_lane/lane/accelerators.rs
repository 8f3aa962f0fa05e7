//! Which accelerator and which transport a guest gets, and what is told of it.

use super::{as_by_default, assert_emulates, summary};
use crate::support::{Call, Machine};
use crate::templates::templates;

/// Where a program listens that has nothing to do with pyro.
const STRANGERS_PORT: u32 = 5005;

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
}

#[test]
fn emulation_over_vsock_can_be_asked_for() {
    // Promise: `--accelerator tcg` is emulation, though there is KVM, and over vsock if that is asked for too.
    let machine = Machine::new();
    let emulated = machine.run_with(&["--accelerator", "tcg", "--timeout-seconds", "120"], ["true"]);
    emulated.env("PYRO_TRANSPORT", "vsock").finish().exits(0).explains(&[&summary("tcg", "guest_vsock")]);
}

#[test]
fn the_serial_port_can_be_asked_for() {
    // Promise: PYRO_TRANSPORT=serial is the serial port, though there is vsock, for a run and for a workspace.
    let machine = Machine::new();
    let serial = |call: Call| call.env("PYRO_TRANSPORT", "serial").finish();
    serial(machine.run(["true"])).exits(0).explains(&[&summary("kvm", "guest_serial")]);
    let id = serial(machine.pyro(["workspace", "create", "debian:12", "--id-only"])).exits(0).out();
    let workspace = machine.adopt(id.trim());
    serial(workspace.exec(["true"])).exits(0).explains(&["execution_mode=guest_serial "]);
}

#[test]
fn emulation_can_be_asked_for_and_shares_no_template() {
    // Promise: `--accelerator tcg` is emulation, though there is KVM; no guest is ever a copy of one that ran in the other
    // way, and that one goes on being copied.
    let machine = Machine::alone();
    let run = |accelerator: &str| machine.run_with(&["--accelerator", accelerator], ["true"]);
    run("kvm").finish().exits(0).explains(&[" accelerator=kvm exit_code=0 "]);
    let before = templates(machine.cache()).0;
    assert!(!before.is_empty());
    assert_emulates(run("tcg").start());
    let again = run("kvm").finish();
    assert!(!again.exits(0).err().contains("phase=template"), "{}", again.err());
    assert_eq!(templates(machine.cache()).0, before);
}
