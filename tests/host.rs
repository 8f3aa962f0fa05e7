//! Hosts that lack something.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{Call, Machine, executable};

/// A program that says it is a QEMU.
fn fake_qemu(machine: &Machine, script: &str) -> PathBuf {
    let directory = machine.root().join("bin");
    let path = directory.join("qemu-system-x86_64");
    executable(&path, &format!("#!/bin/sh\n{script}\n"));
    directory
}

/// A pull with another search path: it needs QEMU as much as a run does, and asks for it first.
fn pull_with_path(machine: &Machine, path: &Path) -> Call {
    machine.pyro(["env", "pull", "debian:12"]).env("PATH", path)
}

#[test]
fn without_qemu_the_packages_are_named() {
    // Promise: a machine without QEMU gets the packages' names for its distribution, before any download.
    let machine = Machine::new();
    let nowhere = machine.root().join("empty");
    fs::create_dir(&nowhere).unwrap();
    let packages =
        ["apt: qemu-system-x86", "dnf: qemu-system-x86-core", "pacman: qemu-system-x86", "zypper: qemu-x86"];
    let refused = machine.run(["true"]).env("PATH", &nowhere).finish();
    refused.exits(125).explains(&["qemu-system-x86_64 was not found"]).explains(&packages);
    let told = machine.run_with(&["--json"], ["true"]).env("PATH", &nowhere).finish();
    told.exits(125);
    assert_eq!(told.error_code(), "vmm-missing");
    let fresh = Machine::empty();
    pull_with_path(&fresh, &nowhere).finish().exits(125).explains(&packages);
    assert!(!fresh.cache().join("environments").exists());
    let examined = fresh.pyro(["doctor"]).env("PATH", &nowhere).finish();
    assert!(examined.exits(1).out().contains("Runtime: FAIL"));
    assert!(
        examined.out().contains("VMM: none") && examined.out().contains(packages[0]),
        "{}",
        examined.out()
    );
}

#[test]
fn a_qemu_that_is_too_old_is_refused() {
    // Promise: an old QEMU is named with its version and the one that is needed, instead of failing somewhere.
    let machine = Machine::empty();
    let old = fake_qemu(&machine, "echo 'QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2)'");
    let refused = pull_with_path(&machine, &old).finish();
    refused.exits(125).explains(&["version 6.2.0", "7.2.0 or newer", "apt: qemu-system-x86"]);
    let told = machine.pyro(["env", "pull", "--json", "debian:12"]).env("PATH", &old).finish();
    assert_eq!(told.error_code(), "vmm-too-old");
    // A newer one in its place is seen at once, for all that is remembered of the old one.
    let script = "exec /usr/bin/env -i sh -c 'echo QEMU emulator version 6.1.0'";
    fake_qemu(&machine, script);
    pull_with_path(&machine, &old).finish().exits(125).explains(&["version 6.1.0"]);
}

#[test]
fn a_qemu_that_is_none_is_refused() {
    // Promise: a program of QEMU's name that is something else gives an error, not a hang.
    let machine = Machine::empty();
    for script in ["echo nonsense", "exit 3", "yes", "kill -9 $$"] {
        let strange = fake_qemu(&machine, script);
        let refused = pull_with_path(&machine, &strange).finish();
        refused.exits(125).explains(&["qemu-system-x86_64"]);
    }
    // One that tells a good version, and ends or may not be executed when a VM is started.
    let machine = Machine::new();
    let broken = fake_qemu(
        &machine,
        "case $1 in --version) echo 'QEMU emulator version 7.2.0';; *) echo broken >&2; exit 1;; esac",
    );
    let qemu = broken.join("qemu-system-x86_64");
    machine.run(["true"]).env("PYRO_QEMU", qemu).finish().exits(125).explains(&["qemu", "run `pyro doctor`"]);
}

#[test]
fn missing_directories_are_made() {
    // Promise: a first command on a fresh account just works, and what it makes is private.
    let machine = Machine::empty();
    let deep = machine.root().join("not/yet/there");
    machine.pyro(["env", "list"]).env("PYRO_STATE_DIR", &deep).finish().exits(0);
    assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
    let home = machine.root().join("home");
    let by_home = machine.pyro(["env", "list"]).without("PYRO_STATE_DIR").without("PYRO_CACHE_DIR");
    by_home.without("PYRO_RUNTIME_DIR").finish().exits(0);
    assert!(home.join(".local/state/pyro/pyro.db").exists() && home.join(".cache/pyro").is_dir());
}

