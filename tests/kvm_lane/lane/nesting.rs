//! A guest has no virtualization of its own, whatever the host's processor has.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Machine, PYRO};

#[test]
fn a_guest_cannot_have_guests() {
    // Promise: in a guest there is no /dev/kvm and no processor flag for it, and pyro there says that this is meant.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    assert_eq!(
        workspace.shell("ls /dev/kvm 2>/dev/null || true; grep -cwE 'vmx|svm' /proc/cpuinfo || true"),
        "0\n"
    );
    let alone = machine.root().join("program");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(PYRO, alone.join("pyro")).unwrap();
    // Without a QEMU that is what is told first.
    let qemu = alone.join("qemu-system-x86_64");
    std::fs::write(&qemu, "#!/bin/sh\necho 'QEMU emulator version 7.2.0'\n").unwrap();
    std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).unwrap();
    workspace.call("sync push", [alone.to_str().unwrap(), "--dest", "program"]).finish().exits(0);
    let variables = ["HOME=/root", "PYRO_QEMU=/workspace/program/qemu-system-x86_64"];
    let told = workspace.exec(["env"].iter().chain(&variables).chain(&["program/pyro", "doctor"])).finish();
    told.tells("KVM: exists=no readable=no writable=no usable=").tells("inside a pyro VM");
}
