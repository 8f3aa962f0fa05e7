//! Real machines: a real kernel under TCG with a PID 1 of the test's own.
//!
//! Built only with the feature `real-vm`, and then needs `PYRO_TEST_KERNEL` (an unpacked `vmlinux`) and
//! `PYRO_TEST_MODULES` (a directory with that kernel's modules somewhere below it). `PYRO_TEST_QEMU` names another
//! QEMU than the one on the path.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program")]

mod layers;
mod memory;
mod yard;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use pyro_vmm::{Exit, Status, Vm, Vmm, VmmError, create_overlay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use yard::{PATIENCE, SCRATCH_BYTES, Yard, answered, ask, forked, line, vmm};

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Inode change times and mode bits: any write would show.
fn fingerprint(directory: &Path) -> Vec<(i64, i64, u32)> {
    ["ram", "state"]
        .map(|name| directory.join(name).metadata().unwrap())
        .map(|meta| (meta.ctime(), meta.ctime_nsec(), meta.mode() & 0o777))
        .to_vec()
}

/// How QEMU has the template's memory open: the flags of every such descriptor.
fn ram_flags(pid: u32) -> Vec<u32> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let of_ram = open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|path| path.ends_with("ram")));
    of_ram
        .map(|entry| {
            let name = entry.file_name();
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", name.display())).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            u32::from_str_radix(flags, 8).unwrap()
        })
        .collect()
}

#[tokio::test]
async fn forks_of_one_template_are_machines_of_their_own() {
    // Promise: a template is booted once and forked often; forks share nothing they can write.
    let (yard, vmm) = (Yard::new(), vmm());
    let template = yard.template(&vmm).await;
    let before = fingerprint(template.directory());
    create_overlay(&yard.path("second"), SCRATCH_BYTES).unwrap();
    let (mut a, mut guest_a) = forked(&vmm, &yard.machine("overlay"), &template).await;
    let (mut b, mut guest_b) = forked(&vmm, &yard.machine("second"), &template).await;
    for (vm, guest, name) in [(&mut a, &mut guest_a, "a"), (&mut b, &mut guest_b, "b")] {
        assert_eq!(ask(vm, guest, "hello").await, "echo hello");
        assert_eq!(ask(vm, guest, "mount").await, "0");
        assert_eq!(ask(vm, guest, &format!("write {name}")).await, "written");
        assert_ne!(ask(vm, guest, "base").await, "written", "the base is read-only");
        let flags = ram_flags(vm.pid());
        assert!(!flags.is_empty() && flags.iter().all(|flags| flags & 3 == 0), "{flags:?}");
    }
    assert_eq!(ask(&mut a, &mut guest_a, "read").await, "a");
    assert_eq!(ask(&mut b, &mut guest_b, "read").await, "b");
    assert_eq!(a.kill().await, Exit::Killed);
    assert_eq!(ask(&mut b, &mut guest_b, "still there").await, "echo still there");
    let pids = [a.pid(), b.pid()];
    drop((a, b));
    let left = async {
        while !pids.into_iter().all(is_gone) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, left).await.expect("no process is left");
    assert_eq!(fingerprint(template.directory()), before);
    assert!(fs::read(yard.path("base")).unwrap().iter().all(|byte| *byte == 1));

    let (mut again, mut guest) = forked(&vmm, &yard.machine("second"), &template).await;
    assert_eq!(ask(&mut again, &mut guest, "mount").await, "0");
    assert_eq!(ask(&mut again, &mut guest, "read").await, "b", "what was written is kept");
    again.kill().await;
}

#[tokio::test]
async fn every_way_to_end_is_told_apart() {
    // Promise: a panic, a power-off, a restart and a dead QEMU each give their own clear error.
    let (yard, vmm) = (Yard::new(), vmm());
    let template = yard.template(&vmm).await;
    let machine = yard.machine("overlay");
    let cases = [
        ("panic", Exit::Panicked { message: "sysrq triggered crash".to_owned() }),
        ("power-off", Exit::PoweredOff),
        ("restart", Exit::Restarted),
    ];
    for (word, right) in cases {
        let (mut vm, mut guest) = forked(&vmm, &machine, &template).await;
        guest.control.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        assert_eq!(timeout(PATIENCE, vm.wait()).await.unwrap(), right);
        assert!(matches!(vm.status().await, Err(VmmError::Ended(exit)) if exit == right));
        assert!(is_gone(vm.pid()));
    }
    let (mut vm, _guest) = forked(&vmm, &machine, &template).await;
    let pid = rustix::process::Pid::from_raw(vm.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(vm.wait().await, Exit::VmmDied { .. }));
}

#[tokio::test]
async fn a_machine_pauses_resumes_and_sends_in_bulk() {
    // Promise: the guest stands still while paused, and a megabyte arrives whole.
    let (yard, vmm) = (Yard::new(), vmm());
    let mut vm = vmm.boot(&yard.machine("overlay"), None).await.unwrap();
    let mut guest = vm.take_channels().unwrap().arrive().await.unwrap();
    assert_eq!(answered(&mut vm, &mut guest).await, "ready");
    vm.pause().await.unwrap();
    assert_eq!(vm.status().await.unwrap(), Status::Paused);
    guest.control.write_all(b"x\n").await.unwrap();
    let silence = timeout(Duration::from_millis(300), line(&mut guest.control)).await;
    assert!(silence.is_err(), "a paused guest answered");
    vm.resume().await.unwrap();
    assert_eq!(answered(&mut vm, &mut guest).await, "echo x");
    let mut bytes = vec![0; 1 << 20];
    guest.control.write_all(b"bulk\n").await.unwrap();
    timeout(PATIENCE, guest.bulk.read_exact(&mut bytes)).await.unwrap().unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
    assert_eq!(answered(&mut vm, &mut guest).await, "sent");
    assert_eq!(vm.kill().await, Exit::Killed);
}

#[tokio::test]
async fn a_machine_that_cannot_start_says_why() {
    // Promise: a QEMU that refuses gives its own last line, and leaves nothing.
    let (yard, vmm) = (Yard::new(), vmm());
    let mut machine = yard.machine("overlay");
    fs::write(yard.path("overlay"), b"no qcow2").unwrap();
    let error = vmm.boot(&machine, None).await.err().unwrap();
    assert!(error.to_string().contains("QEMU ended with exit code 1"), "{error}");
    machine.kernel = yard.path("nothing");
    let error = vmm.boot(&machine, None).await.err().unwrap();
    assert!(error.to_string().ends_with("/nothing"), "{error}");
}
