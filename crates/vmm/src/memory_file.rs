//! Files that live in memory only, to be opened by QEMU.
//!
//! Such a file is on no mount: Landlock has no rule for it and needs none, and any user id may open it
//! through an inherited descriptor.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};

use crate::stub_kernel::stub_kernel;

const COPY_BYTES: usize = 1 << 20;

/// The kernel a fork is started with.
pub(crate) fn kernel_stub() -> io::Result<File> {
    let mut file = memory_file("kernel")?;
    file.write_all(&stub_kernel())?;
    Ok(file)
}

/// A copy of a file, holes kept.
pub(crate) fn sparse_copy(source: &File) -> io::Result<File> {
    let copy = memory_file("ram")?;
    let length = source.metadata()?.len();
    copy.set_len(length)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while let Some(start) = next_data(source, at)? {
        at = seek(source, SeekFrom::Hole(start))?;
        copy_range(source, &copy, start, at, &mut buffer)?;
    }
    Ok(copy)
}

fn memory_file(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// Where data begins at or after an offset; `None` when there is none to the end.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some(start)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn copy_range(from: &File, to: &File, mut at: u64, end: u64, buffer: &mut [u8]) -> io::Result<()> {
    while at < end {
        let wanted = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        from.read_exact_at(part, at)?;
        to.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_is_the_same_and_as_sparse() {
        // Promise: where a template cannot be opened read-only, a fork gets the same memory.
        let source = tempfile::tempfile().unwrap();
        source.set_len(64 << 20).unwrap();
        for at in [0, (3 << 20) + 5, (64 << 20) - 7] {
            source.write_all_at(b"content", at).unwrap();
        }
        let copy = sparse_copy(&source).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 64 << 20);
        assert!(copy.metadata().unwrap().blocks() * 512 < 1 << 20);
        for at in [0, (3 << 20) + 5, (64 << 20) - 7] {
            let mut bytes = [0; 7];
            copy.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(&bytes, b"content");
        }
    }

    #[test]
    fn an_empty_file_is_copied() {
        // Promise: copying ends, whatever the file.
        assert_eq!(sparse_copy(&tempfile::tempfile().unwrap()).unwrap().metadata().unwrap().len(), 0);
    }
}
