//! The files that a workspace's disk is made of: given back when nothing needs them, refused when they are damaged.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::{Machine, Workspace};

/// What bad luck does to a file.
type Damage = fn(&Path);

/// All files of layers.
fn layers(machine: &Machine) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(machine.root().join("state/layers")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Overwrites one file with new random bytes.
fn overwrite(workspace: &Workspace<'_>, mebibytes: u32) -> String {
    workspace.shell(&format!(
        "dd if=/dev/urandom of=data bs=1M count={mebibytes} conv=notrunc status=none; sha256sum data"
    ))
}

#[test]
fn a_snapshot_in_the_middle_may_go() {
    // Promise: deleting a snapshot breaks no other, and its space comes back: at once, or with `workspace gc`.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let mut sums = Vec::new();
    for name in ["a", "b", "c", "d"] {
        sums.push(overwrite(&workspace, 40));
        workspace.snapshot(name, &[]);
    }
    let last = overwrite(&workspace, 40);
    let private = || {
        let listed = machine.pyro(["workspace", "list", "--sizes", "--json"]).finish().exits(0).json();
        listed["workspaces"][0]["private_bytes"].as_u64().unwrap()
    };
    let before = private();
    for name in ["b", "c"] {
        workspace.call("snapshot delete", [name]).finish().exits(0).explains(&["freed_bytes="]);
    }
    let freed = machine.pyro(["workspace", "gc", "--json"]).finish().exits(0).json();
    assert!(freed["merged"].as_u64().unwrap() > 0, "{freed}");
    assert!(freed["freed_bytes"].as_u64().unwrap() > 60_000_000, "{freed}");
    assert_eq!(freed["failures"], serde_json::json!([]));
    let after = private();
    assert!(before - after > 60_000_000, "{before} bytes before, {after} after");
    assert_eq!(workspace.shell("sha256sum data"), last, "the workspace itself lost nothing");
    for (name, sum) in [("d", &sums[3]), ("a", &sums[0]), ("d", &sums[3])] {
        workspace.reset(&["--snapshot", name]);
        assert_eq!(&workspace.shell("sha256sum data"), sum, "{name}");
    }
    let again = machine.pyro(["workspace", "gc", "--json"]).finish().exits(0).json();
    assert_eq!(again["failures"], serde_json::json!([]), "{again}");
    let told = machine.pyro(["gc"]).finish();
    assert!(told.exits(0).out().contains("Freed: "), "{}", told.out());
}

#[test]
fn a_stopped_workspace_is_merged_to_its_top() {
    // Promise: `gc` makes one layer of a stopped workspace's disk too, which is then written to like any other.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    overwrite(&workspace, 40);
    workspace.snapshot("a", &[]);
    let last = overwrite(&workspace, 40);
    workspace.call("stop", [""; 0]).finish().exits(0);
    workspace.call("snapshot delete", ["a"]).finish().exits(0);
    let freed = machine.pyro(["workspace", "gc", "--json"]).finish().exits(0).json();
    assert_eq!(freed["failures"], serde_json::json!([]), "{freed}");
    assert!(layers(&machine).len() <= 2, "{:?}", layers(&machine));
    assert_eq!(workspace.shell("sha256sum data"), last);
    for _ in 0..2 {
        let last = overwrite(&workspace, 20);
        workspace.snapshot("b", &[]);
        workspace.call("stop", [""; 0]).finish().exits(0);
        assert_eq!(workspace.shell("sha256sum data"), last);
        workspace.call("snapshot delete", ["b"]).finish().exits(0);
        machine.pyro(["workspace", "gc"]).finish().exits(0);
    }
    workspace.reset(&[]);
    assert_eq!(workspace.shell("ls"), "");
}

#[test]
fn layers_that_become_one_keep_their_memory() {
    // Promise: what is merged below a snapshot with memory, or a paused workspace, changes nothing for either.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    for name in ["a", "b", "c"] {
        workspace.shell(&format!("echo {name} > {name}; echo {name} > /dev/shm/nonce"));
        workspace.snapshot(name, if name == "b" { &["--memory"] } else { &[] });
    }
    workspace.call("snapshot delete", ["a"]).finish().exits(0);
    machine.pyro(["workspace", "gc"]).finish().exits(0);
    workspace.reset(&["--snapshot", "b"]);
    assert_eq!(workspace.shell("ls; cat /dev/shm/nonce"), "a\nb\nb\n");
    workspace.shell("echo d > d; echo d > /dev/shm/nonce");
    workspace.snapshot("d", &[]);
    workspace.shell("echo e > e");
    workspace.call("pause", [""; 0]).finish().exits(0);
    for name in ["b", "c", "d"] {
        workspace.call("snapshot delete", [name]).finish().exits(0);
    }
    let freed = machine.pyro(["workspace", "gc", "--json"]).finish().exits(0).json();
    assert_eq!(freed["failures"], serde_json::json!([]));
    assert_eq!(workspace.shell("ls; cat /dev/shm/nonce"), "a\nb\nd\ne\nd\n", "it was resumed, not started");
}