#[test]
fn directories_that_cannot_be_used_are_named() {
    // Promise: a directory that cannot be written, or is none, is an error that names it and the variable.
    let machine = Machine::empty();
    let file = machine.root().join("file");
    fs::write(&file, "").unwrap();
    for variable in ["PYRO_STATE_DIR", "PYRO_CACHE_DIR", "PYRO_RUNTIME_DIR"] {
        // Nobody can make directories in /sys, root included.
        for place in [file.clone(), file.join("below"), PathBuf::from("/sys/pyro-test")] {
            let refused = machine.pyro(["env", "list"]).env(variable, &place).finish();
            refused.exits(125).explains(&[place.to_str().unwrap(), variable]);
        }
    }
    let told = machine.pyro(["env", "list", "--json"]).env("PYRO_STATE_DIR", &file).finish();
    assert_eq!(told.exits(125).error_code(), "state-unusable");
    let homeless = machine.pyro(["env", "list"]).without("HOME").without("PYRO_STATE_DIR").finish();
    homeless.exits(125).explains(&["HOME is not set", "PYRO_STATE_DIR"]);
}

#[test]
fn a_read_only_state_is_an_error() {
    // Promise: a state directory that is there and may not be written is refused, whoever asks.
    let machine = Machine::empty();
    let state = machine.root().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o555)).unwrap();
    let refused = match rustix::process::geteuid().is_root() {
        // Root may write anywhere but on a read-only mount.
        true => {
            let script = "mount --bind \"$PYRO_STATE_DIR\" \"$PYRO_STATE_DIR\" && mount -o remount,bind,ro \"$PYRO_STATE_DIR\" && exec \"$0\" \"$@\"";
            in_namespace(machine.pyro(["env", "list"]), &["--mount"], script)
        }
        false => machine.pyro(["env", "list"]),
    };
    refused.finish().exits(125).explains(&["make", "PYRO_STATE_DIR"]);
}

#[test]
fn paths_may_be_longer_than_a_sockets_address() {
    // Promise: VMs run wherever the state directory is, however long its name.
    let machine = Machine::new();
    let deep = machine.root().join("d".repeat(120)).join("e".repeat(120));
    let call = machine.run(["echo", "deep"]).env("PYRO_STATE_DIR", deep.join("state"));
    call.env("PYRO_RUNTIME_DIR", deep.join("run")).finish().exits(0).says("deep\n");
    assert_eq!(fs::read_dir(deep.join("run/vms")).unwrap().count(), 0);
}

#[test]
fn relative_and_odd_directories_work() {
    // Promise: a relative directory is meant from where the command was given; names may hold spaces and commas.
    let machine = Machine::new();
    let call = machine.run(["echo", "odd"]).inside(machine.root()).env("PYRO_STATE_DIR", "my state, so");
    call.finish().exits(0).says("odd\n");
    assert!(machine.root().join("my state, so/pyro.db").exists());
}

#[test]
fn a_damaged_state_is_refused_by_name() {
    // Promise: a database that is garbage is never overwritten; the error says which file to move aside.
    let machine = Machine::empty();
    let state = machine.root().join("state");
    fs::create_dir(&state).unwrap();
    let database = state.join("pyro.db");
    let garbage = b"this is no database, whoever wrote it".repeat(200);
    fs::write(&database, &garbage).unwrap();
    let refused = machine.pyro(["env", "list"]).finish();
    refused.exits(125).explains(&[database.to_str().unwrap(), "aside"]);
    assert_eq!(fs::read(&database).unwrap(), garbage);
}

/// The same call under unshare(1), after a line of shell.
pub(crate) fn in_namespace(call: Call, flags: &[&str], script: &str) -> Call {
    let command = call.into_command();
    let mut outer = std::process::Command::new("unshare");
    outer.args(flags).args(["sh", "-c", script]).arg(command.get_program()).args(command.get_args());
    outer.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Call::new(outer)
}
