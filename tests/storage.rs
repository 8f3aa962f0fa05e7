//! Full disks of the host: small file systems, mounted where nobody else sees them.

use crate::host::in_namespace;
use crate::support::{Call, Machine};

/// The call with a file system of so much room at `place`, in a mount namespace of its own.
fn with_small_disk(call: Call, place: &str, room: &str) -> Call {
    let script = format!(
        "mkdir -p \"{place}\" && mount -t tmpfs -o mode=700,size={room} small \"{place}\" && exec \"$0\" \"$@\""
    );
    let flags: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["--mount"],
        false => &["--mount", "--map-root-user"],
    };
    in_namespace(call, flags, &script)
}

#[test]
fn a_state_directory_without_room_is_told() {
    // Promise: no space for the state is one clear error, not a broken database.
    let machine = Machine::empty();
    let told = with_small_disk(machine.pyro(["env", "list", "--json"]), "$PYRO_STATE_DIR", "8k").finish();
    assert_eq!(told.exits(125).error_code(), "no-space");
}

#[test]
fn a_pull_without_room_is_refused_before_it_downloads() {
    // Promise: a disk that is too small is told at once, with how much is needed, and nothing is left on it.
    let machine = Machine::empty();
    let call = machine.pyro(["env", "pull", "debian:12-base"]);
    let refused = with_small_disk(call, "$PYRO_CACHE_DIR", "64m").finish();
    refused.exits(125).explains(&["debian:12-base was not installed", "64 MiB free"]);
}

#[test]
fn a_vm_without_room_for_its_disk_is_told() {
    // Promise: no space for a VM's disk is one clear error, and nothing is left.
    let machine = Machine::new();
    machine.run(["true"]).finish().exits(0);
    let call = machine.run_with(&["--json"], ["true"]);
    let told = with_small_disk(call, "$PYRO_STATE_DIR", "160k").finish();
    assert_eq!(told.exits(125).error_code(), "no-space");
}

#[test]
fn a_vm_that_fills_the_hosts_disk_ends_in_an_error() {
    // Promise: a guest that writes more than the host has room for gets an error in bounded time, not a hang.
    let machine = Machine::new();
    let script = "dd if=/dev/zero of=/fill bs=1M count=200 conv=fsync 2>&1; echo code $?";
    let call = machine.run_with(&["--timeout-seconds", "60"], ["sh", "-c", script]);
    let ended = with_small_disk(call, "$PYRO_STATE_DIR", "64m").finish();
    match ended.status.code() {
        // The guest saw the error,
        Some(0) => assert!(!ended.out().contains("code 0\n"), "{}", ended.out()),
        // or the VM was ended for it.
        _ => drop(ended.exits(125).explains(&["space"])),
    }
    // Another VM, with room, does not notice.
    machine.run(["echo", "fine"]).finish().exits(0).says("fine\n");
}

#[test]
fn a_workspace_that_fills_the_hosts_disk_loses_nothing() {
    // Promise: disk full on the host: clear errors, all that was acknowledged stays, and room is all it needs.
    let machine = Machine::new();
    let script = r#"
        set -u
        mkdir -p "$PYRO_STATE_DIR" && mount -t tmpfs -o mode=700,size=640m small "$PYRO_STATE_DIR" || exit 99
        head -c 30000000 /dev/zero > "$PYRO_STATE_DIR/ballast"
        id=$("$0" workspace create debian:12 --id-only) || exit 98
        "$0" workspace exec $id -- sh -c 'echo kept > kept' || exit 97
        "$0" workspace exec $id --timeout-seconds 120 -- dd if=/dev/urandom of=fill bs=1M count=600 conv=fsync
        echo "full $?"
        "$0" workspace stop $id
        rm "$PYRO_STATE_DIR/ballast"
        "$0" workspace exec $id -- sh -c 'cat kept; rm -f fill; echo new > new; cat new'
        "$0" workspace diff $id | grep '^+'
        "$0" workspace delete --yes $id
    "#;
    let flags: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["--mount"],
        false => &["--mount", "--map-root-user"],
    };
    let ended = in_namespace(machine.pyro([""; 0]), flags, script).finish();
    let out = ended.exits(0).out();
    assert!(!out.contains("full 0\n"), "{out}");
    assert!(
        out.contains("\nkept\nnew\n") && out.contains("+kept\n") && out.contains("Deleted workspace"),
        "{out}"
    );
}

#[test]
fn a_snapshot_without_room_is_told_and_changes_nothing() {
    // Promise: disk full on the host while a snapshot is taken, a memory is kept, or a fork is made: the error says
    // so, nothing half-done is left, and once there is room everything works, with all that was acknowledged.
    let machine = Machine::alone();
    let script = r#"
        mkdir -p "$PYRO_STATE_DIR" && mount -t tmpfs -o mode=700,size=1g small "$PYRO_STATE_DIR" || exit 99
        id=$("$0" workspace create debian:12 --id-only) || exit 98
        "$0" workspace exec $id -- sh -c 'echo kept > kept' || exit 97
        "$0" workspace snapshot create $id before || exit 96
        head -c 2000000000 /dev/zero > "$PYRO_STATE_DIR/ballast"
        "$0" workspace snapshot create $id full; echo "disk $?"
        "$0" workspace snapshot create $id full --memory; echo "memory $?"
        "$0" workspace pause $id; echo "pause $?"
        "$0" workspace fork $id; echo "fork $?"
        "$0" workspace snapshot create $id full --json
        rm "$PYRO_STATE_DIR/ballast"
        "$0" workspace exec $id -- sh -c 'cat kept; echo new > new; cat new'
        "$0" workspace snapshot list $id | cut -d' ' -f1
        "$0" workspace snapshot create $id after && "$0" workspace reset $id --snapshot before >/dev/null
        "$0" workspace reset $id --snapshot after >/dev/null && "$0" workspace exec $id -- cat kept new
        "$0" workspace list --id-only | wc -l
        "$0" workspace delete --yes $id
    "#;
    let flags: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["--mount"],
        false => &["--mount", "--map-root-user"],
    };
    let ended = in_namespace(machine.pyro([""; 0]), flags, script).finish();
    let out = ended.exits(0).out();
    assert!(out.starts_with("disk 125\nmemory 125\npause 125\nfork 125\n"), "{out}{}", ended.err());
    assert!(out.contains("\"code\": \"no-space\""), "{out}");
    let rest = "kept\nnew\nbaseline\nbefore\nkept\nnew\n1\nDeleted workspace";
    assert!(out.contains(rest), "{out}{}", ended.err());
    assert!(ended.err().matches("space").count() >= 4, "{}", ended.err());
}
