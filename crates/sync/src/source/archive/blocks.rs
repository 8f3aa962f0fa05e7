//! The blocks of a tar: what is a header, what is the end. Reads in order, and never past what it is asked for.

use std::io::Read;

use super::error::{ArchiveError, unpacking};
use crate::limits::SOURCE_READ_BYTES;

/// A tar is made of these.
pub(super) const BLOCK_BYTES: usize = 512;
/// Where in a header its checksum is (tar(5)).
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// One block.
pub(super) type Block = [u8; BLOCK_BYTES];

/// An archive, unpacked, from its start to its end.
pub(super) struct Blocks<'a> {
    reader: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(reader: Box<dyn Read + 'a>) -> Blocks<'a> {
        Blocks { reader, buffer: vec![0; SOURCE_READ_BYTES] }
    }

    /// The next header; `None` at the block of zeros that ends an archive.
    pub(super) fn header(&mut self) -> Result<Option<Block>, ArchiveError> {
        let block = self.block("its last entry has no end behind it")?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        match has_checksum(&block) {
            true => Ok(Some(block)),
            false => Err(ArchiveError::Damaged("a header has a wrong checksum")),
        }
    }

    /// The next block, whatever it is.
    pub(super) fn block(&mut self, what: &'static str) -> Result<Block, ArchiveError> {
        let mut block = [0; BLOCK_BYTES];
        self.fill(&mut block, what)?;
        Ok(block)
    }

    /// So many bytes, which the caller has bounded, and what fills them up to blocks.
    pub(super) fn bytes(&mut self, count: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        self.contents(count, |part| {
            bytes.extend_from_slice(part);
            Ok::<_, ArchiveError>(())
        })?;
        self.padding(count)?;
        Ok(bytes)
    }

    /// Hands out so many bytes of an entry, a buffer at a time.
    pub(super) fn contents<E: From<ArchiveError>>(
        &mut self,
        count: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = count;
        let mut buffer = std::mem::take(&mut self.buffer);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            self.fill(part, "the contents of an entry are not all there")?;
            take(part)?;
            left -= wanted as u64;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// What fills contents up to whole blocks.
    pub(super) fn padding(&mut self, count: u64) -> Result<(), ArchiveError> {
        let over = usize::try_from(count % BLOCK_BYTES as u64).unwrap_or(0);
        if over > 0 {
            let mut block = [0; BLOCK_BYTES];
            let padding = block.get_mut(over..).unwrap_or_default();
            self.fill(padding, "the contents of an entry are not all there")?;
        }
        Ok(())
    }

    /// Reads what is behind the end: nothing but zeros, and no more of them than so many. This is what makes a
    /// decompressor look at its own checksum.
    pub(super) fn end(mut self, zeros_max: u64) -> Result<(), ArchiveError> {
        let mut zeros: u64 = 0;
        loop {
            match self.reader.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    if self.buffer.iter().take(count).any(|byte| *byte != 0) {
                        return Err(ArchiveError::Damaged("there is something behind its end"));
                    }
                    zeros = zeros.saturating_add(count as u64);
                    if zeros > zeros_max {
                        return Err(ArchiveError::Damaged("there are too many zeros behind its end"));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unpacking(error)),
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8], what: &'static str) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => return Err(ArchiveError::Cut(what)),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unpacking(error)),
            }
        }
        Ok(())
    }
}

/// Whether an archive may begin so: with a header, or with the end of an empty one.
pub(super) fn may_begin(block: &[u8]) -> bool {
    match block.first_chunk::<BLOCK_BYTES>() {
        Some(block) => block.iter().all(|byte| *byte == 0) || has_checksum(block),
        None => false,
    }
}

/// The sum of a header's bytes, its own field taken for spaces; some old programs added signed bytes.
fn has_checksum(block: &Block) -> bool {
    let stored = super::number::parse(block.get(CHECKSUM).unwrap_or_default());
    let spaced = |(at, byte): (usize, &u8)| if CHECKSUM.contains(&at) { b' ' } else { *byte };
    let unsigned: i64 = block.iter().enumerate().map(spaced).map(i64::from).sum();
    let signed: i64 = block.iter().enumerate().map(spaced).map(|byte| i64::from(byte.cast_signed())).sum();
    stored.is_some_and(|stored| stored == unsigned || stored == signed)
}
