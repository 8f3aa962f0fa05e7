//! What is kept of one output: its beginning and its end, or its end alone, in a file of bounded size.
//!
//! ```text
//!   magic, total bytes │ head: the first 512 KiB, or nothing │ ring: the last 512 KiB or 1 MiB, and one piece more
//! ```
//!
//! The total is written behind each piece. The piece more is what lets a reader go on while somebody appends,
//! and after a crash: a piece that is not counted yet overwrites only what is no longer promised.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::limits::{HISTORY_HEAD_BYTES, HISTORY_PIECE_BYTES_MAX, HISTORY_TAIL_BYTES, SHELL_OUTPUT_BYTES};

const TOTAL_AT: u64 = 8;
const HEAD_AT: u64 = 16;

/// What of an output is kept when it is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Its beginning and its end, as of a command.
    HeadAndTail,
    /// Its end, as of a shell.
    Tail,
}

/// The writing side; there is one per file.
#[derive(Debug)]
pub struct OutputWriter {
    file: File,
    keep: Keep,
    total: u64,
}

/// The reading side; valid while the file is appended to, and when its writer has crashed.
#[derive(Debug)]
pub struct OutputReader {
    file: File,
    keep: Keep,
}

/// Bytes of an output from some point on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPiece {
    /// Where they start: beyond what was asked for when that is no longer kept.
    pub offset: u64,
    /// The bytes; none at the end of what is there.
    pub bytes: Vec<u8>,
}

/// All that is kept of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its beginning; everything when nothing is cut.
    pub head: Vec<u8>,
    /// Bytes between beginning and end that are not kept.
    pub cut_bytes: u64,
    /// Its end.
    pub tail: Vec<u8>,
}

impl OutputWriter {
    /// Makes the file, which must not be there, readable by its owner alone.
    pub fn create(path: &Path, keep: Keep) -> io::Result<OutputWriter> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let mut header = keep.magic().to_vec();
        header.extend(0u64.to_le_bytes());
        file.write_all_at(&header, 0)?;
        Ok(OutputWriter { file, keep, total: 0 })
    }

    /// Goes on with a file that is there, behind its last byte.
    pub fn append_to(path: &Path) -> io::Result<OutputWriter> {
        let reader =
            OutputReader { file: File::options().read(true).write(true).open(path)?, keep: Keep::Tail };
        let (keep, total) = (reader.read_magic()?, reader.total()?);
        Ok(OutputWriter { file: reader.file, keep, total })
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (at, room) = self.keep.place_of(self.total);
            let (piece, behind) = rest.split_at(rest.len().min(to_usize(room)));
            self.file.write_all_at(piece, at)?;
            self.total = self.total.saturating_add(piece.len() as u64);
            self.file.write_all_at(&self.total.to_le_bytes(), TOTAL_AT)?;
            rest = behind;
        }
        Ok(())
    }

    /// Bytes appended so far.
    pub fn total(&self) -> u64 {
        self.total
    }
}

impl OutputReader {
    /// Opens an output.
    pub fn open(path: &Path) -> io::Result<OutputReader> {
        let reader = OutputReader { file: File::open(path)?, keep: Keep::Tail };
        let keep = reader.read_magic()?;
        Ok(OutputReader { keep, ..reader })
    }

