//! One computer through everything that is done with computers.

use crate::support::{Machine, execution_mode, wait_until};

#[test]
fn a_whole_life() {
    // Promise: under KVM, over either transport, a workspace is made, used, kept, set back, copied with its memory, paused
    // and resumed as it is under emulation, and nothing of it is lost.
    let machine = Machine::new();
    let workspace = machine.workspace(&["--name", "life"]);
    let words = ["-i", "--timeout-seconds", "120", "--", "sh", "-c", "cat > kept; wc -c < kept"];
    let told = workspace.call("exec", words).input(vec![b'x'; 300_000]).finish();
    told.exits(0).says("300000\n").explains(&[&format!("execution_mode={} ", execution_mode())]);
    workspace.snapshot("first", &[]);
    workspace.shell("rm kept; echo changed > /etc/motd");
    workspace.reset(&["--snapshot", "first"]);
    assert_eq!(workspace.shell("wc -c < kept; grep -c changed /etc/motd || true"), "300000\n0\n");
    workspace.shell("echo nonce > /dev/shm/nonce");
    workspace.count_in_memory();
    workspace.call("fork", ["--name", "copy"]).finish().exits(0);
    let copy = machine.adopt("copy");
    assert_eq!(copy.shell("cat /dev/shm/nonce"), "nonce\n");
    for computer in [&workspace, &copy] {
        computer.call("pause", [""; 0]).finish().exits(0);
        assert_eq!(computer.state(), "paused");
        computer.call("resume", [""; 0]).finish().exits(0);
        assert_eq!(computer.shell("cat /dev/shm/nonce; wc -c < kept"), "nonce\n300000\n");
        let counted = computer.counted();
        wait_until("its process goes on", || computer.counted() > counted);
    }
}
