//! Snapshots: the whole computer as it was, under a name.

use crate::support::packages;
use crate::support::tree::write;
use crate::support::whole_tree::{assert_same, differences};
use crate::support::{Machine, assert_matches};

#[test]
fn a_reset_brings_back_the_exact_tree() {
    // Promise: after changes by packages, in `/etc`, `/usr` and homes, a reset brings back every path of the whole
    // file system: kind, mode, owner, time, content, extended attributes.
    let machine = Machine::new();
    let debs = machine.root().join("debs");
    packages::put(&packages::SMALL, &debs);
    let workspace = machine.workspace(&[]);
    let baseline = workspace.whole_tree();
    workspace.call("sync push", [debs.to_str().unwrap(), "--dest", "debs"]).finish().exits(0);
    workspace.shell("dpkg -i debs/hello_*.deb >/dev/null; hello; mkdir -p /home/me; echo mine > /home/me/own; chmod 4711 /home/me/own; echo '10.0.0.1 there' >> /etc/hosts; ln -s nowhere /opt/link");
    set_attribute(&workspace, "/etc/hosts", "checkpoint");
    let checkpoint = workspace.whole_tree();
    workspace.snapshot("checkpoint", &[]);
    let script = "dpkg -i debs/tree_*.deb >/dev/null; dpkg -r hello >/dev/null; rm -rf debs /usr/share/perl5 /opt/link
        echo 'LANG=C' > /etc/default/locale; sed -i s/there/elsewhere/ /etc/hosts; chmod 600 /etc/hosts; useradd -m other
        truncate -s 64M /home/me/own; touch -d 2001-01-01 /home /usr/bin/env; mkfifo /usr/lib/pipe; mv /usr/share/doc /usr/doc
        chown 7:8 /usr/bin/git; rm /bin/dir; mkdir /bin/dir; tree /home >/dev/null";
    workspace.shell(script);
    set_attribute(&workspace, "/etc/hosts", "later");
    let changed = differences(&checkpoint, &workspace.whole_tree());
    for path in
        ["/usr/bin/hello", "/usr/bin/tree", "/etc/passwd", "/etc/hosts", "/usr/bin/dir", "/home/me/own"]
    {
        assert!(changed.iter().any(|line| line.starts_with(&format!("{path}: "))), "{path} did not change");
    }
    workspace.reset(&["--snapshot", "checkpoint"]);
    assert_same(&checkpoint, &workspace.whole_tree(), "the reset brings back the snapshot");
    workspace.shell("hello; ! command -v tree; dpkg -V hello");
    workspace.reset(&[]);
    assert_same(&baseline, &workspace.whole_tree(), "the reset brings back the baseline");
}

/// `setxattr` has number 188 on x86-64.
fn set_attribute(workspace: &crate::support::Workspace<'_>, path: &str, value: &str) {
    let length = value.len();
    workspace.perl(format!(
        "my ($path, $name, $value) = ('{path}', 'user.pyro', '{value}');
        syscall(188, $path, $name, $value, {length}, 0) == 0 or die $!"
    ));
}

#[test]
fn names_of_snapshots_are_looked_at_first() {
    // Promise: a name that is taken, reserved, invalid or unknown gets a clear error, and nothing is made or reset.
    let machine = Machine::new();
    let workspace = machine.workspace(&["--name", "w"]);
    workspace.snapshot("checkpoint", &[]);
    workspace.shell("echo kept > kept");
    let create = |name: &str| workspace.call("snapshot create", ["--json", "--", name]).finish();
    let told = create("checkpoint");
    assert_eq!(told.exits(125).error_code(), "snapshot-taken");
    for reserved in ["snapshot create", "snapshot delete"] {
        let told = workspace.call(reserved, ["baseline"]).finish();
        told.exits(2).explains(&["`baseline` cannot be made or deleted", "choose another name"]);
    }
    let long = "x".repeat(65);
    for invalid in ["", "a b", "../x", ".hidden", "-dash", "ü", "a/b", &long] {
        assert_eq!(create(invalid).exits(2).error_code(), "invalid-argument", "{invalid:?}");
    }
    workspace.call("snapshot create", ["x".repeat(64)]).finish().exits(0);
    workspace.call("snapshot delete", ["x".repeat(64)]).finish().exits(0);
    let close =
        ["has no snapshot `chekpoint`", "did you mean `checkpoint`", "pyro workspace snapshot list w"];
    workspace.call("reset", ["--snapshot", "chekpoint"]).finish().exits(125).explains(&close);
    workspace.call("snapshot delete", ["chekpoint"]).finish().exits(125).explains(&close);
    workspace.call("fork", ["--snapshot", "chekpoint"]).finish().exits(125).explains(&close);
    workspace.snapshot("gone", &[]);
    workspace.call("snapshot delete", ["gone"]).finish().exits(0);
    let told = workspace.call("reset", ["--snapshot", "gone", "--json"]).finish();
    assert_eq!(told.exits(125).error_code(), "snapshot-unknown");
    assert_eq!(workspace.snapshots(), ["baseline", "checkpoint"]);
    assert_eq!(workspace.shell("cat kept"), "kept\n", "no reset has happened");
    machine.pyro(["workspace", "snapshot", "create", "nobody", "x"]).finish().exits(125);
}

