//! Ordinary users: one whom the distribution's group lets at the devices, and one whom nothing lets.

use std::process::Command;

use super::{as_by_default, assert_emulates, summary};
use crate::support::{Call, Machine};

/// In the group of the devices; made with the outer machine.
const MEMBER: &str = "lane";

/// In no group but the own.
const STRANGER: &str = "stranger";

/// The same call by another person, to whom the whole machine is given.
fn by(person: &str, machine: &Machine, call: Call) -> Call {
    let owner = format!("{person}:{person}");
    let given = Command::new("chown").args(["-R", &owner]).args([machine.root(), machine.cache()]).status();
    assert!(given.unwrap().success());
    let command = call.into_command();
    let mut person_runs = Command::new("setpriv");
    person_runs.args(["--reuid", person, "--regid", person, "--init-groups", "--"]);
    person_runs.arg(command.get_program()).args(command.get_args()).current_dir("/");
    person_runs.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Call::new(person_runs)
}

#[test]
fn a_member_of_the_group_runs_guests_under_kvm() {
    // Promise: an ordinary user in the devices' group needs no privilege for KVM and vsock.
    let machine = Machine::with_own_environment();
    let run = by(MEMBER, &machine, machine.run(["id", "-u"])).finish();
    run.exits(0).says("0\n").explains(&[&summary("kvm", "guest_vsock")]);
    let told = by(MEMBER, &machine, machine.pyro(["doctor"])).finish();
    told.exits(0).tells("KVM: exists=yes readable=yes writable=yes usable=yes\n");
    told.tells("\nAccelerator: kvm (").tells("\nTransport: vsock (");
}

#[test]
fn a_stranger_is_told_what_to_do() {
    // Promise: who may not use KVM gets an error that says so and how to change it, or emulation where that will do.
    let machine = Machine::with_own_environment();
    let refused = machine.run_with(&["--accelerator", "kvm"], ["true"]);
    by(STRANGER, &machine, refused).finish().exits(125).says("").explains(&[
        "KVM cannot be used",
        "/dev/kvm is not readable and writable for this user",
        "usermod -aG kvm",
    ]);
    assert_emulates(by(STRANGER, &machine, as_by_default(machine.run(["true"]))).start());
    // Without an environment it starts no VM; what it would do is told all the same.
    let fresh = Machine::empty();
    std::fs::create_dir(fresh.cache()).unwrap();
    let told = by(STRANGER, &fresh, as_by_default(fresh.pyro(["doctor"]))).finish();
    told.exits(0).tells("KVM: exists=yes readable=no writable=no usable=");
    told.tells("\nAccelerator: tcg (/dev/kvm is not readable and writable for this user)\n")
        .tells("usermod -aG kvm");
    told.tells("\nTransport: serial (emulated guests get no device of the host's kernel)\n");
    assert!(!told.out().contains("usable=yes"), "{}", told.out());
}
