//! KVM or emulation: tried, remembered, and told.

use std::fs::File;
use std::path::Path;

use crate::support::Machine;

#[test]
fn auto_takes_what_really_runs() {
    // Promise: `auto` picks KVM only after a guest has run on it, falls back otherwise, and doctor tells the same.
    let machine = Machine::new();
    let first = machine.run(["true"]).env("PYRO_ACCELERATOR", "auto").finish();
    first.exits(0);
    let used = ["kvm", "tcg"].into_iter().find(|name| first.err().contains(&format!("accelerator={name} ")));
    let used = used.unwrap_or_else(|| panic!("no accelerator in {}", first.err()));
    let told = machine.pyro(["doctor"]).env("PYRO_ACCELERATOR", "auto").finish().exits(0).out();
    assert!(told.contains(&format!("\nAccelerator: {used} (")), "{told}");
    let usable = if used == "kvm" { "usable=yes" } else { "usable=" };
    assert!(told.contains(usable) && (used == "kvm" || !told.contains("usable=yes")), "{told}");
    if used == "tcg" {
        assert!(
            told.contains("guests are emulated (TCG)"),
            "the lack of a hardware boundary is told: {told}"
        );
    }
    // The flag goes before the variable.
    let asked = machine
        .pyro(["--accelerator", "tcg", "run", "debian:12", "--", "true"])
        .env("PYRO_ACCELERATOR", "auto");
    asked.finish().exits(0).explains(&["accelerator=tcg "]);
}

#[test]
fn kvm_is_kvm_or_an_error() {
    // Promise: who asks for KVM never gets emulation instead.
    if Path::new("/dev/kvm").exists() {
        // Whether it runs a guest is what `auto` finds out; the refusal needs a machine without the device.
        return;
    }
    let machine = Machine::new();
    let refused = machine.run_with(&["--accelerator", "kvm"], ["true"]).finish();
    refused.exits(125).says("").explains(&[
        "KVM cannot be used",
        "/dev/kvm does not exist",
        "--accelerator tcg",
    ]);
}

#[test]
fn a_transport_is_given_or_refused() {
    // Promise: who asks for vsock or serial ports gets that or an error that names what is lacking; doctor tells which
    // one is in use, and why.
    let machine = Machine::new();
    let asked = |transport: &str| machine.run(["true"]).env("PYRO_TRANSPORT", transport).finish();
    asked("serial").exits(0).explains(&["execution_mode=guest_serial "]);
    let over_vsock = asked("vsock");
    match File::options().read(true).write(true).open("/dev/vhost-vsock") {
        Ok(_) => drop(over_vsock.exits(0).explains(&["execution_mode=guest_vsock "])),
        Err(_) => {
            over_vsock.exits(125).says("").explains(&["cannot be reached over vsock", "/dev/vhost-vsock"]);
            over_vsock.explains(&["or leave PYRO_TRANSPORT unset"]);
            let told = machine.run_with(&["--json"], ["true"]).env("PYRO_TRANSPORT", "vsock").finish();
            assert_eq!(told.exits(125).error_code(), "transport-unusable");
        }
    }
    asked("tcp").exits(2).explains(&["PYRO_TRANSPORT is \"tcp\"", "auto, vsock or serial"]);
    let doctor =
        |transport| machine.pyro(["doctor"]).env("PYRO_TRANSPORT", transport).finish().exits(0).out();
    assert!(doctor("serial").contains("\nTransport: serial (asked for)\n"));
    // The confinement of QEMU is all that holds an emulated guest.
    let told = doctor("auto");
    assert!(
        told.contains("\nTransport: serial (emulated guests get no device of the host's kernel)\n"),
        "{told}"
    );
}
