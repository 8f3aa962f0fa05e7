//! Memory images that cannot be used: refused with a sentence, and the disk is there without.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::{Machine, Workspace, executable};

/// What bad luck does to an image's directory.
type Damage = fn(&Path);

/// The directory of the one memory image there is.
fn image(machine: &Machine) -> PathBuf {
    let entries = fs::read_dir(machine.root().join("state/memories")).unwrap();
    let [image]: [PathBuf; 1] =
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
    image
}

/// Damages that must be found before a guest runs on what is left.
const DAMAGES: [(&str, Damage); 6] = [
    ("a bit of the state", |image| {
        let file = writable(&image.join("state"));
        let middle = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        File::open(image.join("state")).unwrap().read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    }),
    ("the memory was cut", |image| writable(&image.join("ram")).set_len(4096).unwrap()),
    ("the memory was written to", |image| {
        writable(&image.join("ram")).write_all_at(b"x", 4096 * 1000).unwrap()
    }),
    ("the metadata", |image| fs::write(owned(&image.join("template.json")), "{").unwrap()),
    ("another key", |image| {
        let path = image.join("template.json");
        let mut metadata: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        metadata["key"] = metadata["key"].as_str().unwrap().chars().rev().collect::<String>().into();
        fs::write(owned(&path), metadata.to_string()).unwrap();
    }),
    ("the state is gone", |image| fs::remove_file(image.join("state")).unwrap()),
];

#[test]
fn a_damaged_memory_snapshot_is_refused() {
    // Promise: an image that was damaged is never loaded: the reset says so, changes nothing, and names the way
    // that works; the snapshot's disk comes back without it.
    for (what, damage) in DAMAGES {
        println!("{what}");
        let machine = Machine::new();
        let workspace = machine.workspace(&["--name", "w"]);
        workspace.shell("echo disk > disk; echo nonce > /dev/shm/nonce");
        workspace.snapshot("memory", &["--memory"]);
        workspace.shell("echo late > disk");
        damage(&image(&machine));
        let told = workspace.call("reset", ["--snapshot", "memory"]).finish();
        told.exits(125).explains(&["memory", "pyro workspace reset w --snapshot memory --disk-only"]);
        let told = workspace.call("reset", ["--snapshot", "memory", "--json"]).finish();
        assert_eq!(told.exits(125).error_code(), "memory-unusable", "{what}");
        workspace.call("fork", ["--snapshot", "memory"]).finish().exits(125).explains(&["--disk-only"]);
        assert_eq!(workspace.shell("cat disk"), "late\n", "{what}: nothing was reset");
        workspace.reset(&["--snapshot", "memory", "--disk-only"]);
        assert_eq!(workspace.shell("cat disk; ls /dev/shm"), "disk\n", "{what}");
    }
}

#[test]
fn a_memory_of_another_qemu_is_refused_and_kept() {
    // Promise: memory is not loaded by another version of QEMU than saved it, and stays for when that is back.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo nonce > /dev/shm/nonce");
    workspace.snapshot("memory", &["--memory"]);
    let other = other_qemu(&machine);
    let told = workspace.call("reset", ["--snapshot", "memory"]).env("PYRO_QEMU", &other).finish();
    told.exits(125).explains(&["--disk-only"]);
    workspace.call("pause", [""; 0]).finish().exits(0);
    let told = workspace.call("resume", [""; 0]).env("PYRO_QEMU", &other).finish();
    told.exits(125).explains(&["pyro workspace stop"]);
    workspace.call("resume", [""; 0]).finish().exits(0);
    assert_eq!(workspace.shell("cat /dev/shm/nonce"), "nonce\n");
    workspace.shell("echo late > /dev/shm/nonce");
    workspace.reset(&["--snapshot", "memory"]);
    assert_eq!(workspace.shell("cat /dev/shm/nonce"), "nonce\n");
}

#[test]
fn a_paused_workspace_whose_memory_is_damaged_keeps_its_disk() {
    // Promise: a paused workspace whose memory is damaged says so, and `stop` gives the disk back.
    let machine = Machine::new();
    let workspace = machine.workspace(&["--name", "w"]);
    for (what, damage) in DAMAGES {
        println!("{what}");
        workspace.shell(&format!("echo '{what}' > disk"));
        workspace.call("pause", [""; 0]).finish().exits(0);
        damage(&image(&machine));
        let told = workspace.exec(["true"]).finish();
        told.exits(125).explains(&["memory", "pyro workspace stop w", "keeps the disk"]);
        let told = workspace.call("resume", ["--json"]).finish();
        assert_eq!(told.exits(125).error_code(), "memory-unusable", "{what}");
        assert_eq!(workspace.state(), "paused");
        dropped(&workspace);
        assert_eq!(workspace.shell("cat disk"), format!("{what}\n"));
    }
}

fn dropped(workspace: &Workspace<'_>) {
    let told = workspace.call("stop", [""; 0]).finish();
    told.exits(0).explains(&["its memory was dropped"]);
    assert!(told.out().contains("State: stopped"), "{}", told.out());
}

/// A QEMU that says it is newer.
fn other_qemu(machine: &Machine) -> PathBuf {
    let path = machine.root().join("qemu-system-x86_64");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'QEMU emulator version 97.2.0' && exit\nexec qemu-system-x86_64 \"$@\"\n";
    executable(&path, script);
    path
}

fn owned(path: &Path) -> &Path {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

fn writable(path: &Path) -> File {
    File::options().write(true).open(owned(path)).unwrap()
}
