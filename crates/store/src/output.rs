//! What is kept of one stream of a command's output: its beginning and its end, in a file of bounded size.
//!
//! ```text
//!   magic, total bytes │ head: the first 512 KiB │ ring: the last 512 KiB, and one piece more
//! ```
//!
//! The total is written behind each piece. The piece more is what lets a reader go on while somebody appends,
//! and after a crash: a piece that is not counted yet overwrites only what is no longer promised.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::limits::{HISTORY_HEAD_BYTES, HISTORY_PIECE_BYTES_MAX, HISTORY_TAIL_BYTES};

const MAGIC: [u8; 8] = *b"pyroout1";
const TOTAL_AT: u64 = 8;
const HEAD_AT: u64 = 16;
const RING_AT: u64 = HEAD_AT + HISTORY_HEAD_BYTES;
const RING_BYTES: u64 = HISTORY_TAIL_BYTES + HISTORY_PIECE_BYTES_MAX;

/// The writing side; there is one per file.
#[derive(Debug)]
pub struct OutputWriter {
    file: File,
    total: u64,
}

/// The reading side; valid while the file is appended to, and when its writer has crashed.
#[derive(Debug)]
pub struct OutputReader {
    file: File,
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
    pub fn create(path: &Path) -> io::Result<OutputWriter> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let mut header = MAGIC.to_vec();
        header.extend(0u64.to_le_bytes());
        file.write_all_at(&header, 0)?;
        Ok(OutputWriter { file, total: 0 })
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (at, room) = place_of(self.total);
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
        let file = File::open(path)?;
        let mut magic = [0; MAGIC.len()];
        file.read_exact_at(&mut magic, 0)?;
        if magic != MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(OutputReader { file })
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
        let mut offset = first_kept(offset, total).min(total);
        let (at, room) = place_of(offset);
        let length = room.min(total - offset).min(bytes_max as u64);
        let mut bytes = vec![0; to_usize(length)];
        self.file.read_exact_at(&mut bytes, at)?;
        // What was appended meanwhile may have gone over the front of what was read.
        let intact = first_kept(offset, self.total()?);
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

/// Where in the file the byte at `offset` is, and how many may be written or read there at once.
fn place_of(offset: u64) -> (u64, u64) {
    let (at, room) = match offset.checked_sub(HISTORY_HEAD_BYTES) {
        None => (HEAD_AT + offset, HISTORY_HEAD_BYTES - offset),
        Some(behind) => (RING_AT + behind % RING_BYTES, RING_BYTES - behind % RING_BYTES),
    };
    (at, room.min(HISTORY_PIECE_BYTES_MAX))
}

/// The first byte from `offset` on that is kept when there are `total`.
fn first_kept(offset: u64, total: u64) -> u64 {
    if offset < HISTORY_HEAD_BYTES { offset } else { offset.max(total.saturating_sub(HISTORY_TAIL_BYTES)) }
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
        let mut writer = OutputWriter::create(path).unwrap();
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
                let bound = HEAD_AT + HISTORY_HEAD_BYTES + RING_BYTES;
                assert!(std::fs::metadata(&path).unwrap().len() <= bound);
            }
        }
    }

    /// A reader beside a writer never sees a wrong byte, and its gaps only ever skip forward.
    #[test]
    fn reading_beside_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut writer = OutputWriter::create(&path).unwrap();
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

    /// A crash in the middle of a write costs what was not counted yet, and nothing that was.
    #[test]
    fn a_torn_write_spoils_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let total = 2 * (HISTORY_HEAD_BYTES + HISTORY_TAIL_BYTES) + 99;
        let writer = write(&path, total, 10_000);
        let (at, room) = place_of(total);
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
        std::fs::write(&path, [&MAGIC[..], &u64::MAX.to_le_bytes()].concat()).unwrap();
        let reader = OutputReader::open(&path).unwrap();
        assert!(reader.read_from(0, 100).is_err() && reader.kept().is_err());
        assert!(reader.read_from(u64::MAX, 100).unwrap().bytes.is_empty());
    }
}
