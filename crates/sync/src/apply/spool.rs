//! What is to be written, kept in one temporary file without a name until it is.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::ApplyError;
use super::limits::PART_BYTES;

/// Contents that wait.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    end: u64,
    bytes_max: u64,
}

/// Where contents are in a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    start: u64,
    /// How many bytes.
    pub(super) bytes: u64,
}

impl Spool {
    pub(super) fn new(directory: &Path, bytes_max: u64) -> Result<Spool, ApplyError> {
        let file = tempfile::tempfile_in(directory).map_err(ApplyError::Spool)?;
        Ok(Spool { file, end: 0, bytes_max })
    }

    /// Keeps all that the reader has.
    pub(super) fn keep(&mut self, contents: &mut impl Read) -> Result<Stretch, ApplyError> {
        let start = self.end;
        let mut part = vec![0; PART_BYTES];
        loop {
            let count = contents.read(&mut part).map_err(ApplyError::Spool)?;
            let Some(bytes) = part.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            let end = self.end.saturating_add(count as u64);
            if end > self.bytes_max {
                return Err(ApplyError::TooManyBytes { bytes_max: self.bytes_max });
            }
            // What is all zeros stays a hole.
            if bytes.iter().any(|byte| *byte != 0) {
                self.file.write_all_at(bytes, self.end).map_err(ApplyError::Spool)?;
            }
            self.end = end;
        }
        self.file.set_len(self.end).map_err(ApplyError::Spool)?;
        Ok(Stretch { start, bytes: self.end - start })
    }

    /// Reads what was kept.
    pub(super) fn read(&self, stretch: Stretch) -> SpoolReader<'_> {
        SpoolReader { file: &self.file, stretch }
    }
}

/// Contents being read.
#[derive(Debug)]
pub(super) struct SpoolReader<'a> {
    file: &'a File,
    stretch: Stretch,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = usize::try_from(self.stretch.bytes).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..count).unwrap_or_default(), self.stretch.start)?;
        self.stretch.start += count as u64;
        self.stretch.bytes -= count as u64;
        Ok(count)
    }
}
