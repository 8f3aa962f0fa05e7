//! Which accelerator and which transport a guest gets, and what is told of it.

use super::{as_by_default, summary};
use crate::support::{Call, Machine};
use crate::templates::templates;

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
    // way, and both go on being copied from their own.
    let machine = Machine::alone();
    let run = |accelerator: &str| {
        let options = ["--timeout-seconds", "120", "--accelerator", accelerator];
        let told = machine.run_with(&options, ["cat", CLOCK_SOURCE]).env("PYRO_TRANSPORT", "serial").finish();
        told.exits(0).explains(&[&summary(accelerator, "guest_serial")]);
        // A copy tells the time by what its template has found when it booted.
        assert_eq!(told.out() == "kvm-clock\n", accelerator == "kvm", "{}", told.out());
        told.err().contains("phase=template")
    };
    let made = || templates(machine.cache()).0;
    for accelerator in ["kvm", "tcg"] {
        run(accelerator);
    }
    let before = made();
    assert!(before.len() >= 2, "{before:?}");
    for accelerator in ["kvm", "tcg", "kvm"] {
        assert!(!run(accelerator), "{accelerator} has a template");
    }
    assert_eq!(made(), before);
}

/// Where the guest's kernel says what it tells the time by.
pub(super) const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