#[test]
fn a_reset_keeps_what_the_workspace_is() {
    // Promise: a reset clears the history and keeps id, name, labels, snapshots and what `diff` compares with.
    let machine = Machine::new();
    let seed = machine.root().join("seed");
    write(&seed, "file", "seed\n");
    let seed_path = seed.to_str().unwrap();
    let workspace = machine.workspace(&["--name", "w", "--label", "team=a", "--seed-path", seed_path]);
    workspace.shell("echo changed > file");
    let before = workspace.status();
    workspace.snapshot("checkpoint", &[]);
    workspace.shell("echo late > late; echo again > file");
    workspace.exec(["false"]).finish().exits(1);
    let told = workspace.call("reset", ["--snapshot", "checkpoint", "--json"]).finish().exits(0).json();
    let after = workspace.status();
    for kept in ["workspace_id", "name", "labels", "environment", "workspace_seed", "created_at", "mem_mib"] {
        assert_eq!(before[kept], after[kept], "{kept}");
        assert_eq!(told["workspace"][kept], after[kept], "{kept}");
    }
    assert_eq!((&after["command_count"], &after["reset_count"]), (&0.into(), &1.into()));
    assert_eq!((&after["state"], &told["reset"]["kind"]), (&"started".into(), &"named".into()));
    let logs = workspace.call("logs", ["--json"]).finish().exits(0).json();
    assert_eq!(logs["entries"], serde_json::json!([]));
    let patch = String::from_utf8(workspace.patch()).unwrap();
    assert!(patch.contains("-seed\n+changed\n") && !patch.contains("late"), "{patch}");
    let ran = workspace.exec(["cat", "file"]).finish();
    ran.exits(0).says("changed\n").explains(&["sequence=1 "]);
    assert_eq!(workspace.snapshots(), ["baseline", "checkpoint"]);
    let told = workspace.reset(&[]);
    assert!(told.out().starts_with("Workspace reset from snapshot: baseline (baseline)\n"), "{}", told.out());
    assert!(told.out().ends_with("Command count: 0\nReset count: 2\n"), "{}", told.out());
    assert_eq!(workspace.patch(), b"", "the baseline is no change");
    workspace.call("stop", [""; 0]).finish().exits(0);
    workspace.reset(&["--snapshot", "checkpoint"]);
    assert_eq!(workspace.shell("cat file"), "changed\n", "a stopped workspace is reset all the same");
}

#[test]
fn snapshots_are_listed() {
    // Promise: the list has the baseline first, then all by age, with what each holds.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("head -c 3000000 /dev/urandom > data");
    let told = workspace.snapshot("disk", &[]);
    let line = "[workspace-snapshot-create] snapshot_name=disk kind=named entry_count=... bytes_written=... write_ms=... standstill_ms=...";
    assert_matches(line, &told.err());
    let told = workspace.snapshot("memory", &["--memory"]);
    assert_matches(&format!("{}memory_bytes=... memory_ms=...", line.replace("disk", "memory")), &told.err());
    let listed = workspace.call("snapshot list", [""; 0]).finish();
    let expected = "baseline [baseline] memory=no created_at=...
        disk [named] memory=no created_at=... entry_count=... bytes_written=...
        memory [named] memory=yes created_at=... entry_count=... bytes_written=...";
    assert_matches(expected, &listed.exits(0).out());
    let listed = workspace.call("snapshot list", ["--json"]).finish().exits(0).json();
    assert_eq!((&listed["workspace_id"], &listed["count"]), (&workspace.id.as_str().into(), &3.into()));
    let entries = &listed["snapshots"][1]["entry_count"];
    assert!(entries.as_u64().unwrap() > 0, "{listed}");
}