    fn read_magic(&self) -> io::Result<Keep> {
        let mut magic = [0; 8];
        self.file.read_exact_at(&mut magic, 0)?;
        let known = [Keep::HeadAndTail, Keep::Tail].into_iter().find(|keep| keep.magic() == magic);
        known.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Bytes of the output, kept or not.
    pub fn total(&self) -> io::Result<u64> {
        let mut total = [0; 8];
        self.file.read_exact_at(&mut total, TOTAL_AT)?;
        Ok(u64::from_le_bytes(total))
    }

    /// At most `bytes_max` bytes from `offset` on, or from the first one behind it that is kept.
    pub fn read_from(&self, offset: u64, bytes_max: usize) -> io::Result<OutputPiece> {
        let total = self.total()?;
        let mut offset = self.keep.first_kept(offset, total).min(total);
        let (at, room) = self.keep.place_of(offset);
        let length = room.min(total - offset).min(bytes_max as u64);
        let mut bytes = vec![0; to_usize(length)];
        self.file.read_exact_at(&mut bytes, at)?;
        // What was appended meanwhile may have gone over the front of what was read.
        let intact = self.keep.first_kept(offset, self.total()?);
        bytes.drain(..bytes.len().min(to_usize(intact - offset)));
        offset = intact;
        Ok(OutputPiece { offset, bytes })
    }

    /// Everything that is kept.
    pub fn kept(&self) -> io::Result<Kept> {
        let mut kept = Kept::default();
        let mut offset = 0;
        loop {
            let piece = self.read_from(offset, to_usize(HISTORY_PIECE_BYTES_MAX))?;
            if piece.offset > offset {
                // Cut again while it was read: what came before the new gap is part of it now.
                kept.cut_bytes += piece.offset - offset + kept.tail.len() as u64;
                kept.tail.clear();
            }
            if piece.bytes.is_empty() {
                return Ok(kept);
            }
            offset = piece.offset + piece.bytes.len() as u64;
            if kept.cut_bytes == 0 { &mut kept.head } else { &mut kept.tail }.extend(piece.bytes);
        }
    }
}

impl Keep {
    /// What a file begins with.
    fn magic(self) -> [u8; 8] {
        match self {
            Keep::HeadAndTail => *b"pyroout1",
            Keep::Tail => *b"pyrotty1",
        }
    }

    fn head_bytes(self) -> u64 {
        if self == Keep::HeadAndTail { HISTORY_HEAD_BYTES } else { 0 }
    }

    fn tail_bytes(self) -> u64 {
        if self == Keep::HeadAndTail { HISTORY_TAIL_BYTES } else { SHELL_OUTPUT_BYTES }
    }

    fn ring_bytes(self) -> u64 {
        self.tail_bytes() + HISTORY_PIECE_BYTES_MAX
    }

    /// Where in the file the byte at `offset` is, and how many may be written or read there at once.
    fn place_of(self, offset: u64) -> (u64, u64) {
        let (head, ring) = (self.head_bytes(), self.ring_bytes());
        let (at, room) = match offset.checked_sub(head) {
            None => (HEAD_AT + offset, head - offset),
            Some(behind) => (HEAD_AT + head + behind % ring, ring - behind % ring),
        };
        (at, room.min(HISTORY_PIECE_BYTES_MAX))
    }

    /// The first byte from `offset` on that is kept when there are `total`.
    fn first_kept(self, offset: u64, total: u64) -> u64 {
        let is_head = offset < self.head_bytes();
        if is_head { offset } else { offset.max(total.saturating_sub(self.tail_bytes())) }
    }
}

/// For lengths of pieces, which are small.
fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The byte at each offset, so that a wrong one shows.
    fn pattern(offset: u64) -> u8 {
        (offset.wrapping_mul(2_654_435_761) >> 11) as u8
    }

    fn stretch(from: u64, to: u64) -> Vec<u8> {
        (from..to).map(pattern).collect()
    }

    fn write(path: &Path, total: u64, step: u64) -> OutputWriter {
        let mut writer = OutputWriter::create(path, Keep::HeadAndTail).unwrap();
        let mut at = 0;
        while at < total {
            let end = total.min(at + step);
            writer.append(&stretch(at, end)).unwrap();
            at = end;
        }
        writer
    }

