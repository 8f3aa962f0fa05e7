//! An empty overlay: four clusters, header, refcount table, refcount block, L1 table.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::layout::{CLUSTER_BYTES, header, is_size};
use super::{ScratchError, failed, sync_directory};

const REFCOUNT_TABLE_AT: u64 = CLUSTER_BYTES;
const REFCOUNT_BLOCK_AT: u64 = 2 * CLUSTER_BYTES;
const L1_TABLE_AT: u64 = 3 * CLUSTER_BYTES;
const CLUSTERS: u64 = 4;

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
    if !is_size(bytes) {
        return Err(ScratchError::Size { bytes });
    }
    create_file(path, |file| write_image(file, bytes).and_then(|()| store(file)).map_err(failed(path)))
}

/// Creates a file that is there whole or not at all, and never over another.
pub(super) fn create_file<T>(
    path: &Path,
    write: impl FnOnce(&File) -> Result<T, ScratchError>,
) -> Result<T, ScratchError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path).map_err(failed(path))?;
    write(&file).inspect_err(|_| {
        // The file was made here and is not whole; that it cannot be removed changes nothing about the error.
        let _left = std::fs::remove_file(path);
    })
}

fn write_image(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(CLUSTERS * CLUSTER_BYTES)?;
    file.write_all_at(&header(bytes, L1_TABLE_AT, REFCOUNT_TABLE_AT), 0)?;
    file.write_all_at(&REFCOUNT_BLOCK_AT.to_be_bytes(), REFCOUNT_TABLE_AT)?;
    let used = 1u16.to_be_bytes().repeat(CLUSTERS as usize);
    file.write_all_at(&used, REFCOUNT_BLOCK_AT)
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::assert_sound;
    use super::*;
    use crate::limits::SCRATCH_BYTES_DEFAULT;

    #[test]
    fn overlays_are_identical_and_sound() {
        // Promise: an overlay is the same bytes each time, and qemu-img, where present, finds no fault.
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        for bytes in [256 << 20, SCRATCH_BYTES_DEFAULT, 1 << 40] {
            create_overlay(&a, bytes).unwrap();
            create_disposable_overlay(&b, bytes).unwrap();
            assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
            assert_sound(&a);
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
