//! A workspace's life: made, found, used, stopped, started, deleted.

use std::time::Duration;

use crate::support::tree::write;
use crate::support::{Machine, Process, Terminal, wait_until};

#[test]
fn what_is_written_stays() {
    // Promise: stopping and starting loses nothing, in /workspace, /etc, /root and wherever packages go.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo work > work; echo conf > /etc/own.conf; echo home > /root/home; ln -sf /etc/own.conf /etc/hosts; rm -rf /opt");
    workspace.call("stop", [""; 0]).finish().exits(0);
    assert!(workspace.call("status", [""; 0]).finish().exits(0).out().contains("State: stopped"));
    let found = workspace
        .shell("cat work /etc/own.conf /root/home; readlink /etc/hosts; test ! -e /opt; cat /etc/machine-id");
    assert!(found.starts_with("work\nconf\nhome\n/etc/own.conf\n"), "{found}");
    let machine_id = found.lines().last().unwrap();
    workspace.call("stop", [""; 0]).finish().exits(0);
    assert_eq!(workspace.shell("cat /etc/machine-id").trim(), machine_id);
}

#[test]
fn a_stopped_workspace_is_started_by_any_command_unless_told_not_to() {
    // Promise: any command on a stopped workspace starts it again; `--no-start` does not.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.call("stop", [""; 0]).finish().exits(0);
    let refused = workspace.call("exec", ["--no-start", "--", "true"]).finish();
    refused.exits(125).explains(&["is stopped", "workspace start", "--no-start"]);
    let refused = workspace.call("diff", ["--no-start", "--json"]).finish();
    assert_eq!(refused.error_code(), "workspace-stopped");
    assert_eq!(workspace.patch(), b"");
    workspace.call("stop", [""; 0]).finish().exits(0);
    workspace.call("stop", [""; 0]).finish().exits(0);
    assert!(workspace.call("start", [""; 0]).finish().exits(0).out().contains("State: started"));
}

#[test]
fn names_labels_and_ids_find_workspaces() {
    // Promise: a workspace is found by id, unique beginning of it, or name; lists are filtered by labels.
    let machine = Machine::alone();
    let one = machine.workspace(&["--name", "one-workspace", "--label", "team=a", "--label", "kind=x"]);
    let two = machine.workspace(&["--name", "two", "--label", "team=b"]);
    let ids = |arguments: &[&str]| {
        let listed = machine.pyro(["workspace", "list", "--id-only"].iter().chain(arguments)).finish();
        listed.exits(0).out().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), [one.id.clone(), two.id.clone()]);
    assert_eq!(ids(&["--label", "team=b"]), [two.id.as_str()]);
    assert_eq!(ids(&["--label", "team"]).len(), 2);
    assert_eq!(ids(&["--label", "team=a", "--label", "kind=y"]), [""; 0]);
    let id_of = |reference: &str| {
        machine.pyro(["workspace", "status", "--json", reference]).finish().exits(0).json()["workspace_id"]
            .clone()
    };
    assert_eq!(id_of("one-workspace"), one.id.as_str());
    assert_eq!(id_of(&two.id), two.id.as_str());
    let different = one.id.bytes().zip(two.id.bytes()).position(|(a, b)| a != b).unwrap();
    assert_eq!(id_of(&one.id[..=different]), one.id.as_str());
    if different > 0 {
        let told = machine.pyro(["workspace", "status", "--json", &one.id[..different]]).finish();
        assert_eq!(told.error_code(), "workspace-ambiguous");
    }
    let told = machine.pyro(["workspace", "create", "debian:12", "--name", "one-workspace"]).finish();
    told.exits(125).explains(&["another workspace has the name", "one-workspace"]);
    let told = machine.pyro(["workspace", "exec", "one-workspce", "--", "true"]).finish();
    told.exits(125).explains(&["there is no workspace `one-workspce`", "did you mean `one-workspace`"]);
    two.call("update", ["--name", "second", "--label", "new=1", "--clear-label", "team"]).finish().exits(0);
    assert_eq!(id_of("second"), two.id.as_str());
    let told = two.call("update", ["--name", "one-workspace"]).finish();
    told.exits(125).explains(&["another workspace has the name"]);
    two.call("update", [""; 0]).finish().exits(2).explains(&["nothing to update"]);
    assert_eq!(ids(&["--label", "new=1"]), [two.id.as_str()]);
}

#[test]
fn bad_names_and_labels_are_refused_before_anything_is_made() {
    // Promise: bad input gets a clear error and makes nothing.
    let machine = Machine::new();
    for arguments in [
        &["--name", ""][..],
        &["--name", "a b"],
        &["--name", "../x"],
        &["--name", "0123456789ab"],
        &["--label", "no-value"],
        &["--label", "=x"],
        &["--ttl-seconds", "0"],
        &["--network-policy", "egress"],
        &["--network-policy", "nonsense"],
        &["--publish", "80"],
        &["--secret", "A=b"],
        &["--vcpu-count", "0"],
        &["--seed-ignore", "gitignore"],
    ] {
        let told = machine.pyro(["workspace", "create", "debian:12"].iter().chain(arguments)).finish();
        told.exits(2);
        assert!(told.err().contains("error:"), "{arguments:?}: {}", told.err());
    }
    assert_eq!(machine.pyro(["workspace", "list", "--id-only"]).finish().exits(0).out(), "");
}

