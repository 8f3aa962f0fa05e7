//! Files that live in memory only, to be opened by QEMU.
//!
//! Such a file is on no mount: Landlock has no rule for it and needs none, and any user id may open it
//! through an inherited descriptor.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::sparse::copy_sparse;
use crate::stub_kernel::stub_kernel;

/// The kernel a fork is started with.
pub(crate) fn kernel_stub() -> io::Result<File> {
    let mut file = memory_file("kernel")?;
    file.write_all(&stub_kernel())?;
    Ok(file)
}

/// A copy of a file, holes kept.
pub(crate) fn memory_copy(source: &File) -> io::Result<File> {
    let copy = memory_file("ram")?;
    copy.set_len(source.metadata()?.len())?;
    copy_sparse(source, &copy)?;
    Ok(copy)
}

fn memory_file(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_in_memory_is_the_same_and_as_sparse() {
        // Promise: where a template cannot be opened read-only, a fork gets the same memory.
        let source = tempfile::tempfile().unwrap();
        source.set_len(64 << 20).unwrap();
        source.write_all_at(b"content", (3 << 20) + 5).unwrap();
        let copy = memory_copy(&source).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 64 << 20);
        assert!(copy.metadata().unwrap().blocks() * 512 < 1 << 20);
        let mut bytes = [0; 7];
        copy.read_exact_at(&mut bytes, (3 << 20) + 5).unwrap();
        assert_eq!(&bytes, b"content");
    }
}
