//! The kernel a fork is started with: none, in 400 bytes.
//!
//! A forked machine takes its memory from the template, so the kernel QEMU is given is never run. But the
//! machine must be put together the same way (a kernel given, started through its PVH note), and reading the
//! real one costs tens of milliseconds and as many megabytes. This is the smallest file QEMU accepts in its
//! place: an ELF header, one segment and the PVH note. Its code halts.

/// Where the segment would be loaded.
const LOAD_ADDRESS: u64 = 0x10_0000;
/// Sizes fixed by the ELF specification.
const HEADER_BYTES: u64 = 64;
const SEGMENT_BYTES: u64 = 56;
/// Offsets in the file.
const NOTE_AT: u64 = HEADER_BYTES + 2 * SEGMENT_BYTES;
const NOTE_BYTES: u64 = 12 + 4 + 8;
const CODE_AT: u64 = NOTE_AT + NOTE_BYTES;
/// `cli; hlt; jmp` back to the halt.
const CODE: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];
const FILE_BYTES: u64 = CODE_AT + CODE.len() as u64;

const ELF_IDENT: [u8; 16] = [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const TYPE_EXECUTABLE: u16 = 2;
const MACHINE_X86_64: u16 = 62;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_NOTE: u32 = 4;
const FLAGS_READ_EXECUTE: u32 = 5;
/// `XEN_ELFNOTE_PHYS32_ENTRY` (xen/interface/elfnote.h): the address PVH starts at.
const NOTE_PVH_ENTRY: u32 = 18;

/// The file's bytes.
pub(crate) fn stub_kernel() -> Vec<u8> {
    let entry = LOAD_ADDRESS + CODE_AT;
    let mut file = Vec::with_capacity(FILE_BYTES as usize);
    file.extend(ELF_IDENT);
    file.extend(TYPE_EXECUTABLE.to_le_bytes());
    file.extend(MACHINE_X86_64.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(entry.to_le_bytes());
    file.extend(HEADER_BYTES.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    for half in [HEADER_BYTES as u16, SEGMENT_BYTES as u16, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(segment(SEGMENT_LOAD, 0, FILE_BYTES, 0x1000));
    file.extend(segment(SEGMENT_NOTE, NOTE_AT, NOTE_BYTES, 4));
    for word in [4u32, 8, NOTE_PVH_ENTRY] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"Xen\0");
    file.extend(entry.to_le_bytes());
    file.extend(CODE);
    file
}

fn segment(kind: u32, offset: u64, length: u64, alignment: u64) -> Vec<u8> {
    let address = LOAD_ADDRESS + offset;
    let mut bytes = Vec::with_capacity(SEGMENT_BYTES as usize);
    bytes.extend(kind.to_le_bytes());
    bytes.extend(FLAGS_READ_EXECUTE.to_le_bytes());
    for word in [offset, address, address, length, length, alignment] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_match_what_is_written() {
        // Promise: the note and the code are where the headers say.
        let file = stub_kernel();
        assert_eq!(file.len() as u64, FILE_BYTES);
        assert_eq!(&file[NOTE_AT as usize + 12..NOTE_AT as usize + 16], b"Xen\0");
        assert_eq!(&file[CODE_AT as usize..], CODE);
    }
}
