//! Copies of a workspace, from a snapshot.

use std::collections::BTreeSet;

use crate::support::tree::write;
use crate::support::{Machine, Workspace, assert_matches, execution_mode};

/// The ids that `fork --id-only` told.
fn forked<'a>(machine: &'a Machine, source: &Workspace<'_>, options: &[&str]) -> Vec<Workspace<'a>> {
    let told = source.call("fork", ["--id-only"].iter().chain(options)).finish();
    told.exits(0).out().lines().map(|id| machine.adopt(id)).collect()
}

#[test]
fn a_fork_of_a_snapshot_is_a_workspace_of_its_own() {
    // Promise: a fork has the snapshot's whole computer and its source's labels, an identity of its own, and
    // shares nothing that is written later; it lives on when its source is deleted.
    let machine = Machine::alone();
    let seed = machine.root().join("seed");
    write(&seed, "file", "seed\n");
    let seed_path = seed.to_str().unwrap();
    let source = machine.workspace(&["--label", "team=a", "--label", "try=0", "--seed-path", seed_path]);
    source.shell("echo changed > file; echo conf > /etc/own.conf; echo ram > /dev/shm/nonce");
    source.snapshot("checkpoint", &[]);
    source.shell("echo later > file");
    let told = source
        .call("fork", ["--snapshot", "checkpoint", "--count", "2", "--name", "f", "--label", "try=1"])
        .finish();
    let lines = format!(
        "[workspace-fork] workspace_id=... name=f-1 source={0} snapshot=checkpoint execution_mode={1}
        [workspace-fork] workspace_id=... name=f-2 source={0} snapshot=checkpoint execution_mode={1}
        [workspace-fork] count=2 duration_ms=...",
        source.id,
        execution_mode()
    );
    assert_matches(&lines, &told.exits(0).err());
    let (one, two) = (machine.adopt("f-1"), machine.adopt("f-2"));
    let status = one.status();
    assert_eq!(status["labels"], serde_json::json!({ "team": "a", "try": "1" }));
    assert_eq!((&status["command_count"], &status["reset_count"]), (&0.into(), &0.into()));
    let identity = "hostname; cat /etc/machine-id /etc/hostname /proc/sys/kernel/random/boot_id; head -c 8 /dev/urandom | od -An -tx1";
    let told: Vec<String> = [&source, &one, &two].map(|workspace| workspace.shell(identity)).to_vec();
    for line in 0..5 {
        let distinct: BTreeSet<&str> = told.iter().map(|told| told.lines().nth(line).unwrap()).collect();
        assert_eq!(distinct.len(), 3, "line {line}: {distinct:?}");
    }
    for workspace in [&one, &two] {
        assert_eq!(workspace.shell("cat file /etc/own.conf; ls /dev/shm"), "changed\nconf\n");
        let patch = String::from_utf8(workspace.patch()).unwrap();
        assert!(patch.contains("-seed\n+changed\n"), "{patch}");
    }
    one.shell("echo own > own; echo one > file");
    assert_eq!(two.shell("ls; cat file"), "file\nchanged\n");
    assert_eq!(source.shell("ls; cat file"), "file\nlater\n");
    assert_eq!(one.snapshots(), ["baseline"], "a fork starts with a baseline of its own");
    one.snapshot("checkpoint", &[]);
    source.call("delete", ["--yes"]).finish().exits(0);
    machine.pyro(["gc"]).finish().exits(0);
    one.shell("rm own; cat file");
    one.reset(&["--snapshot", "checkpoint"]);
    assert_eq!(one.shell("cat own file"), "own\none\n");
    two.call("stop", [""; 0]).finish().exits(0);
    assert_eq!(two.shell("cat file /etc/own.conf"), "changed\nconf\n", "a stopped one starts again");
    two.shell("echo more > more; rm file");
    two.reset(&[]);
    assert_eq!(two.shell("ls; cat file"), "file\nchanged\n", "it is what it was made as");
    let patch = String::from_utf8(two.patch()).unwrap();
    assert!(
        patch.contains("-seed\n+changed\n"),
        "`diff` compares with what its source compares with: {patch}"
    );
}

