//! KVM or emulation: tried, remembered, and told.

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
