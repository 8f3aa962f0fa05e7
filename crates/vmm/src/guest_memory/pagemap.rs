//! Which pages a process has of its own, from `/proc/PID/pagemap` (Documentation/admin-guide/mm/pagemap.rst).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::limits::PAGEMAP_PAGES_MAX;

/// Bytes of a page, and of its entry.
const PAGE_BYTES: u64 = 4096;
const ENTRY_BYTES: usize = 8;

/// The page is in memory; swapped out; a page of a file (or shared).
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

/// One process's page tables.
pub(super) struct Pagemap {
    file: File,
    buffer: Vec<u8>,
}

impl Pagemap {
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/pagemap"))?;
        Ok(Self { file, buffer: vec![0; PAGEMAP_PAGES_MAX * ENTRY_BYTES] })
    }

    /// Calls `visit` for each longest run of own pages between two addresses at page bounds, as addresses. Runs
    /// that were looked up in two steps come as two.
    pub(super) fn own_runs(
        &mut self,
        start: u64,
        end: u64,
        mut visit: impl FnMut(u64, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut page, last) = (start / PAGE_BYTES, end / PAGE_BYTES);
        while page < last {
            let pages = usize::try_from(last - page).map_or(PAGEMAP_PAGES_MAX, |n| n.min(PAGEMAP_PAGES_MAX));
            let entries = self.buffer.get_mut(..pages * ENTRY_BYTES).unwrap_or_default();
            self.file.read_exact_at(entries, page * ENTRY_BYTES as u64)?;
            for_each_run(entries, |from, to| visit((page + from) * PAGE_BYTES, (page + to) * PAGE_BYTES))?;
            page += pages as u64;
        }
        Ok(())
    }
}

fn for_each_run(entries: &[u8], mut visit: impl FnMut(u64, u64) -> io::Result<()>) -> io::Result<()> {
    let mut begun = None;
    let mut number = 0;
    for entry in entries.as_chunks().0 {
        match (is_own(u64::from_ne_bytes(*entry)), begun) {
            (true, None) => begun = Some(number),
            (false, Some(from)) => {
                visit(from, number)?;
                begun = None;
            }
            _ => {}
        }
        number += 1;
    }
    begun.map_or(Ok(()), |from| visit(from, number))
}

fn is_own(entry: u64) -> bool {
    entry & (PRESENT | SWAPPED) != 0 && entry & OF_FILE == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(entries: &[u64]) -> Vec<(u64, u64)> {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_ne_bytes()).collect();
        let mut runs = Vec::new();
        for_each_run(&bytes, |from, to| {
            runs.push((from, to));
            Ok(())
        })
        .unwrap();
        runs
    }

    #[test]
    fn own_pages_are_those_in_memory_or_swap_and_of_no_file() {
        // Promise: every page a fork wrote is copied, swapped out or not, and no other.
        let (own, swapped, of_file) = (PRESENT, SWAPPED, PRESENT | OF_FILE);
        assert_eq!(runs(&[0, own, swapped, of_file, own, 0, own]), [(1, 3), (4, 5), (6, 7)]);
        assert_eq!(runs(&[own, own]), [(0, 2)]);
        assert_eq!(runs(&[0, of_file]), []);
        assert_eq!(runs(&[]), []);
    }
}
