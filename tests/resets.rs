//! Resets of workspaces that are in trouble, and what of a computer a reset brings back.

use rustix::process::Signal;

use crate::support::{Machine, Workspace};

/// A file in memory alone: it does not survive a boot.
const NONCE: &str = "/dev/shm/nonce";

/// A workspace in some trouble.
type Trouble = fn(&Workspace<'_>);

#[test]
fn a_reset_needs_no_guest() {
    // Promise: reset works, whatever became of the guest, its VMM or its supervisor.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo kept > kept");
    workspace.snapshot("checkpoint", &[]);
    let troubles: [(&str, Trouble); 6] = [
        ("the VMM stands still", |workspace| workspace.vmm().signal(Signal::STOP)),
        ("the VMM is killed", |workspace| workspace.vmm().signal(Signal::KILL)),
        ("the supervisor stands still", |workspace| workspace.shim().unwrap().signal(Signal::STOP)),
        ("the supervisor is killed", |workspace| workspace.shim().unwrap().signal(Signal::KILL)),
        ("the guest panics", |workspace| {
            let ended = workspace.exec(["sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60"]).finish();
            ended.exits(125);
        }),
        ("the guest has no files left", |workspace| {
            workspace
                .exec(["sh", "-c", "rm -rf --one-file-system /usr /etc /bin /lib* /workspace/* 2>/dev/null"])
                .finish();
        }),
    ];
    for (count, (what, trouble)) in (1..).zip(troubles) {
        println!("{what}");
        workspace.shell("echo late > late");
        trouble(&workspace);
        let told = workspace.reset(&["--snapshot", "checkpoint"]);
        assert!(told.out().contains(&format!("Reset count: {count}\n")), "{what}: {}", told.out());
        assert_eq!(workspace.shell("ls; cat kept"), "kept\nkept\n", "{what}");
    }
}

#[test]
fn a_reset_frees_a_full_disk() {
    // Promise: a guest that has filled its disk is snapshot and reset like any other, and has its room again.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell("echo kept > kept");
    workspace.snapshot("checkpoint", &[]);
    let script = "i=0; while fallocate -l 4G /big$i 2>/dev/null; do i=$((i+1)); done
        while fallocate -l 1M /small$i 2>/dev/null; do i=$((i+1)); done
        head -c 2097152 /dev/zero > /more || true; df --output=avail -k / | tail -1";
    let available = |told: String| told.trim().parse::<u64>().unwrap();
    assert!(available(workspace.shell(script)) < 2_000);
    workspace.snapshot("full", &[]);
    workspace.reset(&["--snapshot", "full"]);
    assert!(available(workspace.shell("df --output=avail -k / | tail -1")) < 2_000);
    workspace.reset(&["--snapshot", "checkpoint"]);
    assert!(available(workspace.shell("df --output=avail -k / | tail -1")) > 20_000_000);
    assert_eq!(workspace.shell("cat kept; ls /big* 2>/dev/null | wc -l"), "kept\n0\n");
}

#[test]
fn only_a_snapshot_with_memory_brings_processes_back() {
    // Promise: a reset boots afresh, unless the snapshot has the memory: then processes go on where they were.
    let machine = Machine::new();
    let workspace = machine.workspace(&[]);
    workspace.shell(&format!("echo first > {NONCE}; echo disk > disk"));
    workspace.count_in_memory();
    let (boot, uptime) = ("/proc/sys/kernel/random/boot_id", "cut -d. -f1 /proc/uptime");
    workspace.snapshot("disk", &[]);
    let at_snapshot = workspace.counted();
    workspace.snapshot("memory", &["--memory"]);
    workspace.shell(&format!("echo second > {NONCE}; echo late > disk"));
    let later = workspace.counted();

    let told = workspace.call("reset", ["--snapshot", "memory", "--json"]).finish().exits(0).json();
    assert_eq!(told["reset"]["memory"], true);
    assert_eq!(workspace.shell(&format!("cat {NONCE} disk")), "first\ndisk\n", "the memory is that of then");
    let counted = workspace.counted();
    assert!(counted >= at_snapshot, "{counted} after {at_snapshot}");
    crate::support::wait_until("the process goes on counting", || workspace.counted() > later + 5);
    let with_memory: u64 = workspace.shell(uptime).trim().parse().unwrap();
    assert!(with_memory >= 1, "it has been up since before the snapshot");

    workspace.reset(&["--snapshot", "memory", "--disk-only"]);
    assert_eq!(
        workspace.shell(&format!("cat disk; ls {NONCE} /dev/shm/count 2>/dev/null | wc -l")),
        "disk\n0\n"
    );
    workspace.reset(&["--snapshot", "memory"]);
    let first = workspace.shell(&format!("cat {NONCE} {boot}"));
    assert!(first.starts_with("first\n"), "{first}");
    workspace.reset(&["--snapshot", "disk"]);
    assert_eq!(
        workspace.shell(&format!("cat disk; ls {NONCE} 2>/dev/null | wc -l")),
        "disk\n0\n",
        "it was rebooted"
    );
    assert_ne!(workspace.shell(&format!("cat {boot}")), first.trim_start_matches("first\n"));
}
