//! Where a process has a file mapped, from `/proc/PID/maps` (proc_pid_maps(5)).

use std::fs::File;
use std::io::{self, Read};

use crate::limits::MAPS_BYTES_MAX;

/// One mapping: addresses, and the offset in the file of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) offset: u64,
}

/// The private, writable mappings of the file with inode number `inode`, which together must be its `bytes`, each
/// once. They are that file's and no other's: a device number would not tell it better, since file systems of
/// several volumes show another one here than `stat` does.
pub(super) fn mappings(pid: u32, inode: u64, bytes: u64) -> io::Result<Vec<Mapping>> {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/maps"))?.take(MAPS_BYTES_MAX).read_to_string(&mut text)?;
    covering(&text, inode, bytes).ok_or_else(|| io::Error::other("the memory is not mapped as it was"))
}

fn covering(text: &str, inode: u64, bytes: u64) -> Option<Vec<Mapping>> {
    let mut found: Vec<Mapping> = text.lines().filter_map(|line| parse(line, inode)).collect();
    found.sort_by_key(|mapping| mapping.offset);
    let mut reached = 0;
    for mapping in &found {
        if mapping.offset != reached {
            return None;
        }
        reached = reached.checked_add(mapping.end.checked_sub(mapping.start)?)?;
    }
    (reached == bytes).then_some(found)
}

/// `7f17-7f18 rw-p 00000000 fe:00 5375304   /path`
fn parse(line: &str, inode: u64) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let wanted = fields.next()? == "rw-p";
    let offset = hexadecimal(fields.next()?)?;
    let _device = fields.next()?;
    let same = fields.next()?.parse() == Ok(inode);
    let mapping = Mapping { start: hexadecimal(start)?, end: hexadecimal(end)?, offset };
    (wanted && same).then_some(mapping)
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAPS: &str = "\
55d0c0000000-55d0c0100000 r-xp 00000000 fe:00 7                          /usr/bin/qemu
7f0000200000-7f0000400000 rw-p 00200000 fe:00 42                         /t/ram (deleted)
7f0000000000-7f0000200000 rw-p 00000000 fe:00 42                         /t/ram (deleted)
7f0000500000-7f0000600000 r--p 00000000 fe:00 42                         /t/ram (deleted)
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
";

    #[test]
    fn the_parts_of_a_memory_are_found() {
        // Promise: a memory that the kernel shows in parts is whole; one that is not, is refused.
        let found = covering(MAPS, 42, 0x40_0000).unwrap();
        assert_eq!(found.iter().map(|mapping| mapping.offset).collect::<Vec<_>>(), [0, 0x20_0000]);
        assert_eq!(found[0].start, 0x7f00_0000_0000);
        for (inode, bytes) in [(42, 0x20_0000), (42, 0x60_0000), (43, 0x40_0000)] {
            assert_eq!(covering(MAPS, inode, bytes), None);
        }
        let twice = format!("{MAPS}7f0001000000-7f0001200000 rw-p 00000000 fe:00 42 /t/ram\n");
        assert_eq!(covering(&twice, 42, 0x40_0000), None, "one part is mapped twice");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-0-9a-frwp :\n]{0,200}") {
            // Promise: whatever a VMM has mapped, its supervisor goes on.
            let _ = covering(&text, 42, 4096);
        }
    }
}
