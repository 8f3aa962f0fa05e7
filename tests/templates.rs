//! Templates: made once, used by all, made anew when they are damaged.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Machine, Running};

/// What bad luck does to a file.
type Damage = fn(&Path);

/// The directories of whole templates, and of what is not one.
pub(crate) fn templates(cache: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let families = fs::read_dir(cache.join("templates")).into_iter().flatten().flatten();
    let entries = families.flat_map(|family| fs::read_dir(family.path()).into_iter().flatten().flatten());
    let directories = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    directories.partition(|path| path.join("template.json").exists())
}

#[test]
fn a_shape_is_booted_once() {
    // Promise: first uses at once wait for one boot; later uses do not boot at all.
    let machine = Machine::with_own_environment();
    let firsts: Vec<Running> =
        (0..3).map(|number| machine.run(["echo", &number.to_string()]).start()).collect();
    for (number, running) in firsts.into_iter().enumerate() {
        running.finish().exits(0).says(&format!("{number}\n"));
    }
    let (whole, other) = templates(machine.cache());
    assert_eq!((whole.len(), other), (1, Vec::new()));
    let made = fs::metadata(whole[0].join("ram")).unwrap().modified().unwrap();
    let later = machine.run(["true"]).finish();
    assert!(!later.exits(0).err().contains("phase=template"));
    assert_eq!(fs::metadata(whole[0].join("ram")).unwrap().modified().unwrap(), made);
    machine.run_with(&["--mem-mib", "384"], ["true"]).finish().exits(0).explains(&["phase=template"]);
    assert_eq!(templates(machine.cache()).0.len(), 2);
    // A disk that is there needs a guest that has none yet: that one is made at its first use.
    let workspace = machine.workspace(&[]);
    assert_eq!(templates(machine.cache()).0.len(), 2);
    for _ in 0..2 {
        workspace.call("stop", [""; 0]).finish().exits(0);
        workspace.shell("true");
        assert_eq!(templates(machine.cache()).0.len(), 3);
    }
}

#[test]
fn a_damaged_template_is_made_anew() {
    // Promise: a template that was truncated, changed, or lost a file is noticed and replaced; the command just runs.
    let machine = Machine::with_own_environment();
    machine.run(["true"]).finish().exits(0);
    let template = templates(machine.cache()).0.remove(0);
    let damages: [(&str, Damage); 6] = [
        ("disk.qcow2", |path| writable(path).set_len(4096).unwrap()),
        ("disk.qcow2", |path| fs::remove_file(path).unwrap()),
        ("ram", |path| {
            writable(path).set_len(4096).unwrap();
        }),
        ("state", |path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            drop(writable(path));
            fs::write(path, bytes).unwrap();
        }),
        ("template.json", |path| {
            drop(writable(path));
            fs::write(path, "{").unwrap();
        }),
        ("ram", |path| fs::remove_file(path).unwrap()),
    ];
    for (file, damage) in damages {
        damage(&template.join(file));
        let healed = machine.run(["echo", "healed"]).finish();
        healed.exits(0).says("healed\n").explains(&["phase=template"]);
        let (whole, other) = templates(machine.cache());
        assert_eq!((whole, other), (vec![template.clone()], Vec::new()), "after {file}");
    }
    let later = machine.run(["true"]).finish();
    assert!(!later.exits(0).err().contains("phase=template"));
}

#[test]
fn many_vms_run_at_once() {
    // Promise: eight VMs of one template at once all answer, each for itself.
    let machine = Machine::alone();
    machine.run(["true"]).finish().exits(0);
    let script = "echo $1 > /mine; cat /proc/sys/kernel/random/uuid; cat /mine";
    let start = |number: usize| {
        machine
            .run_with(&["--timeout-seconds", "120"], ["sh", "-c", script, "sh", &number.to_string()])
            .start()
    };
    let running: Vec<Running> = (0..8).map(start).collect();
    let mut uuids = Vec::new();
    for (number, running) in running.into_iter().enumerate() {
        let told = running.finish().exits(0).out();
        let (uuid, own) = told.split_once('\n').unwrap();
        assert_eq!(own, format!("{number}\n"));
        uuids.push(uuid.to_owned());
    }
    uuids.sort();
    uuids.dedup();
    assert_eq!(uuids.len(), 8);
}

#[test]
fn nothing_goes_from_one_vm_to_the_next() {
    // Promise: what a VM writes is gone with it, and the environment stays as it was installed.
    let machine = Machine::new();
    let image = machine.environment().join("rootfs.ext4");
    let before = fs::metadata(&image).unwrap().modified().unwrap();
    machine.shell("echo x > /root/trace; rm -rf /usr/bin/git; sync").finish().exits(0);
    machine.shell("test ! -e /root/trace && git --version >/dev/null").finish().exits(0);
    assert_eq!(fs::metadata(&image).unwrap().modified().unwrap(), before);
}

/// Opens a read-only file for writing, as somebody with bad luck does.
fn writable(path: &Path) -> fs::File {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::File::options().write(true).open(path).unwrap()
}
