//! Pulling, removing and pruning environments, from the real archive.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rustix::process::Signal;

use crate::support::{Machine, assert_matches, wait_until};

/// The smallest environment.
const BASE: &str = "debian:12-base";

#[test]
fn two_pulls_at_once_make_one_environment() {
    // Promise: the second of two pulls waits for the first; a third is instant; remove and prune leave nothing.
    let machine = Machine::for_pulls();
    let pull = || machine.pyro(["env", "pull", BASE]);
    let (one, other) = (pull().start(), pull().start());
    let (one, other) = (one.finish(), other.finish());
    assert_eq!(one.exits(0).out(), other.exits(0).out());
    let waited = [&one, &other].iter().filter(|pulled| pulled.err().contains("phase=wait")).count();
    assert_eq!(waited, 1, "{}\n{}", one.err(), other.err());
    let cache = machine.cache().display().to_string();
    let expected = format!(
        "Pulled: debian:12-base
        Version: 1.0.0
        Distribution: debian 12
        Installed: yes
        Cache dir: {cache}/environments
        Default packages: bash, coreutils
        Install dir: {cache}/environments/linux-x86_64/debian_12-base-1.0.0
        Install manifest: {cache}/environments/linux-x86_64/debian_12-base-1.0.0/environment.json
        Kernel image: {cache}/environments/linux-x86_64/debian_12-base-1.0.0/vmlinux
        Rootfs image: {cache}/environments/linux-x86_64/debian_12-base-1.0.0/rootfs.ext4
        Source: ... bookworm ..."
    );
    assert_matches(&expected, &one.out());
    assert_eq!(partials(machine.cache()), 0);

    let image = machine.cache().join("environments/linux-x86_64/debian_12-base-1.0.0/rootfs.ext4");
    let made = modified(&image);
    let again = pull().env("http_proxy", "http://127.0.0.1:9").finish();
    assert_matches(
        "[pull] phase=install environment=debian:12-base\n[pull] phase=ready environment=debian:12-base",
        &again.err(),
    );
    assert_eq!(modified(&image), made);

    machine.pyro(["run", BASE, "--", "echo", "base"]).finish().exits(0).says("base\n");
    machine.pyro(["env", "prune"]).finish().exits(0).explains(&[]);
    machine.pyro(["run", BASE, "--", "true"]).finish().exits(0);
    assert!(
        machine
            .pyro(["env", "remove", BASE])
            .finish()
            .exits(0)
            .out()
            .starts_with("Removed: debian:12-base\nFreed: ")
    );
    machine.pyro(["env", "remove", BASE]).finish().exits(125).explains(&["not installed"]);
    let pruned = machine.pyro(["env", "prune", "--json"]).finish().exits(0).json();
    assert!(pruned["freed_bytes"].as_u64().unwrap() > 50_000_000, "{pruned}");
    assert!(bytes(machine.cache()) < 40_000_000, "{} bytes are left", bytes(machine.cache()));
}

#[test]
fn a_pull_that_is_interrupted_leaves_nothing_half_done() {
    // Promise: Ctrl-C at any moment of a pull is obeyed at once, and what is not whole is not there.
    let machine = Machine::for_pulls();
    let pull = || machine.pyro(["env", "pull", BASE]).start();
    let at_once = pull();
    at_once.wait_for_err("phase=install");
    at_once.signal(Signal::INT);
    at_once
        .finish()
        .exits(130)
        .says("")
        .explains(&["the pull of debian:12-base was interrupted", "nothing was installed"]);

    let at_work = pull();
    wait_until("the pull unpacks packages", || partials(machine.cache()) > 0);
    at_work.signal(Signal::TERM);
    at_work.finish().exits(143).says("");
    assert_eq!(partials(machine.cache()), 0);

    // One that is killed can clean up nothing itself: the next does.
    let killed = pull();
    wait_until("the pull unpacks packages", || partials(machine.cache()) > 0);
    killed.signal(Signal::KILL);
    killed.finish();
    machine.wait_until_clean();
    let listed = machine.pyro(["env", "list"]).finish().exits(0).out();
    assert!(listed.contains("debian:12-base [not installed]"), "{listed}");
    machine.pyro(["env", "prune"]).finish().exits(0);
    assert_eq!(partials(machine.cache()), 0);
}

#[test]
fn a_pull_without_network_says_so() {
    // Promise: an archive that cannot be reached is told as that, and nothing is left.
    let machine = Machine::for_pulls();
    let nowhere = "http://127.0.0.1:9/";
    let call = machine.pyro(["env", "pull", BASE]).env("http_proxy", nowhere).env("https_proxy", nowhere);
    call.finish().exits(125).says("").explains(&["debian:12-base was not installed", "check the network"]);
    assert_eq!(partials(machine.cache()), 0);
}

#[test]
fn an_environment_in_use_is_not_removed() {
    // Promise: what a VM runs on stays until the VM has ended.
    let machine = Machine::with_own_environment();
    let mut running = machine.run_with(&["-i"], ["sh", "-c", "echo begun; read line; git --version"]).start();
    running.wait_for_out("begun\n");
    let refused = machine.pyro(["env", "remove", "debian:12"]).finish();
    refused.exits(125).says("").explains(&["debian:12", "in use", "end the VMs"]);
    machine.pyro(["env", "prune"]).finish().exits(0);
    running.send("\n");
    assert!(running.finish().exits(0).out().contains("git version"));
    machine.pyro(["env", "remove", "debian:12"]).finish().exits(0);
    let gone = machine.pyro(["env", "inspect", "debian:12"]).finish();
    gone.exits(125).explains(&["not installed"]);
}

#[test]
fn prune_keeps_what_is_used() {
    // Promise: pruning an installed environment's cache changes nothing a run needs.
    let machine = Machine::with_own_environment();
    machine.run(["true"]).finish().exits(0);
    machine.pyro(["env", "prune"]).finish().exits(0);
    let later = machine.run(["true"]).finish();
    assert!(!later.exits(0).err().contains("phase=template"), "{}", later.err());
}

/// What is in the making, or left half made.
fn partials(cache: &Path) -> usize {
    let inner =
        |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let places = inner(cache).chain(inner(&cache.join("environments")));
    let all = places.flat_map(|place| inner(&place).collect::<Vec<_>>());
    all.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".partial-")))
        .count()
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// Bytes on disk under a directory.
fn bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata().unwrap() {
            metadata if metadata.is_dir() => bytes(&entry.path()),
            metadata => metadata.blocks() * 512,
        })
        .sum()
}