#[test]
fn a_fork_that_cannot_be_makes_nothing() {
    // Promise: a name that is taken, a count out of range, a source that does not run: an error with the remedy, and
    // no copy is made.
    let machine = Machine::alone();
    let (source, other) = (machine.workspace(&["--name", "w"]), machine.workspace(&["--name", "f-2"]));
    let ids = || machine.pyro(["workspace", "list", "--id-only"]).finish().exits(0).out();
    let before = ids();
    source.shell("echo x > x");
    source.snapshot("checkpoint", &[]);
    let fork = |options: &[&str]| source.call("fork", options).finish();
    fork(&["--count", "3", "--name", "f"]).exits(125).explains(&["another workspace has the name", "f-2"]);
    fork(&["--snapshot", "checkpoint", "--count", "3", "--name", "f"]).exits(125).explains(&["f-2"]);
    fork(&["--name", "w"]).exits(125).explains(&["another workspace has the name"]);
    for count in ["0", "65", "-1", "many"] {
        fork(&["--count", count]).exits(2);
    }
    fork(&["--name", "a b"]).exits(2);
    fork(&["--label", "nonsense"]).exits(2);
    fork(&["--disk-only"]).exits(2).explains(&["--snapshot"]);
    source.call("stop", [""; 0]).finish().exits(0);
    let told = fork(&[]);
    told.exits(125).explains(&["w is stopped", "pyro workspace start w", "--snapshot"]);
    assert_eq!(fork(&["--json"]).error_code(), "workspace-stopped");
    source.shell("true");
    source.call("pause", [""; 0]).finish().exits(0);
    fork(&[]).exits(125).explains(&["w is paused", "pyro workspace resume w", "--snapshot"]);
    assert_eq!(fork(&["--json"]).error_code(), "workspace-paused");
    assert_eq!(source.state(), "paused", "asking for a fork resumes nothing");
    assert_eq!(ids(), before);
    let forks = forked(&machine, &source, &["--snapshot", "checkpoint"]);
    assert_eq!(forks[0].shell("cat x"), "x\n", "a snapshot of a paused one can be forked");
    machine.pyro(["workspace", "fork", "nobody"]).finish().exits(125).explains(&["there is no workspace"]);
    assert_eq!(other.state(), "started");
}

#[test]
fn twelve_workspaces_are_alive_at_once() {
    // Promise: many copies of one snapshot all answer, each for itself, and are deleted without a trace.
    let machine = Machine::alone();
    let source = machine.workspace(&[]);
    source.shell("echo shared > shared");
    source.snapshot("checkpoint", &[]);
    let forks = forked(&machine, &source, &["--snapshot", "checkpoint", "--count", "12"]);
    assert_eq!(forks.len(), 12);
    let running: Vec<_> = forks
        .iter()
        .map(|fork| {
            fork.exec(["sh", "-c", "cat shared; cat /proc/sys/kernel/random/uuid > own; cat own"]).start()
        })
        .collect();
    let told: BTreeSet<String> = running.into_iter().map(|running| running.finish().exits(0).out()).collect();
    assert_eq!(told.len(), 12);
    assert!(told.iter().all(|told| told.starts_with("shared\n")), "{told:?}");
    let again: BTreeSet<String> = forks.iter().map(|fork| fork.shell("cat shared own")).collect();
    assert_eq!(again, told);
    let ids = forks.iter().map(|fork| fork.id.as_str());
    machine.pyro(["workspace", "delete", "--yes", &source.id].into_iter().chain(ids)).finish().exits(0);
    for place in ["layers", "memories", "holds", "workspaces", "vms"] {
        let left = std::fs::read_dir(machine.root().join("state").join(place)).into_iter().flatten();
        assert_eq!(left.count(), 0, "{place}");
    }
}

#[test]
fn a_fork_with_memory_goes_on_where_the_snapshot_was() {
    // Promise: a snapshot with memory can be forked with its processes, or without them.
    let machine = Machine::alone();
    let source = machine.workspace(&[]);
    source.shell("echo then > /dev/shm/nonce; echo disk > disk");
    source.snapshot("memory", &["--memory"]);
    source.shell("echo later > /dev/shm/nonce");
    let with = forked(&machine, &source, &["--snapshot", "memory", "--count", "2"]);
    for fork in &with {
        assert_eq!(fork.shell("cat /dev/shm/nonce disk"), "then\ndisk\n");
    }
    let without = forked(&machine, &source, &["--snapshot", "memory", "--disk-only"]);
    assert_eq!(without[0].shell("cat disk; ls /dev/shm"), "disk\n");
    let boots: BTreeSet<String> = [&source, &with[0], &with[1], &without[0]]
        .map(|workspace| workspace.shell("cat /proc/sys/kernel/random/boot_id"))
        .into();
    assert_eq!(boots.len(), 4, "every copy is another computer");
    source.call("snapshot delete", ["memory"]).finish().exits(0);
    with[0].call("stop", [""; 0]).finish().exits(0);
    assert_eq!(with[0].shell("cat disk; ls /dev/shm"), "disk\n", "what is on its disk needs no memory");
}
