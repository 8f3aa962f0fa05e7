//! One output on its way to its file. What the disk refuses is not written later: a gap in the middle would be worse
//! than an end that is cut.

use std::io;
use std::path::Path;

use pyro_store::{Keep, OutputWriter};

/// One output of a process.
#[derive(Debug)]
pub(crate) struct Tape {
    /// `None` once the disk has refused.
    writer: Option<OutputWriter>,
    seen_bytes: u64,
}

impl Tape {
    /// A new one.
    pub(crate) fn create(path: &Path, keep: Keep) -> io::Result<Tape> {
        Ok(Tape { writer: Some(OutputWriter::create(path, keep)?), seen_bytes: 0 })
    }

    /// One that goes on.
    pub(crate) fn append_to(path: &Path) -> io::Result<Tape> {
        let writer = OutputWriter::append_to(path)?;
        let seen_bytes = writer.total();
        Ok(Tape { writer: Some(writer), seen_bytes })
    }

    /// Adds what was written.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.seen_bytes = self.seen_bytes.saturating_add(bytes.len() as u64);
        if self.writer.as_mut().is_some_and(|writer| writer.append(bytes).is_err()) {
            self.writer = None;
        }
    }

    /// Bytes that were written, kept or not.
    pub(crate) fn seen_bytes(&self) -> u64 {
        self.seen_bytes
    }
}
