//! Maps of sparse files: GNU's own headers, and GNU's three ways with PAX attributes (GNU tar's manual,
//! "Storing Sparse Files"). A map that does not fit is refused, never guessed.

use super::attributes::Attributes;
use super::blocks::{BLOCK_BYTES, Block, Blocks};
use super::error::{ArchiveError, Refusal};
use super::number;
use crate::limits::ARCHIVE_SPARSE_RUNS_MAX;

/// Runs in a GNU header, and in each block behind it (tar(5)).
const HEADER_RUNS: (usize, usize) = (386, 4);
const HEADER_MORE: usize = 482;
const HEADER_SIZE: std::ops::Range<usize> = 483..495;
const EXTENSION_RUNS: (usize, usize) = (0, 21);
const EXTENSION_MORE: usize = 504;
/// Bytes of a number in them.
const NUMBER_BYTES: usize = 12;
/// Longest line of a map in front of the contents.
const LINE_BYTES_MAX: usize = 20;

/// Which bytes of a file an archive has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Length of the file.
    pub(super) bytes: u64,
    /// Offset and length of each run, rising; they lie in the archive one behind the other.
    pub(super) runs: Vec<(u64, u64)>,
}

impl Layout {
    /// All of a file.
    pub(super) fn whole(bytes: u64) -> Layout {
        Layout { bytes, runs: vec![(0, bytes)] }
    }

    /// Checks a map against the file and against what the archive has of it.
    fn checked(bytes: u64, runs: Vec<(u64, u64)>, stored: u64) -> Result<Layout, Refusal> {
        let mut reached = 0;
        let mut sum: u64 = 0;
        for (offset, length) in &runs {
            let end = offset.checked_add(*length).ok_or(Refusal::SparseMap)?;
            if *offset < reached || end > bytes {
                return Err(Refusal::SparseMap);
            }
            reached = end;
            sum += length;
        }
        match sum == stored && i64::try_from(bytes).is_ok() {
            true => Ok(Layout { bytes, runs }),
            false => Err(Refusal::SparseMap),
        }
    }

    /// GNU's own map, from the header and the blocks that continue it.
    pub(super) fn of_header(
        header: &Block,
        stored: u64,
        blocks: &mut Blocks<'_>,
    ) -> Result<Result<Layout, Refusal>, ArchiveError> {
        let Some(bytes) = header.get(HEADER_SIZE).and_then(unsigned) else {
            return Ok(Err(Refusal::SparseMap));
        };
        let mut runs = Vec::new();
        let mut is_sound = gather(header, HEADER_RUNS, &mut runs);
        let mut has_more = header.get(HEADER_MORE).is_some_and(|byte| *byte != 0);
        while has_more && is_sound {
            let block = blocks.block("a map of holes is not all there")?;
            is_sound = gather(&block, EXTENSION_RUNS, &mut runs) && runs.len() <= ARCHIVE_SPARSE_RUNS_MAX;
            has_more = block.get(EXTENSION_MORE).is_some_and(|byte| *byte != 0);
        }
        Ok(match is_sound {
            true => Layout::checked(bytes, runs, stored),
            false => Err(Refusal::SparseMap),
        })
    }

