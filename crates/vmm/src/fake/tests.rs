//! The fake behaves as a VMM does.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::machine::{Accelerator, Disk, Shape, Transport};
use crate::template::KeyInputs;

fn machine() -> Machine {
    Machine {
        shape: Shape::new(Accelerator::Tcg, Transport::Serial, 1, 128).unwrap(),
        kernel: "kernel".into(),
        initrd: "initrd".into(),
        kernel_arguments: Vec::new(),
        disks: vec![Disk {
            serial: serial(),
            image: Image::Overlay { overlay: "a".into(), layers: Vec::new(), backing: "blank".into() },
            flush: Flush::Ignored,
        }],
    }
}

fn serial() -> Serial {
    "scratch".parse().unwrap()
}

fn key() -> TemplateKey {
    TemplateKey::new(&KeyInputs { shape: machine().shape, vmm: "fake", parts: &[] })
}

/// Echoes one byte, then powers off.
fn echo() -> FakeVmm {
    FakeVmm::new(|mut channels: GuestChannels| async move {
        let byte = channels.control.read_u8().await.unwrap();
        channels.control.write_u8(byte).await.unwrap();
        Exit::PoweredOff
    })
}

#[tokio::test]
async fn a_guest_answers_and_ends() {
    // Promise: the fake behaves as a VM does to those who use it.
    let mut vm = echo().boot(&machine(), None).await.unwrap();
    let mut channels = vm.take_channels().unwrap().arrive().await.unwrap();
    assert!(vm.take_channels().is_none());
    channels.control.write_u8(7).await.unwrap();
    assert_eq!(channels.control.read_u8().await.unwrap(), 7);
    assert_eq!(vm.wait().await, Exit::PoweredOff);
    assert_eq!(vm.kill().await, Exit::PoweredOff);
    assert!(matches!(vm.status().await, Err(VmmError::Ended(Exit::PoweredOff))));
}

#[tokio::test]
async fn a_template_is_saved_and_forked() {
    // Promise: templates of the fake go through the same directories as real ones.
    let parent = tempfile::tempdir().unwrap();
    let draft = Draft::create(&parent.path().join("t"), 128 << 20).unwrap();
    let vm = echo().boot(&machine(), Some(&draft)).await.unwrap();
    let template = vm.save(draft, &key()).await.unwrap();
    let mut fork = echo().fork(&machine(), &template).await.unwrap();
    assert_eq!(fork.kill().await, Exit::Killed);
}

#[tokio::test]
async fn every_fault_shows() {
    // Promise: each fault a real VMM has can be had on demand.
    let start = |fault| async move { echo().with_fault(fault).boot(&machine(), None).await };
    assert!(matches!(start(Fault::DiesAtStart).await, Err(VmmError::Ended(Exit::VmmDied { .. }))));
    let mut panicked = start(Fault::PanickedGuest).await.unwrap();
    assert_eq!(panicked.wait().await, Exit::Panicked { message: "fake".to_owned() });
    assert!(String::from_utf8_lossy(&panicked.console_tail()).contains("Kernel panic"));
    let mut dead = start(Fault::DeadControl).await.unwrap();
    assert!(matches!(dead.pause().await, Err(VmmError::Qmp(QmpError::Silent { .. }))));
    let mut silent = start(Fault::SilentGuest).await.unwrap();
    let mut channels = silent.take_channels().unwrap().arrive().await.unwrap();
    let wait = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(wait, channels.control.read_u8()).await.is_err());
    assert_eq!(silent.kill().await, Exit::Killed);
}

async fn forked(vmm: &FakeVmm, parent: &Path) -> FakeVm {
    let draft = Draft::create(&parent.join("t"), 128 << 20).unwrap();
    let vm = echo().boot(&machine(), Some(&draft)).await.unwrap();
    let template = vm.save(draft, &key()).await.unwrap();
    vmm.fork(&machine(), &template).await.unwrap()
}

#[tokio::test]
async fn a_fork_is_captured_and_its_disk_grows() {
    // Promise: what was asked of the fake can be told, and an image of its memory goes through real directories.
    let parent = tempfile::tempdir().unwrap();
    let vmm = echo();
    let mut vm = forked(&vmm, parent.path()).await;
    let draft = Draft::create(&parent.path().join("m"), 128 << 20).unwrap();
    vm.base_copy(&draft).unwrap().run().unwrap();
    assert!(matches!(vm.capture(&draft).await, Err(VmmError::Unfit { .. })), "it runs");
    vm.pause().await.unwrap();
    vm.add_layer(&serial(), Path::new("b")).await.unwrap();
    assert_eq!(vm.capture(&draft).await.unwrap().memory_bytes, OWN_MEMORY.len() as u64);
    vm.resume().await.unwrap();
    vm.set_flush(&serial(), Flush::Honored).await.unwrap();
    draft.finish(&key()).unwrap();
    Template::open(&parent.path().join("m"), &key()).unwrap();
    let added = Call::AddLayer { serial: serial(), overlay: "b".into() };
    let flush = Call::SetFlush { serial: serial(), flush: Flush::Honored };
    let wanted = [Call::BaseCopy, Call::Capture, Call::Pause, added, Call::Capture, Call::Resume, flush];
    assert_eq!(vmm.calls().split_off(1), wanted);
    let other = "base".parse().unwrap();
    assert!(matches!(vm.set_flush(&other, Flush::Honored).await, Err(VmmError::NoSuchDisk { .. })));
}

#[tokio::test]
async fn every_fault_of_keeping_a_state_shows() {
    // Promise: each way in which a snapshot fails can be had on demand.
    let parent = tempfile::tempdir().unwrap();
    for fault in
        [Fault::LayerRefused, Fault::LayerKills, Fault::FlushRefused, Fault::CopyFails, Fault::CaptureFails]
    {
        let mut vm = forked(&echo().with_fault(fault), parent.path()).await;
        let draft = Draft::create(&parent.path().join("m"), 128 << 20).unwrap();
        vm.pause().await.unwrap();
        let failed = [
            (Fault::FlushRefused, vm.set_flush(&serial(), Flush::Honored).await.is_err()),
            (Fault::CopyFails, vm.base_copy(&draft).unwrap().run().is_err()),
            (Fault::CaptureFails, vm.capture(&draft).await.is_err()),
        ];
        for (cause, failed) in failed {
            assert_eq!(failed, cause == fault, "{cause:?} under {fault:?}");
        }
        let added = vm.add_layer(&serial(), Path::new("b")).await;
        assert_eq!(added.is_err(), matches!(fault, Fault::LayerRefused | Fault::LayerKills));
        let dead = matches!(vm.status().await, Err(VmmError::Ended(Exit::Killed)));
        assert_eq!(dead, fault == Fault::LayerKills);
    }
}
