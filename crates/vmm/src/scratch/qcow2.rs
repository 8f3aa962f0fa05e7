//! An empty qcow2 file, written from its specification (docs/interop/qcow2.txt).
//!
//! Four clusters: header, refcount table, refcount block, L1 table. The header names no backing file: the one
//! there is, is given to QEMU as a node, so that a file's content can never choose what is opened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{ScratchError, failed, sync_directory};
use crate::limits::SCRATCH_BYTES;

const CLUSTER_BITS: u32 = 16;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// What one L1 entry covers: an L2 table of one cluster of 8-byte entries.
const L1_ENTRY_COVERS_BYTES: u64 = CLUSTER_BYTES / 8 * CLUSTER_BYTES;

const MAGIC: u32 = 0x5146_49fb;
const VERSION: u32 = 3;
const REFCOUNT_TABLE_AT: u64 = CLUSTER_BYTES;
const REFCOUNT_BLOCK_AT: u64 = 2 * CLUSTER_BYTES;
const L1_TABLE_AT: u64 = 3 * CLUSTER_BYTES;
const CLUSTERS: u64 = 4;
/// Refcounts of 16 bits.
const REFCOUNT_ORDER: u32 = 4;
const HEADER_BYTES: u32 = 104;

/// Creates an empty overlay of `bytes` (whole clusters, as large as its backing file) at `path`, which must
/// not exist. The same size gives the same file. It is stored before this returns.
///
/// # Errors
/// When the size cannot be, or the file cannot be written; then no file is left.
pub fn create_overlay(path: &Path, bytes: u64) -> Result<(), ScratchError> {
    create(path, bytes, |file| file.sync_all().and_then(|()| sync_directory(path)))
}

/// The same for a VM whose disk does not outlive it: nothing is waited for to be stored, which takes a busy
/// disk hundreds of milliseconds.
///
/// # Errors
/// As [`create_overlay`].
pub fn create_disposable_overlay(path: &Path, bytes: u64) -> Result<(), ScratchError> {
    create(path, bytes, |_| Ok(()))
}

fn create(path: &Path, bytes: u64, store: impl Fn(&File) -> io::Result<()>) -> Result<(), ScratchError> {
    if !SCRATCH_BYTES.contains(&bytes) || !bytes.is_multiple_of(CLUSTER_BYTES) {
        return Err(ScratchError::Size { bytes });
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed(path))?;
    write_image(&file, bytes).and_then(|()| store(&file)).map_err(|source| {
        // The file was made here and is not whole; that it cannot be removed changes nothing about the error.
        let _left = std::fs::remove_file(path);
        failed(path)(source)
    })
}

fn write_image(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(CLUSTERS * CLUSTER_BYTES)?;
    file.write_all_at(&header(bytes), 0)?;
    file.write_all_at(&REFCOUNT_BLOCK_AT.to_be_bytes(), REFCOUNT_TABLE_AT)?;
    let used = 1u16.to_be_bytes().repeat(CLUSTERS as usize);
    file.write_all_at(&used, REFCOUNT_BLOCK_AT)
}

fn header(bytes: u64) -> Vec<u8> {
    let l1_entries = bytes.div_ceil(L1_ENTRY_COVERS_BYTES) as u32;
    let long = |value: u64| [(value >> 32) as u32, value as u32];
    let words: [&[u32]; 9] = [
        &[MAGIC, VERSION],
        &[0, 0, 0], // no backing file name
        &[CLUSTER_BITS],
        &long(bytes),
        &[0, l1_entries], // no encryption
        &[long(L1_TABLE_AT), long(REFCOUNT_TABLE_AT)].concat(),
        &[1, 0, 0, 0], // one cluster of refcount table, no snapshots
        &[0; 6],       // no incompatible, compatible or autoclear features
        &[REFCOUNT_ORDER, HEADER_BYTES],
    ];
    words.concat().into_iter().flat_map(u32::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::limits::SCRATCH_BYTES_DEFAULT;

    #[test]
    fn the_header_is_as_the_specification_has_it() {
        // Promise: the layout is qcow2 version 3, with no backing file named.
        let header = header(SCRATCH_BYTES_DEFAULT);
        assert_eq!(header.len(), HEADER_BYTES as usize);
        assert_eq!(&header[..8], b"QFI\xfb\0\0\0\x03");
        assert_eq!(header[8..20], [0; 12]);
        assert_eq!(header[24..32], SCRATCH_BYTES_DEFAULT.to_be_bytes());
        assert_eq!(header[36..40], 64u32.to_be_bytes());
        assert_eq!(header[40..48], 0x30000u64.to_be_bytes());
        assert_eq!(header[96..104], [0, 0, 0, 4, 0, 0, 0, 104]);
    }

    #[test]
    fn overlays_are_identical_and_sound() {
        // Promise: an overlay is the same bytes each time, and qemu-img, where present, finds no fault.
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        for bytes in [256 << 20, SCRATCH_BYTES_DEFAULT, 1 << 40] {
            create_overlay(&a, bytes).unwrap();
            create_disposable_overlay(&b, bytes).unwrap();
            assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
            if let Ok(check) = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&a).output() {
                assert!(check.status.success(), "{check:?}");
            }
            std::fs::remove_file(&a).unwrap();
            std::fs::remove_file(&b).unwrap();
        }
    }

    #[test]
    fn an_existing_file_is_never_written_over() {
        // Promise: no lost work.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, b"work").unwrap();
        assert!(create_overlay(&path, 256 << 20).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"work");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        // Promise: a size that does not fit is named before anything is written.
        let directory = tempfile::tempdir().unwrap();
        for bytes in [0, 1 << 20, (256 << 20) + 512, (1 << 40) + CLUSTER_BYTES, u64::MAX] {
            let error = create_overlay(&directory.path().join("a"), bytes).unwrap_err();
            assert!(matches!(error, ScratchError::Size { .. }));
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