#[test]
fn snapshots_have_a_limit_that_is_told() {
    // Promise: a workspace with as many snapshots as can be is refused one more, with what to do, and goes on.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    let create = |number: u32| workspace.call("snapshot create", [format!("s{number}")]).finish();
    let (count, refused) =
        (0..100).map(|number| (number, create(number))).find(|(_, told)| !told.status.success()).unwrap();
    refused.exits(125).explains(&["as many as it can have", "pyro workspace gc"]);
    assert!(count >= 50, "{count} snapshots fit");
    workspace.shell("echo kept > kept");
    assert_eq!(workspace.snapshots().len(), usize::try_from(count).unwrap() + 1);
    for number in 0..count {
        workspace.call("snapshot delete", [format!("s{number}")]).finish().exits(0);
    }
    machine.pyro(["workspace", "gc"]).finish().exits(0);
    workspace.call("stop", [""; 0]).finish().exits(0);
    assert_eq!(workspace.shell("cat kept"), "kept\n");
    create(0).exits(0);
    assert!(layers(&machine).len() <= 4, "{:?}", layers(&machine));
}

#[test]
fn a_workspace_outlives_the_template_it_was_made_from() {
    // Promise: templates may go at any time; a workspace keeps what it stands on, its baseline too.
    let machine = Machine::with_own_environment();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo kept > kept");
    fs::remove_dir_all(machine.cache().join("templates")).unwrap();
    assert_eq!(workspace.shell("cat kept"), "kept\n", "a running one does not notice");
    workspace.call("stop", [""; 0]).finish().exits(0);
    assert_eq!(workspace.shell("cat kept; git --version | cut -c-4"), "kept\ngit \n");
    workspace.reset(&[]);
    assert_eq!(workspace.shell("ls"), "");
}

