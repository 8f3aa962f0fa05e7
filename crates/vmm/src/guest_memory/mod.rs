//! What a fork has written of its memory, copied out of the VMM's process.
//!
//! A fork's memory is a private mapping of its template's file: pages it wrote are the process's own
//! (anonymous, or swapped), all others are the file's. So the file, with the process's own pages written over it,
//! is the memory. The VMM is not asked and cannot lie about more than its own guest: mappings and page tables are
//! the kernel's word, and nothing is written but pages of the size the memory has.

mod mappings;
mod pagemap;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use mappings::{Mapping, mappings};
use pagemap::Pagemap;

use crate::limits::COPY_BYTES_MAX;

/// Copies the pages that process `pid` has of its own, in its private mapping of `base`, to the same places of
/// `to`. Gives their bytes. The process must not write meanwhile. Blocks.
///
/// # Errors
/// When the process is gone or cannot be read (`kernel.yama.ptrace_scope`), or maps the file in another way.
pub(crate) fn copy_own_pages(pid: u32, base: &File, to: &File) -> io::Result<u64> {
    let base = base.metadata()?;
    if to.metadata()?.len() != base.len() {
        return Err(io::Error::other("the two memories have different sizes"));
    }
    let mappings = mappings(pid, base.ino(), base.len())?;
    let mut copy = Copy {
        memory: File::open(format!("/proc/{pid}/mem"))?,
        to,
        buffer: vec![0; COPY_BYTES_MAX],
        bytes: 0,
    };
    let mut pagemap = Pagemap::open(pid)?;
    for mapping in mappings {
        pagemap.own_runs(mapping.start, mapping.end, |start, end| copy.run(mapping, start, end))?;
    }
    Ok(copy.bytes)
}

struct Copy<'a> {
    memory: File,
    to: &'a File,
    buffer: Vec<u8>,
    bytes: u64,
}

impl Copy<'_> {
    /// Copies the addresses from `start` to `end`, which are within the mapping.
    fn run(&mut self, mapping: Mapping, start: u64, end: u64) -> io::Result<()> {
        let mut at = start;
        while at < end {
            let wanted = usize::try_from(end - at).map_or(COPY_BYTES_MAX, |left| left.min(COPY_BYTES_MAX));
            let part = self.buffer.get_mut(..wanted).unwrap_or_default();
            self.memory.read_exact_at(part, at)?;
            self.to.write_all_at(part, mapping.offset + (at - mapping.start))?;
            at += part.len() as u64;
        }
        self.bytes += end - start;
        Ok(())
    }
}
