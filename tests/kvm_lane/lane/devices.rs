//! Hosts that lack a device, or may not use it.

use super::{assert_emulates, summary};
use crate::host::in_namespace;
use crate::support::{Call, Machine};

const KVM: &str = "/dev/kvm";
const VSOCK: &str = "/dev/vhost-vsock";

/// The same call on a host where a line of shell has been done to the devices: in a mount namespace with a copy of `/dev`.
fn with_devices(call: Call, change: &str) -> Call {
    let script = format!(
        "mount -t tmpfs -o mode=755 tmpfs /mnt && cp -a /dev/. /mnt && for part in pts shm; do \
         mount --rbind /dev/$part /mnt/$part; done && mount --move /mnt /dev && {change} && exec \"$0\" \"$@\""
    );
    in_namespace(call, &["--mount", "--propagation", "private"], &script)
}

#[test]
fn without_kvm_guests_are_emulated() {
    // Promise: without /dev/kvm `auto` emulates and doctor says why; who asks for KVM gets an error that names the device.
    let machine = Machine::new();
    let hidden = |call: Call| with_devices(call, &format!("rm {KVM}"));
    let refused = hidden(machine.run_with(&["--accelerator", "kvm"], ["true"])).finish();
    refused.exits(125).says("").explains(&[
        "KVM cannot be used",
        "/dev/kvm does not exist",
        "--accelerator tcg",
    ]);
    let any = |call: Call| call.env("PYRO_ACCELERATOR", "auto").env("PYRO_TRANSPORT", "serial");
    assert_emulates(hidden(any(machine.run(["true"]))).start());
    // Without an environment it starts no VM; what it would do is told all the same.
    let told = hidden(any(Machine::empty().pyro(["doctor"]))).finish();
    told.exits(0).tells("KVM: exists=no readable=no writable=no usable=");
    told.tells("\nAccelerator: tcg (there is no /dev/kvm)\n");
    // Nothing is remembered against it.
    any(machine.run(["true"])).finish().exits(0).explains(&[&summary("kvm", "guest_serial")]);
}

#[test]
fn without_vsock_the_serial_port_is_taken() {
    // Promise: where /dev/vhost-vsock is missing or not permitted guests are spoken to over the serial port, doctor says
    // why, and who asks for vsock gets an error that names the device.
    let machine = Machine::new();
    let as_member = "exec setpriv --reuid lane --regid lane --init-groups -- \"$0\" \"$@\"";
    let own = Machine::with_own_environment();
    give(&own);
    let missing = format!("there is no {VSOCK}");
    let forbidden = format!("{VSOCK} is not readable and writable for this user");
    for (machine, change, reason) in [
        (&machine, format!("rm {VSOCK}"), missing),
        (&own, format!("chmod 000 {VSOCK} && {as_member}"), forbidden),
    ] {
        let hidden = |call: Call| with_devices(call.env("PYRO_TRANSPORT", "auto"), &change);
        hidden(machine.run(["true"])).finish().exits(0).explains(&[&summary("kvm", "guest_serial")]);
        let told = hidden(machine.pyro(["doctor"])).finish();
        told.exits(0).tells("usable=yes").tells(&format!("\nTransport: serial ({reason})\n"));
        let asked = with_devices(machine.run(["true"]).env("PYRO_TRANSPORT", "vsock"), &change).finish();
        asked.exits(125).says("").explains(&[
            "guests cannot be reached over vsock",
            &reason,
            "PYRO_TRANSPORT",
        ]);
    }
}

/// Gives a machine to the user `lane`.
fn give(machine: &Machine) {
    let given = std::process::Command::new("chown").args(["-R", "lane:lane"]).arg(machine.root()).status();
    assert!(given.unwrap().success());
}
