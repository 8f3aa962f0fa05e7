//! Which accelerator and which transport a guest gets, and what is told of it.

use super::{as_by_default, summary, wait_patiently};
use crate::support::Machine;
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
fn emulation_can_be_asked_for_and_shares_no_template() {
    // Promise: `--accelerator tcg` is emulation, though there is KVM, over vsock if that is asked for too; no guest is ever a
    // copy of one that ran in the other way, and that one goes on being copied.
    let machine = Machine::alone();
    let run = |accelerator: &str| {
        let options = ["--accelerator", accelerator, "--timeout-seconds", "120"];
        machine.run_with(&options, ["true"]).env("PYRO_TRANSPORT", "vsock")
    };
    run("kvm").finish().exits(0).explains(&[&summary("kvm", "guest_vsock")]);
    let before = templates(machine.cache()).0;
    let emulated = run("tcg").start();
    wait_patiently(&emulated, "phase=start");
    emulated.finish().exits(0).explains(&["phase=template", &summary("tcg", "guest_vsock")]);
    let after = templates(machine.cache()).0;
    let kept = before.iter().all(|template| after.contains(template));
    assert!(kept && after.len() == before.len() + 1, "{before:?} {after:?}");
    let again = run("kvm").finish();
    assert!(!again.exits(0).err().contains("phase=template"), "{}", again.err());
    again.explains(&[&summary("kvm", "guest_vsock")]);
}
