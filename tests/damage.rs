//! Installed files that are no longer what was installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::Machine;

#[test]
fn a_damaged_environment_is_refused_and_a_pull_repairs_it() {
    // Promise: an environment whose image was cut is refused by name, never run; pulling it again heals it.
    let machine = Machine::with_own_environment();
    let image = machine.environment().join("rootfs.ext4");
    let whole = fs::metadata(&image).unwrap().len();
    unlocked(&image).set_len(whole / 2).unwrap();
    machine
        .pyro(["env", "inspect", "debian:12"])
        .finish()
        .exits(125)
        .says("")
        .explains(&["environment debian:12 is damaged", "pyro env pull debian:12"]);
    let told = machine.pyro(["env", "inspect", "--json", "debian:12"]).finish();
    assert_eq!(told.exits(125).error_code(), "environment-damaged");
    let listed = machine.pyro(["env", "list"]).finish().exits(0).out();
    assert!(listed.contains("debian:12 [not installed]"), "{listed}");
    machine.pyro(["env", "pull", "debian:12"]).finish().exits(0);
    assert!(fs::metadata(&image).unwrap().len() > whole / 2);
    machine.run(["echo", "healed"]).finish().exits(0).says("healed\n");
}

#[test]
fn a_damaged_manifest_is_refused() {
    // Promise: a manifest that was cut, or is of something else, is damage, not a panic.
    let machine = Machine::with_own_environment();
    let manifest = machine.environment().join("environment.json");
    let whole = fs::read_to_string(&manifest).unwrap();
    let changes = [
        whole[..whole.len() / 2].to_owned(),
        String::new(),
        "null".to_owned(),
        whole.replace("debian:12", "debian:13"),
    ];
    for text in changes {
        drop(unlocked(&manifest));
        fs::write(&manifest, &text).unwrap();
        machine.pyro(["env", "inspect", "debian:12"]).finish().exits(125).explains(&["damaged"]);
    }
    fs::write(&manifest, whole).unwrap();
    machine.pyro(["env", "inspect", "debian:12"]).finish().exits(0);
}

#[test]
fn lost_parts_that_can_be_made_again_are() {
    // Promise: the guest's initial file system and the blank disk come back by themselves.
    let machine = Machine::with_own_environment();
    machine.run(["true"]).finish().exits(0);
    for part in ["guest", "blank", "templates"] {
        fs::remove_dir_all(machine.cache().join(part)).unwrap();
        machine.run(["echo", "back"]).finish().exits(0).says("back\n");
    }
}

/// Opens a read-only file for writing, as somebody with bad luck does.
fn unlocked(path: &Path) -> fs::File {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::File::options().write(true).open(path).unwrap()
}
