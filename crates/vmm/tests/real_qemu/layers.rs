//! Disks of a running machine: layers added to them, and flushes.

use std::fs;
use std::path::{Path, PathBuf};

use pyro_vmm::limits::LAYERS_MAX;
use pyro_vmm::{
    Exit, Flush, MachineError, QemuVm, QmpError, Serial, Vm, Vmm, VmmError, check_layer, create_overlay,
    merge_layers,
};

use crate::is_gone;
use crate::yard::{SCRATCH_BYTES, Yard, answered, ask, forked, vmm};

fn scratch() -> Serial {
    "scratch".parse().unwrap()
}

/// The files that QEMU has open for writing.
fn written_files(vm: &QemuVm) -> Vec<PathBuf> {
    let directory = format!("/proc/{}/fd", vm.pid());
    let is_written = |name: &Path| {
        let info =
            fs::read_to_string(format!("/proc/{}/fdinfo/{}", vm.pid(), name.display())).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("0").trim();
        u32::from_str_radix(flags, 8).unwrap() & 3 != 0
    };
    let open = fs::read_dir(directory).unwrap().flatten();
    let written = open.filter(|entry| is_written(Path::new(&entry.file_name())));
    let mut files: Vec<_> = written.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    files.retain(|path| path.starts_with("/tmp") || path.starts_with(std::env::temp_dir()));
    files.sort();
    files.dedup();
    files
}

#[tokio::test]
async fn a_layer_added_to_a_running_guest_keeps_both_sides() {
    // Promise: a snapshot of a running guest's disk holds all before it and nothing after it, and is no more open
    // for writing; the guest misses nothing.
    let (yard, vmm) = (Yard::new(), vmm());
    let template = yard.template(&vmm).await;
    let names = ["overlay", "second", "third", "a", "b"];
    for name in &names[1..] {
        create_overlay(&yard.path(name), SCRATCH_BYTES).unwrap();
    }
    let (mut vm, mut guest) = forked(&vmm, &yard.machine("overlay"), &template).await;
    assert_eq!(ask(&mut vm, &mut guest, "mount").await, "0");
    assert_eq!(ask(&mut vm, &mut guest, "write one").await, "written");
    vm.add_layer(&scratch(), &yard.path("second")).await.unwrap();
    assert_eq!(written_files(&vm), [yard.path("second")]);
    assert_eq!(ask(&mut vm, &mut guest, "read").await, "one");
    assert_eq!(ask(&mut vm, &mut guest, "write two").await, "written");
    vm.pause().await.unwrap();
    vm.add_layer(&scratch(), &yard.path("third")).await.unwrap();
    vm.resume().await.unwrap();
    assert_eq!(written_files(&vm), [yard.path("third")], "nor after one added while it stood still");
    assert_eq!(ask(&mut vm, &mut guest, "write-other three").await, "written");

    let chains: [(&[&str], &str, bool); 2] =
        [(&["overlay", "a"], "one", false), (&["overlay", "second", "b"], "two", false)];
    for (chain, kept, other) in chains {
        let (mut fork, mut forked) = forked(&vmm, &yard.layered(chain), &template).await;
        assert_eq!(ask(&mut fork, &mut forked, "mount").await, "0");
        assert_eq!(ask(&mut fork, &mut forked, "read").await, kept);
        assert_eq!(ask(&mut fork, &mut forked, "read-other").await == "three", other);
        assert_eq!(ask(&mut fork, &mut forked, "write fork").await, "written");
        fork.kill().await;
    }
    assert_eq!(ask(&mut vm, &mut guest, "read").await, "two", "what a fork writes is its own");
    assert_eq!(ask(&mut vm, &mut guest, "read-other").await, "three");
    vm.kill().await;

    for name in names {
        check_layer(&yard.path(name), SCRATCH_BYTES).unwrap();
    }
    merge_layers(&yard.path("overlay"), &yard.path("second"), &yard.path("merged")).unwrap();
    let (mut fork, mut guest) = forked(&vmm, &yard.layered(&["merged", "third"]), &template).await;
    assert_eq!(ask(&mut fork, &mut guest, "mount").await, "0");
    assert_eq!(ask(&mut fork, &mut guest, "read").await, "two", "two layers made one are the same disk");
    assert_eq!(ask(&mut fork, &mut guest, "read-other").await, "three");
    fork.kill().await;
}

