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
    /// Processor and memory.
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

/// The host's processor: its model decides what a KVM guest has seen, and its clock rate what a TCG guest was
/// told. Empty when the kernel does not say.
pub fn host_processor() -> String {
    let info = read_first_processor();
    let first = info.split("\n\n").next().unwrap_or_default();
    let wanted = ["vendor_id", "cpu family", "model", "model name", "stepping", "flags"];
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
    use crate::machine::Accelerator;

    fn key(accelerator: Accelerator, vcpus: u32, mib: u32, vmm: &str, parts: &[(&str, &str)]) -> TemplateKey {
        let shape = Shape::new(accelerator, vcpus, mib).unwrap();
        TemplateKey::new(&KeyInputs { shape, vmm, parts })
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
