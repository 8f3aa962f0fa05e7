//! What a test stands on: files of a machine, a VMM, words said to the guest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pyro_jail::{RunAs, Support};
use pyro_vmm::{
    Accelerator, Confinement, Disk, Draft, Flush, GuestChannels, Image, KeyInputs, Machine, Qemu, QemuVm,
    QemuVmm, Shape, Template, TemplateKey, Transport, Vm, Vmm, create_blank, create_overlay,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

pub(crate) const SCRATCH_BYTES: u64 = 1 << 30;
const BASE_BYTES: u64 = 4 << 20;
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const UID: u32 = 60_124;
const MODULES: [&str; 5] = ["virtio_ring", "virtio", "virtio_mmio", "virtio_console", "virtio_blk"];

/// A directory no other user can enter, with everything a machine needs.
pub(crate) struct Yard {
    directory: tempfile::TempDir,
}

impl Yard {
    pub(crate) fn new() -> Self {
        let yard = Self { directory: tempfile::tempdir().unwrap() };
        build_initrd(&yard.path("initrd"), yard.directory.path());
        fs::write(yard.path("base"), vec![1; BASE_BYTES as usize]).unwrap();
        create_blank(&yard.path("blank"), SCRATCH_BYTES, &search_path()).unwrap();
        create_overlay(&yard.path("overlay"), SCRATCH_BYTES).unwrap();
        yard
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The machine, with a scratch disk of the given name.
    pub(crate) fn machine(&self, overlay: &str) -> Machine {
        self.layered(&[overlay])
    }

    /// The machine, with a scratch disk of layers of these names, lowest first; the last one is written.
    pub(crate) fn layered(&self, layers: &[&str]) -> Machine {
        let (overlay, layers) = layers.split_last().unwrap();
        let layers = layers.iter().map(|name| self.path(name)).collect();
        let disk =
            |serial: &str, image| Disk { serial: serial.parse().unwrap(), image, flush: Flush::Honored };
        let scratch = Image::Overlay { overlay: self.path(overlay), layers, backing: self.path("blank") };
        Machine {
            shape: Shape::new(Accelerator::Tcg, Transport::Serial, 1, 256).unwrap(),
            kernel: wanted("PYRO_TEST_KERNEL"),
            initrd: self.path("initrd"),
            kernel_arguments: Vec::new(),
            disks: vec![disk("base", Image::ReadOnly(self.path("base"))), disk("scratch", scratch)],
        }
    }

    pub(crate) async fn template(&self, vmm: &QemuVmm) -> Template {
        let machine = self.machine("overlay");
        let draft = Draft::create(&self.path("template"), machine.shape.memory_bytes()).unwrap();
        let mut vm = vmm.boot(&machine, Some(&draft)).await.unwrap();
        let mut guest = vm.take_channels().unwrap().arrive().await.unwrap();
        assert_eq!(answered(&mut vm, &mut guest).await, "ready");
        vm.save(draft, &key(&machine)).await.unwrap()
    }
}

fn wanted(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} must be set")).into()
}

fn search_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

pub(crate) fn vmm() -> QemuVmm {
    vmm_with(Support::probe())
}

pub(crate) fn vmm_with(support: Support) -> QemuVmm {
    let named = std::env::var_os("PYRO_TEST_QEMU").map(PathBuf::from);
    let qemu = Qemu::discover(named.as_deref(), &search_path()).unwrap();
    let root = rustix::process::geteuid().is_root();
    let run_as = root.then(|| RunAs { uid: UID, gid: UID, groups: Vec::new() });
    let confinement = Confinement { run_as, file_bytes_max: 2 * SCRATCH_BYTES, task_count_max: None };
    QemuVmm::new(qemu, confinement, support)
}

pub(crate) fn key(machine: &Machine) -> TemplateKey {
    TemplateKey::new(&KeyInputs { shape: machine.shape, vmm: "test", parts: &[] })
}

/// One entry of a cpio archive ("newc", Documentation/driver-api/early-userspace/buffer-format.rst).
fn cpio_entry(name: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    let fields = [0, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    let mut entry = b"070701".to_vec();
    entry.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    entry.extend(name.bytes().chain([0]));
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry.extend(data);
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry
}

fn build_initrd(target: &Path, work: &Path) {
    let (source, program) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/init.rs"), work.join("init"));
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let built = Command::new(rustc)
        .args(["--edition=2024", "-O", "-Ctarget-feature=+crt-static", "-Cpanic=abort", "-o"])
        .args([&program, &source])
        .status();
    assert!(built.unwrap().success());
    let mut archive = cpio_entry("init", 0o100_755, &fs::read(program).unwrap());
    for name in MODULES {
        let module = find(&wanted("PYRO_TEST_MODULES"), &format!("{name}.ko")).expect("module");
        archive.extend(cpio_entry(&format!("{name}.ko"), 0o100_644, &fs::read(module).unwrap()));
    }
    archive.extend(cpio_entry("TRAILER!!!", 0, b""));
    fs::write(target, archive).unwrap();
    fs::set_permissions(target, fs::Permissions::from_mode(0o444)).unwrap();
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).unwrap().flatten().find_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => find(&entry.path(), name),
        _ => (entry.file_name() == name).then(|| entry.path()),
    })
}

pub(crate) async fn line(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        match byte {
            b'\n' => break,
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The guest's next line; shows the console when there is none.
pub(crate) async fn answered(vm: &mut QemuVm, guest: &mut GuestChannels) -> String {
    match timeout(PATIENCE, line(&mut guest.control)).await {
        Ok(line) if !line.is_empty() => line,
        _ => panic!("no answer: {}", String::from_utf8_lossy(&vm.console_tail())),
    }
}

pub(crate) async fn ask(vm: &mut QemuVm, guest: &mut GuestChannels, word: &str) -> String {
    guest.control.write_all(format!("{word}\n").as_bytes()).await.unwrap();
    answered(vm, guest).await
}

pub(crate) async fn forked(vmm: &QemuVmm, machine: &Machine, template: &Template) -> (QemuVm, GuestChannels) {
    let mut vm = vmm.fork(machine, template).await.unwrap();
    let guest = vm.take_channels().unwrap().arrive().await.unwrap();
    (vm, guest)
}
