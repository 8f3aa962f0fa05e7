//! A template's key: one digest over everything that must be equal for a fork to be the same machine.

use std::fs::File;
use std::io::Read;

use sha2::{Digest, Sha256};

use crate::arguments::guest_visible;
use crate::kernel_line::ALWAYS;
use crate::limits::PROCESSOR_BYTES_MAX;
use crate::machine::Shape;

/// Changes with the way templates are made, so that old ones are not used.
const GENERATION: &str = "pyro-template-2";

/// Changes with the way images of memories are made.
const MEMORY_FORMAT: &str = "1";

/// What a key is made of.
#[derive(Debug, Clone, Copy)]
pub struct KeyInputs<'a> {
    /// Processor, memory and channel.
    pub shape: Shape,
    /// The VMM and its version, such as `qemu 7.2.22`.
    pub vmm: &'a str,
    /// Everything else by name and digest: kernel, initramfs, base image, blank, kernel arguments. The order
    /// counts, as the order of disks does for the guest.
    pub parts: &'a [(&'a str, &'a str)],
}

/// The key, 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TemplateKey(String);

impl TemplateKey {
    /// Computes the key.
    pub fn new(inputs: &KeyInputs<'_>) -> Self {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        };
        add(GENERATION);
        add(inputs.vmm);
        add(&inputs.shape.accelerator().to_string());
        add(&inputs.shape.memory_mib().to_string());
        guest_visible(inputs.shape).iter().for_each(|argument| add(argument));
        ALWAYS.iter().for_each(|&word| add(word));
        add(&host_processor());
        for (name, value) in inputs.parts {
            add(name);
            add(value);
        }
        Self(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The key of an image of a guest's memory, for guests that are spoken to by `protocol`. Which disk it belongs to is
    /// no part of it, nor is the kernel, which is in the memory.
    pub fn of_memory(shape: Shape, vmm: &str, protocol: u16) -> Self {
        let protocol = protocol.to_string();
        let parts = [("memory", MEMORY_FORMAT), ("protocol", protocol.as_str())];
        Self::new(&KeyInputs { shape, vmm, parts: &parts })
    }

    /// Reads a key that [`TemplateKey::as_str`] gave; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let valid =
            text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        valid.then(|| Self(text.to_owned()))
    }

    /// The key as text, fit for a directory's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The host's processor: its model and microcode decide what a KVM guest has seen and which of its faults were mended,
/// and its clock rate what a TCG guest was told. Empty when the kernel does not say.
pub fn host_processor() -> String {
    identity_of(&read_first_processor())
}

/// What decides, of the text of `/proc/cpuinfo`: not the clock of the moment, nor which processor it was.
fn identity_of(info: &str) -> String {
    let first = info.split("\n\n").next().unwrap_or_default();
    let wanted = ["vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags"];
    first
        .lines()
        .filter(|line| line.split_once(':').is_some_and(|(name, _)| wanted.contains(&name.trim())))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Only the beginning is read: the kernel composes the file as it is read, slowly where there are many.
fn read_first_processor() -> String {
    let mut info = Vec::new();
    match File::open("/proc/cpuinfo").and_then(|file| file.take(PROCESSOR_BYTES_MAX).read_to_end(&mut info)) {
        Ok(_) => String::from_utf8_lossy(&info).into_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Accelerator, Transport};

    fn key(accelerator: Accelerator, vcpus: u32, mib: u32, vmm: &str, parts: &[(&str, &str)]) -> TemplateKey {
        let shape = Shape::new(accelerator, Transport::Serial, vcpus, mib).unwrap();
        TemplateKey::new(&KeyInputs { shape, vmm, parts })
    }

    #[test]
    fn a_key_is_of_one_transport() {
        // Promise: no template or memory of a guest on virtio-serial is forked as one on vsock, or the other way.
        let on = |transport| {
            let shape = Shape::new(Accelerator::Kvm, transport, 1, 1024).unwrap();
            let template = TemplateKey::new(&KeyInputs { shape, vmm: "qemu 7.2.0", parts: &[] });
            [template, TemplateKey::of_memory(shape, "qemu 7.2.0", 1)]
        };
        assert!(on(Transport::Serial).iter().all(|key| !on(Transport::Vsock).contains(key)));
    }

    #[test]
    fn a_processor_is_its_model_and_its_microcode() {
        // Promise: a guest that has probed one processor is never forked on another, nor under newer microcode.
        let info = |model: u32, microcode: &str, mhz: &str| {
            identity_of(&format!(
                "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: {model}\nmicrocode\t: {microcode}\ncpu MHz\t\t: {mhz}\n\nprocessor\t: 1\n"
            ))
        };
        let one = info(25, "0xa0011d1", "2450.000");
        assert_eq!(one, info(25, "0xa0011d1", "3100.501"), "its clock of the moment is no part of it");
        assert_ne!(one, info(25, "0xa0011d3", "2450.000"));
        assert_ne!(one, info(26, "0xa0011d1", "2450.000"));
    }

    #[test]
    fn every_input_changes_the_key_and_nothing_else_does() {
        // Promise: no two different machines share a template, and the same machine finds its own.
        use Accelerator::{Kvm, Tcg};
        let keys = [
            key(Tcg, 1, 1024, "qemu 7.2.0", &[("kernel", "a"), ("initrd", "b")]),
            key(Kvm, 1, 1024, "qemu 7.2.0", &[("kernel", "a"), ("initrd", "b")]),
            key(Tcg, 2, 1024, "qemu 7.2.0", &[("kernel", "a"), ("initrd", "b")]),
            key(Tcg, 1, 2048, "qemu 7.2.0", &[("kernel", "a"), ("initrd", "b")]),
            key(Tcg, 1, 1024, "qemu 7.2.1", &[("kernel", "a"), ("initrd", "b")]),
            key(Tcg, 1, 1024, "qemu 7.2.0", &[("kernel", "ai"), ("nitrd", "b")]),
            key(Tcg, 1, 1024, "qemu 7.2.0", &[("initrd", "b"), ("kernel", "a")]),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(keys[0], key(Tcg, 1, 1024, "qemu 7.2.0", &[("kernel", "a"), ("initrd", "b")]));
        assert_eq!(keys[0].as_str().len(), 64);
    }
}
