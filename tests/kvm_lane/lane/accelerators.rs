//! Which accelerator and which transport a guest gets, and what is told of it.

use std::path::{Path, PathBuf};

use super::{as_by_default, summary};
use crate::support::Machine;
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
    assert!(!told.out().contains("emulated"), "{}", told.out());
    let report = as_by_default(machine.pyro(["doctor", "--json"])).finish().exits(0).json();
    assert_eq!((&report["kvm"]["usable"], &report["accelerator"]["name"]), (&"yes".into(), &"kvm".into()));
}

#[test]
fn the_serial_port_can_be_asked_for() {
    // Promise: PYRO_TRANSPORT=serial is the serial port, though there is vsock.
    let machine = Machine::new();
    let run = as_by_default(machine.run(["true"])).env("PYRO_TRANSPORT", "serial");
    run.finish().exits(0).explains(&[&summary("kvm", "guest_serial")]);
    let told = machine.pyro(["workspace", "create", "debian:12", "--id-only"]);
    let id = told.env("PYRO_TRANSPORT", "serial").finish().exits(0).out();
    let workspace = machine.adopt(id.trim());
    let run = workspace.exec(["true"]).env("PYRO_TRANSPORT", "serial").finish();
    run.exits(0).explains(&["execution_mode=guest_serial "]);
}

#[test]
fn emulation_can_be_asked_for_and_shares_no_template() {
    // Promise: `--accelerator tcg` is emulation, though there is KVM; no guest is ever a copy of one that ran in the other
    // way, and both go on being copied from their own.
    let machine = Machine::with_own_environment();
    let run = |accelerator: &str| {
        let told = machine.run_with(&["--timeout-seconds", "120"], ["cat", CLOCK_SOURCE]);
        let told = told.env("PYRO_ACCELERATOR", accelerator).finish();
        told.exits(0).explains(&[&format!(" accelerator={accelerator} exit_code=0 ")]);
        (told.out(), told.err().contains("phase=template"))
    };
    let made = || -> Vec<PathBuf> { templates(machine.cache()).0 };
    assert_eq!(run("kvm"), ("kvm-clock\n".to_owned(), true));
    let of_kvm = made();
    let (clock, is_made) = run("tcg");
    assert!(is_made && clock != "kvm-clock\n", "an emulated guest has no KVM around it: {clock}");
    let both = made();
    assert_eq!((of_kvm.len(), both.len()), (1, 2), "{both:?}");
    for accelerator in ["kvm", "tcg", "kvm"] {
        assert!(!run(accelerator).1, "{accelerator} has a template");
    }
    assert_eq!(made().len(), 2);
    for unlike in ["key", "accelerator"] {
        let [one, other] = [&both[0], &both[1]].map(|template| field(template, unlike));
        assert!(one.is_none() || one != other, "{unlike}: {one:?}");
    }
}

/// Where the guest's kernel says what it tells the time by.
pub(super) const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

fn field(template: &Path, name: &str) -> Option<serde_json::Value> {
    let text = std::fs::read(template.join("template.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&text).unwrap().get(name).cloned()
}
