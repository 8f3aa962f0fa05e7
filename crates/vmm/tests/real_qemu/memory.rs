//! A running fork's memory: kept, and forked in its turn.

use std::path::Path;

use pyro_jail::Support;
use pyro_vmm::{
    Captured, Draft, GuestChannels, Machine, QemuVm, Serial, Template, Vm, Vmm, VmmError, create_overlay,
};

use crate::yard::{SCRATCH_BYTES, Yard, answered, ask, forked, key, vmm, vmm_with};

/// Keeps memory and disk of a running VM, as a shim does: the disk gets `overlay` on top.
async fn keep(
    vm: &mut QemuVm,
    machine: &Machine,
    target: &Path,
    overlay: &Path,
) -> Result<(Template, Captured), VmmError> {
    let scratch: Serial = "scratch".parse().unwrap();
    create_overlay(overlay, SCRATCH_BYTES).unwrap();
    let draft = Draft::create(target, machine.shape.memory_bytes()).unwrap();
    vm.base_copy(&draft)?.run()?;
    vm.pause().await?;
    vm.add_layer(&scratch, overlay).await?;
    let captured = vm.capture(&draft).await?;
    vm.resume().await?;
    Ok((draft.finish(&key(machine)).unwrap(), captured))
}

async fn told(vm: &mut QemuVm, guest: &mut GuestChannels) -> [String; 2] {
    [ask(vm, guest, "told").await, ask(vm, guest, "read").await]
}

#[tokio::test]
async fn a_kept_memory_goes_on_where_it_was_and_so_does_its_source() {
    // Promise: what only memory holds is in a fork of a running VM, with its disk, and the two then differ.
    let (yard, vmm) = (Yard::new(), vmm());
    let template = yard.template(&vmm).await;
    let machine = yard.machine("overlay");
    let (mut source, mut guest) = forked(&vmm, &machine, &template).await;
    assert_eq!(ask(&mut source, &mut guest, "mount").await, "0");
    assert_eq!(ask(&mut source, &mut guest, "write disk").await, "written");
    assert_eq!(ask(&mut source, &mut guest, "tell nonce").await, "understood");
    assert_eq!(ask(&mut source, &mut guest, "fill 20").await, (20 << 20).to_string());
    let (image, captured) =
        keep(&mut source, &machine, &yard.path("image"), &yard.path("second")).await.unwrap();
    assert!(captured.memory_bytes > 20 << 20 && captured.memory_bytes < 80 << 20, "{captured:?}");
    let copy = Template::open(image.directory(), &key(&machine)).unwrap();

    create_overlay(&yard.path("third"), SCRATCH_BYTES).unwrap();
    let resumed = yard.layered(&["overlay", "third"]);
    let (mut fork, mut other) = forked(&vmm, &resumed, &copy).await;
    assert_eq!(told(&mut fork, &mut other).await, ["nonce", "disk"]);
    assert_eq!(ask(&mut fork, &mut other, "tell fork's").await, "understood");
    assert_eq!(ask(&mut fork, &mut other, "write fork's").await, "written");
    assert_eq!(told(&mut source, &mut guest).await, ["nonce", "disk"]);
    assert_eq!(ask(&mut source, &mut guest, "write source's").await, "written");

    let (second, _) = keep(&mut fork, &resumed, &yard.path("again"), &yard.path("fourth")).await.unwrap();
    fork.kill().await;
    create_overlay(&yard.path("fifth"), SCRATCH_BYTES).unwrap();
    let chain = yard.layered(&["overlay", "third", "fifth"]);
    let (mut grandchild, mut third) = forked(&vmm, &chain, &second).await;
    assert_eq!(told(&mut grandchild, &mut third).await, ["fork's", "fork's"]);
    assert_eq!(told(&mut source, &mut guest).await, ["nonce", "source's"]);
    grandchild.kill().await;
    source.kill().await;
}

