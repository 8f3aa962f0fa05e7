//! The reading side of a log; valid while it is written, rotated, or when its writer has crashed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::segment::Segment;
use crate::OutputPiece;
use crate::limits::LOG_BLOCK_BYTES;

/// Reads a log.
#[derive(Debug)]
pub struct LogReader {
    directory: PathBuf,
}

impl LogReader {
    /// A log that is there.
    pub fn open(directory: &Path) -> io::Result<LogReader> {
        Segment::all(directory)?;
        Ok(LogReader { directory: directory.to_owned() })
    }

    /// Bytes of the whole log, kept or not.
    pub fn total(&self) -> io::Result<u64> {
        let segments = Segment::all(&self.directory)?;
        let Some(last) = segments.last() else { return Ok(0) };
        Ok(last.start.saturating_add(std::fs::metadata(&last.path)?.len()))
    }

    /// The first byte that is kept.
    pub fn first(&self) -> io::Result<u64> {
        Ok(Segment::all(&self.directory)?.first().map_or(0, |segment| segment.start))
    }

    /// At most `bytes_max` bytes from `offset` on, or from the first one behind it that is kept.
    pub fn read_from(&self, offset: u64, bytes_max: usize) -> io::Result<OutputPiece> {
        let mut offset = offset;
        for segment in Segment::all(&self.directory)? {
            let file = match File::open(&segment.path) {
                Ok(file) => file,
                // The oldest has just gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            offset = offset.max(segment.start);
            let bytes = read_at(&file, offset - segment.start, bytes_max)?;
            if !bytes.is_empty() {
                return Ok(OutputPiece { offset, bytes });
            }
        }
        Ok(OutputPiece { offset, bytes: Vec::new() })
    }

    /// The offset from which on there are so many whole lines. It is found from the end, however long the log is.
    pub fn tail(&self, lines: u64) -> io::Result<u64> {
        if lines == 0 {
            return self.total();
        }
        let mut left = lines;
        for segment in Segment::all(&self.directory)?.iter().rev() {
            let file = match File::open(&segment.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            if let Some(at) = tail_of(&file, &mut left)? {
                return Ok(segment.start.saturating_add(at));
            }
        }
        self.first()
    }
}

fn read_at(file: &File, at: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
    let left = file.metadata()?.len().saturating_sub(at);
    if left == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(bytes_max)];
    let count = file.read_at(&mut bytes, at)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Where in a file the last `left` lines begin; those that are in it are taken off when there are fewer.
///
/// A line begins behind the end of the one before, which is a record with `F`; parts of lines that belong to it come
/// between the two.
fn tail_of(file: &File, left: &mut u64) -> io::Result<Option<u64>> {
    let mut end = file.metadata()?.len();
    // The beginning of the record that a block begins in the middle of.
    let mut carried: Vec<u8> = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(LOG_BLOCK_BYTES as u64);
        let mut block = read_at(file, start, usize::try_from(end - start).unwrap_or(0))?;
        block.extend_from_slice(&carried);
        let mut behind = block.len();
        while let Some(newline) = newline_before(&block, behind) {
            // The record between this newline and the next one.
            if is_whole(block.get(newline + 1..behind).unwrap_or_default()) && take(left) {
                return Ok(Some(start + behind as u64));
            }
            behind = newline + 1;
        }
        carried = block.get(..behind).unwrap_or_default().to_vec();
        end = start;
    }
    Ok((is_whole(&carried) && take(left)).then_some(carried.len() as u64))
}

/// Counts the end of a line, seen from behind: `true` when as many lines lie behind it as are wanted.
fn take(left: &mut u64) -> bool {
    match left.checked_sub(1) {
        Some(rest) => {
            *left = rest;
            false
        }
        None => true,
    }
}

/// The newline that ends the record before the one that ends at `behind`.
fn newline_before(block: &[u8], behind: usize) -> Option<usize> {
    let before = block.get(..behind.checked_sub(1)?)?;
    before.iter().rposition(|byte| *byte == b'\n')
}

/// Whether a record ends a line.
fn is_whole(record: &[u8]) -> bool {
    record.splitn(4, |byte| *byte == b' ').nth(2) == Some(b"F")
}

#[cfg(test)]
mod tests;
