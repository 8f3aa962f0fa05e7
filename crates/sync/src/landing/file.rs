//! A file whose pieces are arriving. Bytes that no piece covers stay a hole.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use pyro_proto::tree::{Mtime, Piece, Side};
use rustix::fs::{Mode, Timespec, Timestamps};
use rustix::io::Errno;

use super::LandingError;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct ArrivingFile {
    file: File,
    size: u64,
    written_to: u64,
    mode: u32,
    mtime: Mtime,
}

impl ArrivingFile {
    /// A file of so many bytes, empty so far.
    pub(super) fn new(file: OwnedFd, size: u64, mode: u32, mtime: Mtime) -> std::io::Result<ArrivingFile> {
        let file = File::from(file);
        file.set_len(size)?;
        Ok(ArrivingFile { file, size, written_to: 0, mode, mtime })
    }

    /// Writes a piece; the outer error is the stream's fault, the inner the host's.
    pub(super) fn write(&mut self, piece: Piece, bytes: &[u8]) -> Result<std::io::Result<()>, LandingError> {
        let end = piece.offset.checked_add(u64::from(piece.bytes));
        let end =
            end.filter(|end| *end <= self.size).ok_or(LandingError::Malformed("a piece beyond its file"))?;
        if piece.side != Side::After || bytes.len() != piece.bytes as usize {
            return Err(LandingError::Malformed("a piece of another side or size"));
        }
        if piece.offset < self.written_to {
            return Err(LandingError::Malformed("pieces that overlap or go back"));
        }
        self.written_to = end;
        Ok(self.file.write_all_at(bytes, piece.offset))
    }

    /// Sets what a write would have changed.
    pub(super) fn finish(self) -> Result<(), Errno> {
        rustix::fs::fchmod(&self.file, plain_mode(self.mode))?;
        rustix::fs::futimens(&self.file, &timestamps(self.mtime))
    }
}

/// Permissions that may land: never setuid, setgid or sticky.
pub(super) fn plain_mode(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o777)
}

/// A modification time as the kernel takes it; the time of access stays.
pub(super) fn timestamps(mtime: Mtime) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let modified = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) };
    Timestamps { last_access: omit, last_modification: modified }
}
