//! The little of ELF that is needed: is this a 64-bit x86 file, and what does a module's `.modinfo` section say.
//! Decoding is total: malformed files give `None`.

/// File offsets of ELF64's header fields, elf(5).
const SECTION_TABLE: usize = 0x28;
const SECTION_ENTRY_BYTES: usize = 0x3a;
const SECTION_COUNT: usize = 0x3c;
const SECTION_NAMES: usize = 0x3e;
/// Offsets in a section's entry.
const ENTRY_OFFSET: usize = 0x18;
const ENTRY_SIZE: usize = 0x20;

/// ELF, 64 bit, little endian, x86-64.
pub(super) fn is_x86_64(file: &[u8]) -> bool {
    file.starts_with(b"\x7fELF\x02\x01") && u16_at(file, 0x12) == Some(62)
}

/// The value of a key in a module's `.modinfo`; `None` also when there is no such section.
pub(super) fn modinfo<'a>(file: &'a [u8], key: &str) -> Option<&'a str> {
    if !is_x86_64(file) {
        return None;
    }
    section(file, b".modinfo")?.split(|byte| *byte == 0).find_map(|entry| {
        let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        (name == key).then_some(value)
    })
}

fn section<'a>(file: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let names = section_at(file, u16_at(file, SECTION_NAMES)?)?;
    let count = u16_at(file, SECTION_COUNT)?;
    (0..count).find_map(|index| {
        let name = names.get(u32_at(file, entry(file, index)?)? as usize..)?;
        let found = name.split(|byte| *byte == 0).next()? == wanted;
        found.then(|| section_at(file, index)).flatten()
    })
}

fn section_at(file: &[u8], index: u16) -> Option<&[u8]> {
    let entry = entry(file, index)?;
    let offset = usize::try_from(u64_at(file, entry.checked_add(ENTRY_OFFSET)?)?).ok()?;
    let size = usize::try_from(u64_at(file, entry.checked_add(ENTRY_SIZE)?)?).ok()?;
    file.get(offset..offset.checked_add(size)?)
}

fn entry(file: &[u8], index: u16) -> Option<usize> {
    let table = usize::try_from(u64_at(file, SECTION_TABLE)?).ok()?;
    let size = usize::from(u16_at(file, SECTION_ENTRY_BYTES)?);
    table.checked_add(usize::from(index).checked_mul(size)?)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..offset.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A minimal module whose `.modinfo` holds these entries.
    pub(in crate::kernel) fn module_of(entries: &[&str]) -> Vec<u8> {
        let names = b"\0.shstrtab\0.modinfo\0";
        let info: Vec<u8> = entries.iter().flat_map(|entry| [entry.as_bytes(), b"\0"].concat()).collect();
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[0x12] = 62;
        file.extend(names);
        file.extend(&info);
        let table = file.len() as u64;
        file[SECTION_TABLE..SECTION_TABLE + 8].copy_from_slice(&table.to_le_bytes());
        file[SECTION_ENTRY_BYTES] = 64;
        file[SECTION_COUNT] = 3;
        file[SECTION_NAMES] = 1;
        let sections = [(0, 0, 0), (1, 64, names.len()), (11, 64 + names.len(), info.len())];
        for (name, offset, size) in sections {
            let mut entry = vec![0; 64];
            entry[..4].copy_from_slice(&(name as u32).to_le_bytes());
            entry[ENTRY_OFFSET..ENTRY_OFFSET + 8].copy_from_slice(&(offset as u64).to_le_bytes());
            entry[ENTRY_SIZE..ENTRY_SIZE + 8].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend(entry);
        }
        file
    }

    /// Keeps: a module's dependencies are read from where the kernel's build puts them.
    #[test]
    fn modinfo_is_read() {
        let module = module_of(&["license=GPL", "depends=virtio,virtio_ring", "name=virtio_blk"]);
        assert_eq!(modinfo(&module, "depends"), Some("virtio,virtio_ring"));
        assert_eq!(modinfo(&module, "name"), Some("virtio_blk"));
        assert_eq!(modinfo(&module, "absent"), None);
    }

    proptest::proptest! {
        /// Keeps: a module with any bytes changed is read or refused, without a panic.
        #[test]
        fn hostile_modules_are_harmless(changes: Vec<(u16, u8)>) {
            let mut module = module_of(&["depends=a", "name=b"]);
            for (place, byte) in changes {
                let place = usize::from(place) % module.len();
                module[place] = byte;
            }
            let _ = modinfo(&module, "depends");
        }
    }
}
