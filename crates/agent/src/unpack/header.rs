//! One header block of an archive: 512 bytes to plain values. Knows the old, the POSIX (ustar) and the GNU
//! form; numbers are octal text or, beyond that, GNU's base 256.

use super::UnpackError;
use crate::limits::ARCHIVE_SEGMENTS_MAX;

/// Size of a header, and what everything in an archive is rounded up to.
pub(crate) const BLOCK_BYTES: usize = 512;

/// One block.
pub(crate) type Block = [u8; BLOCK_BYTES];

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) device: (u32, u32),
}

/// A piece of a sparse file that the archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// The beginning of a GNU sparse map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pub(crate) segments: Vec<Segment>,
    pub(crate) real_bytes: u64,
    /// Whether the next block goes on with the map.
    pub(crate) continues: bool,
}

/// Whether a block ends an archive.
pub(crate) fn is_end(block: &Block) -> bool {
    block.iter().all(|byte| *byte == 0)
}

impl Header {
    /// Parses a block that is not the end.
    pub(crate) fn parse(block: &Block) -> Result<Header, UnpackError> {
        if octal(field(block, 148, 8))? != checksum(block) {
            return Err(damaged("a header's checksum is wrong"));
        }
        Ok(Header {
            kind: block.get(156).copied().unwrap_or_default(),
            path: path(block),
            link: text(field(block, 157, 100)).to_vec(),
            mode: (number(field(block, 100, 8))? & 0o7777) as u32,
            uid: id(field(block, 108, 8))?,
            gid: id(field(block, 116, 8))?,
            size: number(field(block, 124, 12))?,
            mtime: signed(field(block, 136, 12))?,
            device: (id(field(block, 329, 8))?, id(field(block, 337, 8))?),
        })
    }
}

impl SparseMap {
    /// The map in the header of a sparse file (`S`).
    pub(crate) fn parse(block: &Block) -> Result<SparseMap, UnpackError> {
        let mut map =
            SparseMap { segments: Vec::new(), real_bytes: number(field(block, 483, 12))?, continues: false };
        map.extend(field(block, 386, 96))?;
        map.continues = field(block, 482, 1) != [0];
        Ok(map)
    }

    /// Goes on with a block behind the header.
    pub(crate) fn parse_more(&mut self, block: &Block) -> Result<(), UnpackError> {
        self.extend(field(block, 0, 504))?;
        self.continues = field(block, 504, 1) != [0];
        Ok(())
    }

    fn extend(&mut self, entries: &[u8]) -> Result<(), UnpackError> {
        for entry in entries.chunks_exact(24).filter(|entry| entry.first() != Some(&0)) {
            let (offset, bytes) = entry.split_at(12);
            self.segments.push(Segment { offset: number(offset)?, bytes: number(bytes)? });
        }
        if self.segments.len() > ARCHIVE_SEGMENTS_MAX {
            return Err(damaged("a sparse file has too many pieces"));
        }
        Ok(())
    }
}

fn field(block: &Block, start: usize, length: usize) -> &[u8] {
    block.get(start..start + length).unwrap_or_default()
}

/// Text up to its NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// POSIX splits a long path; GNU uses the same bytes for something else.
fn path(block: &Block) -> Vec<u8> {
    let (name, prefix) = (text(field(block, 0, 100)), text(field(block, 345, 155)));
    if field(block, 257, 6) != b"ustar\0" || prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn checksum(block: &Block) -> u64 {
    let own = 148..156;
    let bytes = block.iter().enumerate();
    bytes.map(|(at, byte)| if own.contains(&at) { u64::from(b' ') } else { u64::from(*byte) }).sum()
}

fn octal(field: &[u8]) -> Result<u64, UnpackError> {
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let digits = field.iter().skip_while(|byte| is_blank(byte)).take_while(|byte| !is_blank(byte));
    digits.copied().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'7' => {
            sum.checked_mul(8).and_then(|sum| sum.checked_add(u64::from(digit - b'0'))).ok_or_else(bad_number)
        }
        _ => Err(bad_number()),
    })
}

/// Octal, or base 256 when the first bit is set.
fn signed(field: &[u8]) -> Result<i64, UnpackError> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            // Two's complement, as wide as the field; the bit below the marker is the sign.
            let start = if first & 0x40 != 0 { -1 } else { i64::from(first & 0x3f) };
            rest.iter().try_fold(start, |sum, byte| {
                sum.checked_mul(256).and_then(|sum| sum.checked_add(i64::from(*byte))).ok_or_else(bad_number)
            })
        }
        _ => i64::try_from(octal(field)?).map_err(|_| bad_number()),
    }
}

fn number(field: &[u8]) -> Result<u64, UnpackError> {
    u64::try_from(signed(field)?).map_err(|_| bad_number())
}

fn id(field: &[u8]) -> Result<u32, UnpackError> {
    u32::try_from(number(field)?).map_err(|_| bad_number())
}

fn bad_number() -> UnpackError {
    damaged("a header holds a number that is none")
}

fn damaged(why: &str) -> UnpackError {
    UnpackError::Damaged(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block() -> Block {
        let mut header = tar::Header::new_gnu();
        header.set_path("usr/bin/sudo").unwrap();
        header.set_mode(0o104_755);
        header.set_uid(70_000);
        header.set_gid(5_000_000);
        header.set_size(9 << 33);
        header.set_mtime(1_700_000_000);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        *header.as_bytes()
    }

    /// Large sizes and ids, and the bits above the permissions, come through.
    #[test]
    fn headers_are_parsed() {
        let header = Header::parse(&block()).unwrap();
        assert_eq!((header.path.as_slice(), header.kind, header.mode), (&b"usr/bin/sudo"[..], b'0', 0o4755));
        assert_eq!(
            (header.uid, header.gid, header.size, header.mtime),
            (70_000, 5_000_000, 9 << 33, 1_700_000_000)
        );
    }

    /// A flipped bit is noticed.
    #[test]
    fn a_checksum_is_checked() {
        let mut block = block();
        block[0] ^= 1;
        assert!(Header::parse(&block).is_err());
    }

    /// Times before 1970 exist.
    #[test]
    fn negative_times_are_read() {
        assert_eq!(signed(&[0xff; 12]).unwrap(), -1);
        assert_eq!(signed(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]).unwrap(), 258);
    }

    proptest! {
        /// No block makes the parser panic.
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), BLOCK_BYTES)) {
            let mut block: Block = bytes.try_into().unwrap();
            let sum = format!("{:06o}\0 ", checksum(&block));
            block[148..156].copy_from_slice(sum.as_bytes());
            let _ = Header::parse(&block);
            let _ = SparseMap::parse(&block).map(|mut map| map.parse_more(&block));
        }
    }
}