#[tokio::test]
async fn a_disk_takes_as_many_layers_as_it_may_have() {
    // Promise: a machine starts on the longest chain there may be, adds no more, and goes on.
    let (yard, vmm) = (Yard::new(), vmm());
    let names: Vec<String> = (0..=LAYERS_MAX).map(|number| format!("layer{number}")).collect();
    for name in names.iter().map(String::as_str).chain(["more", "last"]) {
        create_overlay(&yard.path(name), SCRATCH_BYTES).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut vm = vmm.boot(&yard.layered(&names[1..]), None).await.unwrap();
    let mut guest = vm.take_channels().unwrap().arrive().await.unwrap();
    assert_eq!(answered(&mut vm, &mut guest).await, "ready");
    assert_eq!(ask(&mut vm, &mut guest, "mount").await, "0");
    assert_eq!(ask(&mut vm, &mut guest, "write deep").await, "written");
    vm.add_layer(&scratch(), &yard.path("more")).await.unwrap();
    let error = vm.add_layer(&scratch(), &yard.path("last")).await.unwrap_err();
    assert!(matches!(error, VmmError::Machine(MachineError::LayerCount { .. })), "{error}");
    assert_eq!(ask(&mut vm, &mut guest, "read").await, "deep");
    assert_eq!(ask(&mut vm, &mut guest, "write on").await, "written");
    vm.kill().await;
}

#[tokio::test]
async fn a_refused_layer_changes_nothing() {
    // Promise: a snapshot that cannot be is told, and the disk and its guest go on; the next one works.
    let (yard, vmm) = (Yard::new(), vmm());
    create_overlay(&yard.path("smaller"), SCRATCH_BYTES).unwrap();
    fs::write(yard.path("smaller"), b"no qcow2").unwrap();
    create_overlay(&yard.path("good"), SCRATCH_BYTES).unwrap();
    let mut vm = vmm.boot(&yard.machine("overlay"), None).await.unwrap();
    let mut guest = vm.take_channels().unwrap().arrive().await.unwrap();
    assert_eq!(answered(&mut vm, &mut guest).await, "ready");
    assert_eq!(ask(&mut vm, &mut guest, "mount").await, "0");
    let error = vm.add_layer(&scratch(), &yard.path("smaller")).await.unwrap_err();
    assert!(matches!(error, VmmError::Qmp(_)), "{error}");
    for (serial, wrong) in [("base", "is never written"), ("none", "is not there")] {
        let error = vm.add_layer(&serial.parse().unwrap(), &yard.path("good")).await.unwrap_err();
        assert!(matches!(error, VmmError::NoSuchDisk { .. }), "a disk that {wrong}");
    }
    assert_eq!(written_files(&vm), [yard.path("overlay")]);
    assert_eq!(ask(&mut vm, &mut guest, "write kept").await, "written");
    vm.add_layer(&scratch(), &yard.path("good")).await.unwrap();
    assert_eq!(ask(&mut vm, &mut guest, "read").await, "kept");
    vm.kill().await;
}

#[tokio::test]
async fn flushes_count_from_when_they_shall() {
    // Promise: a VM whose disk did not outlive it can become one whose disk does, and back, on every layer.
    let (yard, vmm) = (Yard::new(), vmm());
    create_overlay(&yard.path("second"), SCRATCH_BYTES).unwrap();
    let mut machine = yard.machine("overlay");
    machine.disks[1].flush = Flush::Ignored;
    let mut vm = vmm.boot(&machine, None).await.unwrap();
    let mut guest = vm.take_channels().unwrap().arrive().await.unwrap();
    assert_eq!(answered(&mut vm, &mut guest).await, "ready");
    assert_eq!(ask(&mut vm, &mut guest, "mount").await, "0");
    vm.set_flush(&scratch(), Flush::Honored).await.unwrap();
    assert_eq!(ask(&mut vm, &mut guest, "write one").await, "written");
    vm.add_layer(&scratch(), &yard.path("second")).await.unwrap();
    vm.set_flush(&scratch(), Flush::Ignored).await.unwrap();
    assert_eq!(ask(&mut vm, &mut guest, "write two").await, "written");
    vm.set_flush(&scratch(), Flush::Honored).await.unwrap();
    assert_eq!(ask(&mut vm, &mut guest, "read").await, "two");
    let error = vm.set_flush(&"base".parse().unwrap(), Flush::Ignored).await.unwrap_err();
    assert!(matches!(error, VmmError::NoSuchDisk { .. }), "{error}");
    vm.kill().await;
}

#[tokio::test]
async fn a_vmm_that_falls_silent_meanwhile_is_ended() {
    // Promise: no guest writes on to a disk of which nobody can tell what is on top.
    let (yard, vmm) = (Yard::new(), vmm());
    create_overlay(&yard.path("second"), SCRATCH_BYTES).unwrap();
    let mut vm = vmm.boot(&yard.machine("overlay"), None).await.unwrap();
    let pid = rustix::process::Pid::from_raw(vm.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // Deadlines pass at once where nothing else happens.
    tokio::time::pause();
    let error = vm.add_layer(&scratch(), &yard.path("second")).await.unwrap_err();
    assert!(matches!(error, VmmError::Qmp(QmpError::Silent { .. })), "{error}");
    assert_eq!(vm.wait().await, Exit::Killed);
    assert!(is_gone(vm.pid()));
}
