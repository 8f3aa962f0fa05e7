//! Who comes over vsock: guests, each with a number of its own, by which the host's kernel tells them apart, and strangers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pyro_vsock::{Address, Cid, HOST_CID, connect, open_to_guests};

use crate::support::{HANG_SECONDS_MAX, Machine, Running, Workspace, wait_until};

/// Supervisors that start at the same time.
const WORKSPACES: usize = 4;

#[test]
fn guests_that_start_together_are_not_mistaken_for_each_other() {
    // Promise: however many supervisors start at once, each guest has a context id of its own and answers for itself.
    let machine = Machine::alone();
    machine.run(["true"]).finish().exits(0);
    let create = || machine.pyro(["workspace", "create", "debian:12", "--id-only"]).start();
    let started: Vec<Running> = (0..WORKSPACES).map(|_| create()).collect();
    let workspaces: Vec<Workspace<'_>> =
        started.into_iter().map(|creating| machine.adopt(creating.finish().exits(0).out().trim())).collect();
    for (number, workspace) in workspaces.iter().enumerate() {
        workspace.shell(&format!("echo {number} > own"));
    }
    for (number, workspace) in workspaces.iter().enumerate() {
        let told = workspace.exec(["cat", "own"]).finish();
        told.exits(0).says(&format!("{number}\n")).explains(&["execution_mode=guest_vsock "]);
    }
    let numbers: BTreeSet<u32> = workspaces.iter().map(context_id).collect();
    assert_eq!(numbers.len(), WORKSPACES, "{numbers:?}");
    assert!(numbers.iter().all(|number| *number > 2), "0 to 2 have meanings: {numbers:?}");
}

#[test]
fn strangers_are_turned_away() {
    // Promise: who comes to where a guest is awaited and is not that guest hears nothing, is let go, and changes nothing.
    let machine = Machine::new();
    let running = machine.run(["echo", "the guest"]).start();
    let mut cid = None;
    wait_until("a guest is awaited", || {
        let listeners = open_to_guests().unwrap();
        let at = |port| Address { cid: HOST_CID, port };
        let mut awaited = listeners.iter().filter_map(|at| Cid::new(at.port));
        cid = awaited.find(|cid| listeners.contains(&at(cid.bulk_port())));
        cid.is_some()
    });
    let cid = cid.unwrap();
    // All of them come before the guest does.
    let ports = [cid.control_port(), cid.bulk_port(), cid.control_port()];
    let mut strangers = ports.map(|port| File::from(connect(Address { cid: HOST_CID, port }).unwrap()));
    for stranger in &mut strangers {
        until_possible("a stranger is connected", || stranger.write(b"I am your guest"));
    }
    for stranger in &mut strangers {
        // Who is not connected gets an error; the end is nothing that is read.
        let heard = until_possible("a stranger is let go", || stranger.read(&mut [0; 4096]));
        assert_eq!(heard, Some(0), "of {ports:?}");
    }
    running.finish().exits(0).says("the guest\n").explains(&["execution_mode=guest_vsock "]);
}

/// Tries again for as long as it cannot be done yet; nothing where the other side has closed already.
fn until_possible(what: &str, mut attempt: impl FnMut() -> io::Result<usize>) -> Option<usize> {
    let deadline = Instant::now() + HANG_SECONDS_MAX;
    loop {
        match attempt() {
            Ok(count) => return Some(count),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return None,
            Err(error) => assert!(Instant::now() < deadline, "{what}: {error}"),
        }
        sleep(Duration::from_millis(5));
    }
}

/// What its VMM was told: the guest sees the same, wherever it was copied from.
fn context_id(workspace: &Workspace<'_>) -> u32 {
    let words = workspace.vmm().words.join(" ");
    let behind = words.split("guest-cid").nth(1).expect("a VMM with vsock has a context id");
    let digits = behind.trim_start_matches(['=', '"', ':']).split(|next: char| !next.is_ascii_digit());
    digits.into_iter().next().unwrap().parse().unwrap()
}