#[test]
fn sizes_are_told() {
    // Promise: `--sizes` tells what each environment and workspace holds for itself, and with others.
    let machine = Machine::alone();
    let workspace = machine.workspace(&["--name", "w"]);
    workspace.shell("head -c 30000000 /dev/urandom > data");
    workspace.snapshot("checkpoint", &[]);
    let sizes = || {
        let listed = machine.pyro(["workspace", "list", "--sizes", "--json"]).finish().exits(0).json();
        let listed = listed["workspaces"].as_array().unwrap().clone();
        listed
            .iter()
            .map(|one| (one["private_bytes"].as_u64().unwrap(), one["shared_bytes"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let alone = sizes()[0];
    assert!((30_000_000..60_000_000).contains(&alone.0) && alone.1 > 0, "{alone:?}");
    workspace.call("fork", ["--snapshot", "checkpoint", "--name", "f"]).finish().exits(0);
    let fork = machine.adopt("f");
    let [of_workspace, of_fork] = sizes()[..] else { panic!("two are listed") };
    assert!(
        of_workspace.0 < 10_000_000 && of_fork.0 < 10_000_000,
        "the data is shared now: {of_workspace:?} {of_fork:?}"
    );
    assert!(of_fork.1 >= 30_000_000, "{of_fork:?}");
    fork.shell("head -c 20000000 /dev/urandom > own");
    assert!(sizes()[1].0 >= 20_000_000);
    let listed = machine.pyro(["workspace", "list", "--sizes"]).finish().exits(0).out();
    assert!(listed.lines().all(|line| line.contains(" private=") && line.contains(" shared=")), "{listed}");
    let listed = machine.pyro(["env", "list", "--sizes", "--json"]).finish().exits(0).json();
    let debian = &listed["environments"][0];
    for part in ["rootfs_bytes", "kernel_bytes", "template_bytes"] {
        assert!(debian[part].as_u64().unwrap() > 1_000_000, "{part}: {debian}");
    }
    let listed = machine.pyro(["env", "list", "--sizes"]).finish().exits(0).out();
    assert!(listed.contains("  rootfs=") && listed.contains(" private="), "{listed}");
}

#[test]
fn deleting_gives_everything_back() {
    // Promise: no layer, memory or image is left of a workspace that was deleted once the next command has run.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo a > a");
    workspace.snapshot("disk", &[]);
    workspace.snapshot("memory", &["--memory"]);
    workspace.reset(&["--snapshot", "memory"]);
    workspace.call("delete", ["--yes"]).finish().exits(0);
    machine.pyro(["workspace", "list"]).finish().exits(0);
    for place in ["layers", "memories", "holds", "workspaces", "bases", "vms"] {
        let left = fs::read_dir(machine.root().join("state").join(place)).into_iter().flatten().flatten();
        let left: Vec<PathBuf> = left.map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_damaged_layer_is_refused_by_name() {
    // Promise: a layer that was cut, changed or lost is named, never run; others, and the rest, are unharmed.
    let machine = Machine::alone();
    let (workspace, other) = (machine.workspace(&[]), machine.workspace(&[]));
    other.shell("echo other > other");
    workspace.shell("echo kept > kept");
    let before = layers(&machine);
    workspace.snapshot("checkpoint", &[]);
    let [head]: [PathBuf; 1] =
        layers(&machine).difference(&before).cloned().collect::<Vec<_>>().try_into().unwrap();
    workspace.shell("echo new > new");
    other.call("stop", [""; 0]).finish().exits(0);
    workspace.call("stop", [""; 0]).finish().exits(0);
    let damages: [(&str, Damage); 4] = [
        ("cut", |path| writable(path).set_len(100_000).unwrap()),
        ("emptied", |path| writable(path).set_len(0).unwrap()),
        ("header", |path| writable(path).write_all_at(b"/etc/passwd", 8).unwrap()),
        ("gone", |path| fs::remove_file(path).unwrap()),
    ];
    let copy = machine.root().join("copy");
    for (what, damage) in damages {
        fs::copy(&head, &copy).unwrap();
        damage(&head);
        let told = workspace.exec(["cat", "kept"]).finish();
        told.exits(125).explains(&[head.to_str().unwrap()]);
        let told = workspace.call("start", ["--json"]).finish();
        assert_eq!(told.exits(125).error_code(), "layer-damaged", "{what}");
        assert_eq!(other.shell("cat other"), "other\n", "{what}");
        other.call("stop", [""; 0]).finish().exits(0);
        let _ = fs::remove_file(&head);
        fs::rename(&copy, &head).unwrap();
        assert_eq!(workspace.shell("cat kept new"), "kept\nnew\n", "{what}: the file came back");
        workspace.call("stop", [""; 0]).finish().exits(0);
    }
    fs::remove_file(&head).unwrap();
    workspace.reset(&["--snapshot", "checkpoint"]);
    assert_eq!(workspace.shell("cat kept; ls"), "kept\nkept\n", "what the reset does not need may be gone");
}

#[test]
fn a_damaged_snapshot_is_refused_by_name() {
    // Promise: a reset to a snapshot whose layer is damaged is refused and changes nothing; another one works.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo one > one");
    workspace.snapshot("one", &[]);
    let before = layers(&machine);
    workspace.shell("echo two > two");
    workspace.snapshot("two", &[]);
    let [head]: [PathBuf; 1] =
        layers(&machine).difference(&before).cloned().collect::<Vec<_>>().try_into().unwrap();
    // A third makes that head a sealed layer that only the third needs.
    workspace.shell("echo three > three");
    workspace.snapshot("three", &[]);
    workspace.reset(&["--snapshot", "two"]);
    workspace.shell("echo four > four");
    writable(&head).set_len(100_000).unwrap();
    let told = workspace.call("reset", ["--snapshot", "three"]).finish();
    told.exits(125).explains(&[head.to_str().unwrap()]);
    assert_eq!(workspace.shell("cat two four"), "two\nfour\n", "nothing was reset");
    workspace.call("fork", ["--snapshot", "three"]).finish().exits(125).explains(&[head.to_str().unwrap()]);
    workspace.reset(&["--snapshot", "one"]);
    assert_eq!(workspace.shell("ls"), "one\n");
    let listed = machine.pyro(["workspace", "list", "--id-only"]).finish().exits(0).out();
    assert_eq!(listed.trim(), workspace.id);
}

fn writable(path: &Path) -> File {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    File::options().write(true).open(path).unwrap()
}