    /// The map that PAX attributes give or announce, with the bytes that it takes in front of the contents;
    /// `None` when they say nothing of holes.
    pub(super) fn of_attributes(
        attributes: &Attributes,
        stored: u64,
        blocks: &mut Blocks<'_>,
    ) -> Result<Result<Option<(Layout, u64)>, Refusal>, ArchiveError> {
        if !attributes.iter().any(|(key, _)| key.starts_with(b"GNU.sparse.")) {
            return Ok(Ok(None));
        }
        let number = |key| attributes.get(key).and_then(number::decimal);
        let version = (number("GNU.sparse.major"), number("GNU.sparse.minor"));
        let bytes = number("GNU.sparse.realsize").or_else(|| number("GNU.sparse.size"));
        let (Some(bytes), (None, None) | (Some(0), Some(0 | 1)) | (Some(1), Some(0))) = (bytes, version)
        else {
            return Ok(Err(Refusal::SparseMap));
        };
        if version.0 == Some(1) {
            return Ok(match map_in_front(stored, blocks)? {
                Ok((runs, taken)) => {
                    Layout::checked(bytes, runs, stored - taken).map(|layout| Some((layout, taken)))
                }
                Err(refusal) => Err(refusal),
            });
        }
        let numbers: Option<Vec<u64>> = match attributes.get("GNU.sparse.map") {
            Some(map) => map.split(|byte| *byte == b',').map(number::decimal).collect(),
            None => {
                let mut wanted =
                    [b"GNU.sparse.offset".as_slice(), b"GNU.sparse.numbytes"].into_iter().cycle();
                let pairs = attributes
                    .iter()
                    .filter(|(key, _)| matches!(*key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes"));
                pairs
                    .map(|(key, value)| number::decimal(value).filter(|_| wanted.next() == Some(key)))
                    .collect()
            }
        };
        let runs = numbers.and_then(|numbers| paired(&numbers));
        Ok(match runs {
            Some(runs) => Layout::checked(bytes, runs, stored).map(|layout| Some((layout, 0))),
            None => Err(Refusal::SparseMap),
        })
    }
}

/// Runs and the bytes that their map took.
type InFront = (Vec<(u64, u64)>, u64);

/// A map of decimal lines in front of the contents: how many runs, then offset and length of each.
fn map_in_front(stored: u64, blocks: &mut Blocks<'_>) -> Result<Result<InFront, Refusal>, ArchiveError> {
    let mut numbers = Vec::new();
    let mut line = Vec::new();
    let mut taken = 0;
    loop {
        if taken + BLOCK_BYTES as u64 > stored {
            return Ok(Err(Refusal::SparseMap));
        }
        let block = blocks.block("a map of holes is not all there")?;
        taken += BLOCK_BYTES as u64;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > LINE_BYTES_MAX {
                    return Ok(Err(Refusal::SparseMap));
                }
                continue;
            }
            let Some(number) = number::decimal(&line) else { return Ok(Err(Refusal::SparseMap)) };
            line.clear();
            numbers.push(number);
            let wanted = numbers.first().copied().unwrap_or(0);
            if wanted > ARCHIVE_SPARSE_RUNS_MAX as u64 {
                return Ok(Err(Refusal::SparseMap));
            }
            if numbers.len() as u64 == 1 + 2 * wanted {
                // The rest of the block fills it up.
                let runs = numbers.get(1..).and_then(paired).unwrap_or_default();
                return Ok(Ok((runs, taken)));
            }
        }
    }
}

fn paired(numbers: &[u64]) -> Option<Vec<(u64, u64)>> {
    let pairs = numbers.chunks(2).map(|pair| match pair {
        [offset, length] => Some((*offset, *length)),
        _ => None,
    });
    pairs.collect()
}

/// Reads the runs of a header or of a block behind it; an empty one is the last.
fn gather(block: &Block, (start, count): (usize, usize), runs: &mut Vec<(u64, u64)>) -> bool {
    let fields = block.get(start..start + 2 * NUMBER_BYTES * count).unwrap_or_default();
    for pair in fields.chunks(2 * NUMBER_BYTES) {
        let Some((offset, length)) = pair.split_at_checked(NUMBER_BYTES) else { return false };
        if offset.first() == Some(&0) || length.first() == Some(&0) {
            return true;
        }
        match (unsigned(offset), unsigned(length)) {
            (Some(offset), Some(length)) => runs.push((offset, length)),
            _ => return false,
        }
    }
    true
}

fn unsigned(field: &[u8]) -> Option<u64> {
    number::parse(field).and_then(|number| u64::try_from(number).ok())
}