#[test]
fn an_idle_workspace_stops_and_keeps_its_disk() {
    // Promise: the time to live counts from the last use; its end stops the VM and keeps the disk.
    let machine = Machine::new();
    let workspace = machine.workspace(&["--ttl-seconds", "3"]);
    let is_alive = || {
        Process::all()
            .iter()
            .any(|process| process.words[0].contains("qemu") && process.concerns(machine.root()))
    };
    workspace.shell("echo kept > file; sleep 5; echo still here");
    wait_until("the idle workspace stops", || !is_alive());
    assert!(workspace.call("status", [""; 0]).finish().exits(0).out().contains("State: stopped"));
    assert_eq!(workspace.shell("cat file"), "kept\n");
    workspace.call("update", ["--ttl-seconds", "600"]).finish().exits(0);
    std::thread::sleep(Duration::from_secs(4));
    assert!(is_alive(), "the new time to live holds at once");
}

#[test]
fn deleting_leaves_nothing_and_is_told_once() {
    // Promise: a deleted workspace is gone with everything, and a second deletion says that there is none.
    let machine = Machine::new();
    let workspace = machine.workspace(&["--name", "gone"]);
    workspace.shell("echo x > x");
    machine
        .pyro(["workspace", "delete", "gone"])
        .finish()
        .exits(0)
        .says(&format!("Deleted workspace: {}\n", workspace.id));
    let state = machine.root().join("state");
    assert_eq!(std::fs::read_dir(state.join("workspaces")).unwrap().count(), 0);
    machine.pyro(["workspace", "delete", "gone"]).finish().exits(125).explains(&["there is no workspace"]);
    machine.pyro(["workspace", "exec", &workspace.id, "--", "true"]).finish().exits(125);
    assert!(
        std::fs::read_dir(state.join("bases")).map_or(true, |mut bases| bases.next().is_none()),
        "the images it stood on are gone too"
    );
}

#[test]
fn many_clients_share_one_workspace() {
    // Promise: several clients at once lose no update, and pushes do not interleave.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    for version in 0..4 {
        let source = machine.root().join(format!("source_{version}"));
        (0..50).for_each(|file| write(&source, format!("file_{file}"), format!("{version}\n")));
    }
    workspace.call("stop", [""; 0]).finish().exits(0);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (workspace, machine) = (&workspace, &machine);
            scope.spawn(move || {
                let source = machine.root().join(format!("source_{client}"));
                for round in 0..3 {
                    workspace
                        .call("sync push", [source.to_str().unwrap(), "--dest", "data"])
                        .finish()
                        .exits(0);
                    workspace.shell(&format!("echo {client} {round} >> log"));
                    let listed = workspace.shell("true; cat log | wc -l");
                    assert!(listed.trim().parse::<u32>().unwrap() > round);
                }
            });
        }
    });
    assert_eq!(workspace.shell("sort -u data/* | wc -l"), "1\n", "the last push is there whole");
    assert_eq!(workspace.shell("sort log | uniq | wc -l"), "12\n");
    let entries = workspace.call("logs", ["--json"]).finish().exits(0).json();
    let sequences: Vec<u64> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
}

#[test]
fn one_name_has_one_winner() {
    // Promise: of many clients that make the same name at once, one wins and the others are told.
    let machine = Machine::alone();
    let create = ["workspace", "create", "debian:12", "--name", "same", "--id-only"];
    let running: Vec<_> = (0..4).map(|_| machine.pyro(create).start()).collect();
    let finished: Vec<_> = running.into_iter().map(crate::support::Running::finish).collect();
    let (won, lost): (Vec<_>, Vec<_>) = finished.iter().partition(|finished| finished.status.success());
    assert_eq!((won.len(), lost.len()), (1, 3));
    for lost in lost {
        lost.explains(&["another workspace has the name"]);
    }
    let workspace = machine.adopt(won[0].out().trim());
    assert_eq!(workspace.shell("echo alive"), "alive\n");
}

#[test]
fn deletion_asks_a_person_when_changes_were_not_taken() {
    // Promise: `delete` asks on a terminal when there are changes that nobody has taken; `--yes` does not.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo x > x");
    let mut terminal = Terminal::start(workspace.call("delete", [""; 0]), 80, 24);
    terminal.wait_for("Delete it? [y/N]");
    terminal.press("n\n");
    let (status, shown) = terminal.finish();
    assert!(!status.success() && shown.contains("nothing was deleted"), "{shown}");
    assert_eq!(workspace.shell("cat x"), "x\n");
    workspace.patch();
    let (status, shown) = Terminal::start(workspace.call("delete", [""; 0]), 80, 24).finish();
    assert!(status.success(), "{shown}");
}
