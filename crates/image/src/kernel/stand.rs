//! A small kernel package for tests, as the tar that `dpkg-deb --fsys-tarfile` gives.

use super::bzimage::tests::image_of;
use super::elf::tests::module_of;

/// What the kernel decompresses to.
pub(crate) fn vmlinux_of(version: &str) -> Vec<u8> {
    let mut vmlinux = module_of(&["name=vmlinux"]);
    vmlinux.extend(version.as_bytes().repeat(1000));
    vmlinux
}

/// A package with a zstd kernel and modules, one of them xz-compressed.
pub(crate) fn package_of(version: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content).unwrap();
    };
    let payload = zstd::bulk::compress(&vmlinux_of(version), 3).unwrap();
    add(&format!("./boot/vmlinuz-{version}"), &image_of(&payload));
    let modules = [
        ("virtio_blk", "virtio"),
        ("virtio_console", "virtio"),
        ("virtio_mmio", "virtio"),
        ("overlay", ""),
        ("unrelated", ""),
    ];
    for (name, depends) in modules {
        add(&format!("./lib/modules/{version}/kernel/{name}.ko"), &module(name, depends));
    }
    let mut packed = liblzma::write::XzEncoder::new(Vec::new(), 1);
    std::io::Write::write_all(&mut packed, &module("virtio", "")).unwrap();
    add(&format!("./lib/modules/{version}/kernel/virtio.ko.xz"), &packed.finish().unwrap());
    add(&format!("./lib/modules/{version}/modules.builtin"), b"kernel/fs/ext4/ext4.ko\n");
    builder.into_inner().unwrap()
}

fn module(name: &str, depends: &str) -> Vec<u8> {
    module_of(&[&format!("name={name}"), &format!("depends={depends}")])
}
