//! A guest has no virtualization of its own, whatever the host's processor has.

use std::path::Path;

use super::as_by_default;
use crate::support::{Machine, PYRO};

#[test]
fn a_guest_cannot_have_guests() {
    // Promise: in a guest there is no /dev/kvm and no processor flag for it, and pyro there says that this is meant.
    let machine = Machine::new();
    let created = as_by_default(machine.pyro(["workspace", "create", "debian:12", "--id-only"])).finish();
    let workspace = machine.adopt(created.exits(0).out().trim());
    assert_eq!(
        workspace.shell("ls /dev/kvm 2>/dev/null || true; grep -cwE 'vmx|svm' /proc/cpuinfo || true"),
        "0\n"
    );
    let directory = Path::new(PYRO).parent().unwrap();
    assert!(directory.join("pyro").exists());
    let alone = machine.root().join("program");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(PYRO, alone.join("pyro")).unwrap();
    workspace.call("sync push", [alone.to_str().unwrap(), "--dest", "program"]).finish().exits(0);
    let told = workspace.exec(["env", "HOME=/root", "program/pyro", "doctor"]).finish();
    told.exits(1).tells("KVM: exists=no readable=no writable=no usable=").tells("inside a pyro VM");
}
