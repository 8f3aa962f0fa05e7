//! Many guests at once over vsock: each has a number of its own, by which the host's kernel tells them apart.

use std::collections::BTreeSet;

use crate::support::{Machine, Running, Workspace};

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

/// What its VMM was told: the guest sees the same, wherever it was copied from.
fn context_id(workspace: &Workspace<'_>) -> u32 {
    let words = workspace.vmm().words.join(" ");
    let behind = words.split("guest-cid").nth(1).expect("a VMM with vsock has a context id");
    let digits = behind.trim_start_matches(['=', '"', ':']).split(|next: char| !next.is_ascii_digit());
    digits.into_iter().next().unwrap().parse().unwrap()
}