#[tokio::test]
async fn only_a_fork_that_stands_still_is_kept() {
    // Promise: an image of memory is never made of a moving guest, nor of one whose memory is nobody's file.
    let (yard, vmm) = (Yard::new(), vmm());
    let template = yard.template(&vmm).await;
    let machine = yard.machine("overlay");
    let draft = Draft::create(&yard.path("image"), machine.shape.memory_bytes()).unwrap();
    let (mut fork, mut guest) = forked(&vmm, &machine, &template).await;
    assert!(matches!(fork.capture(&draft).await, Err(VmmError::Unfit { .. })));
    assert_eq!(ask(&mut fork, &mut guest, "hello").await, "echo hello");
    let other = Draft::create(&yard.path("other"), 128 << 20).unwrap();
    assert!(matches!(fork.base_copy(&other).unwrap().run(), Err(VmmError::Memory(_))), "of another size");
    fork.kill().await;
    assert!(matches!(fork.capture(&draft).await, Err(VmmError::Ended(_))));

    let mut booted = vmm.boot(&machine, None).await.unwrap();
    let mut guest = booted.take_channels().unwrap().arrive().await.unwrap();
    assert_eq!(answered(&mut booted, &mut guest).await, "ready");
    booted.pause().await.unwrap();
    assert!(matches!(booted.capture(&draft).await, Err(VmmError::Unfit { .. })));
    assert!(matches!(booted.base_copy(&draft), Err(VmmError::Unfit { .. })));
    booted.kill().await;
}

#[tokio::test]
async fn a_template_brings_its_disk() {
    // Promise: a guest saved with its disk mounted is forked with it, and forks write to disks of their own.
    let (yard, vmm) = (Yard::new(), vmm());
    let mut machine = yard.machine("overlay");
    let mut draft = Draft::create(&yard.path("template"), machine.shape.memory_bytes()).unwrap();
    create_overlay(&draft.disk_path(), SCRATCH_BYTES).unwrap();
    let name = draft.disk_path().strip_prefix(yard.path("")).unwrap().to_str().unwrap().to_owned();
    machine.disks = yard.machine(&name).disks;
    let mut vm = vmm.boot(&machine, Some(&draft)).await.unwrap();
    let mut guest = vm.take_channels().unwrap().arrive().await.unwrap();
    assert_eq!(answered(&mut vm, &mut guest).await, "ready");
    assert_eq!(ask(&mut vm, &mut guest, "mount").await, "0");
    assert_eq!(ask(&mut vm, &mut guest, "write seed").await, "written");
    draft.add_disk(&draft.disk_path(), "0123456789ab").unwrap();
    vm.save(draft, &key(&machine)).await.unwrap();
    let template = Template::open(&yard.path("template"), &key(&machine)).unwrap();
    assert_eq!(template.disk().unwrap().id, "0123456789ab");
    for name in ["first", "second"] {
        create_overlay(&yard.path(name), SCRATCH_BYTES).unwrap();
        let chain = yard.layered(&["template/disk.qcow2", name]);
        let (mut fork, mut guest) = forked(&vmm, &chain, &template).await;
        assert_eq!(ask(&mut fork, &mut guest, "read").await, "seed");
        assert_eq!(ask(&mut fork, &mut guest, &format!("write {name}")).await, "written");
        assert_eq!(ask(&mut fork, &mut guest, "read").await, name);
        fork.kill().await;
    }
    Template::open(&yard.path("template"), &key(&machine)).unwrap();
}

#[tokio::test]
async fn a_memory_that_had_to_be_copied_is_kept_too() {
    // Promise: where opens cannot be answered, and QEMU maps a copy of the template, its memory is kept all the same.
    let (yard, vmm) = (Yard::new(), vmm_with(Support { answered_opens: false, ..Support::probe() }));
    let template = yard.template(&vmm).await;
    let machine = yard.machine("overlay");
    let (mut source, mut guest) = forked(&vmm, &machine, &template).await;
    assert_eq!(ask(&mut source, &mut guest, "tell nonce").await, "understood");
    let (image, _) = keep(&mut source, &machine, &yard.path("image"), &yard.path("second")).await.unwrap();
    source.kill().await;
    create_overlay(&yard.path("third"), SCRATCH_BYTES).unwrap();
    let (mut fork, mut guest) = forked(&vmm, &yard.layered(&["overlay", "third"]), &image).await;
    assert_eq!(ask(&mut fork, &mut guest, "told").await, "nonce");
    fork.kill().await;
}