    /// Beginning and end of an output of any length are kept, and the gap has the right size.
    #[test]
    fn head_and_tail_are_kept() {
        let both = HISTORY_HEAD_BYTES + HISTORY_TAIL_BYTES;
        let directory = tempfile::tempdir().unwrap();
        let totals = [0, 1, HISTORY_HEAD_BYTES, both - 1, both, both + 1, 3 * both + 12_345];
        for (n, total) in totals.into_iter().enumerate() {
            for step in [7_001, 300_000] {
                let path = directory.path().join(format!("{n}-{step}"));
                assert_eq!(write(&path, total, step).total(), total);
                let kept = OutputReader::open(&path).unwrap().kept().unwrap();
                let cut = total.saturating_sub(both);
                assert_eq!(kept.cut_bytes, cut, "{total}");
                if cut == 0 {
                    assert_eq!(kept.head, stretch(0, total));
                } else {
                    assert_eq!(kept.head, stretch(0, HISTORY_HEAD_BYTES));
                    assert_eq!(kept.tail, stretch(total - HISTORY_TAIL_BYTES, total));
                }
                let bound = HEAD_AT + HISTORY_HEAD_BYTES + Keep::HeadAndTail.ring_bytes();
                assert!(std::fs::metadata(&path).unwrap().len() <= bound);
            }
        }
    }

    /// A reader beside a writer never sees a wrong byte, and its gaps only ever skip forward.
    #[test]
    fn reading_beside_a_writer() {
        read_beside_a_writer(Keep::HeadAndTail);
        read_beside_a_writer(Keep::Tail);
    }

    fn read_beside_a_writer(keep: Keep) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut writer = OutputWriter::create(&path, keep).unwrap();
        let total = 6 * (HISTORY_HEAD_BYTES + HISTORY_TAIL_BYTES);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut at = 0;
                while at < total {
                    let end = total.min(at + 30_011);
                    writer.append(&stretch(at, end)).unwrap();
                    at = end;
                }
            });
            let reader = OutputReader::open(&path).unwrap();
            let mut at = 0;
            while at < total {
                let piece = reader.read_from(at, 50_000).unwrap();
                assert!(piece.offset >= at);
                let end = piece.offset + piece.bytes.len() as u64;
                assert!(piece.bytes == stretch(piece.offset, end), "{at}..{end}");
                at = end;
            }
        });
    }

    /// What a shell prints is kept from its end, across writers, and its losses have a size.
    #[test]
    fn a_tail_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tty");
        drop(OutputWriter::create(&path, Keep::Tail).unwrap());
        let total = 3 * SHELL_OUTPUT_BYTES + 12_345;
        let mut at = 0;
        while at < total {
            let mut writer = OutputWriter::append_to(&path).unwrap();
            assert_eq!(writer.total(), at);
            let end = total.min(at + 300_007);
            writer.append(&stretch(at, end)).unwrap();
            at = end;
        }
        let reader = OutputReader::open(&path).unwrap();
        let piece = reader.read_from(5, 100).unwrap();
        let first = total - SHELL_OUTPUT_BYTES;
        assert_eq!((piece.offset, &piece.bytes), (first, &stretch(first, first + 100)));
        let kept = reader.kept().unwrap();
        assert_eq!((kept.cut_bytes, kept.tail), (first, stretch(first, total)));
        assert!(OutputWriter::append_to(&directory.path().join("none")).is_err());
    }

    /// A crash in the middle of a write costs what was not counted yet, and nothing that was.
    #[test]
    fn a_torn_write_spoils_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let total = 2 * (HISTORY_HEAD_BYTES + HISTORY_TAIL_BYTES) + 99;
        let writer = write(&path, total, 10_000);
        let (at, room) = Keep::HeadAndTail.place_of(total);
        writer.file.write_all_at(&vec![0xEE; room as usize], at).unwrap();
        let kept = OutputReader::open(&path).unwrap().kept().unwrap();
        assert_eq!(kept.tail, stretch(total - HISTORY_TAIL_BYTES, total));
    }

    /// A file that is no output, or one cut short, is an error and no panic.
    #[test]
    fn damage_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        for content in [&b""[..], b"pyroout", b"something else entirely"] {
            std::fs::write(&path, content).unwrap();
            assert!(OutputReader::open(&path).is_err());
        }
        std::fs::write(&path, [&Keep::HeadAndTail.magic()[..], &u64::MAX.to_le_bytes()].concat()).unwrap();
        let reader = OutputReader::open(&path).unwrap();
        assert!(reader.read_from(0, 100).is_err() && reader.kept().is_err());
        assert!(reader.read_from(u64::MAX, 100).unwrap().bytes.is_empty());
    }
}
