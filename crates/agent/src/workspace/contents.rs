//! Bytes of files: read with their holes, compared, sent. A file that shrinks meanwhile is told, never padded.

use std::os::fd::{AsFd, OwnedFd};

use pyro_proto::limits::TREE_PIECE_BYTES_MAX;
use pyro_proto::tree::{Side, TreePath};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::directory::kind;
use super::error::{WorkspaceError, shown, unreadable};
use super::node::bytes;
use super::outlet::Outlet;

/// A regular file that is open, and what it was when it was opened.
#[derive(Debug)]
pub(crate) struct Contents {
    fd: OwnedFd,
    pub(crate) stat: Stat,
}

impl Contents {
    /// Opens the regular file `name` in `parent`; `None` when it is something else by now. Opening waits for
    /// nothing, whatever a guest has put there.
    pub(crate) fn open(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<Option<Contents>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ACCESS) => return Ok(None),
            result => result?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        Ok((kind(&stat) == FileType::RegularFile).then_some(Contents { fd, stat }))
    }

    /// Length when it was opened.
    pub(crate) fn bytes(&self) -> u64 {
        bytes(&self.stat)
    }

    /// Sends the first `bytes_max` bytes without the holes; gives how many were sent.
    pub(crate) fn send(
        &self,
        path: &TreePath,
        side: Side,
        bytes_max: u64,
        buffer: &mut [u8],
        outlet: &mut Outlet,
    ) -> Result<u64, WorkspaceError> {
        let end = self.bytes().min(bytes_max);
        let (mut sent, mut offset) = (0, 0);
        while let Some((start, stop)) = self.next_data(offset, end).map_err(unreadable(path))? {
            offset = start;
            while offset < stop {
                let wanted = usize::try_from(stop - offset).unwrap_or(usize::MAX).min(TREE_PIECE_BYTES_MAX);
                let piece = buffer.get_mut(..wanted).unwrap_or_default();
                let count = read_full(&self.fd, piece, offset).map_err(unreadable(path))?;
                if count < piece.len() {
                    return Err(WorkspaceError::Changed(shown(path)));
                }
                outlet.piece(side, offset, piece)?;
                offset += count as u64;
                sent += count as u64;
            }
        }
        // What was announced must still be there, also where it was a hole.
        if rustix::fs::fstat(&self.fd).is_ok_and(|stat| bytes(&stat) < self.bytes()) {
            return Err(WorkspaceError::Changed(shown(path)));
        }
        Ok(sent)
    }

    /// Whether two files of the same length hold the same bytes.
    pub(crate) fn same_as(
        &self,
        other: &Contents,
        buffers: &mut [Vec<u8>; 2],
        outlet: &Outlet,
    ) -> Result<bool, Errno> {
        let end = self.bytes();
        if end != other.bytes() {
            return Ok(false);
        }
        let [mine, theirs] = buffers;
        let mut offset = 0;
        while let Some(start) = self.next_data_of_either(other, offset, end)? {
            let wanted = usize::try_from(end - start).unwrap_or(usize::MAX).min(mine.len()).min(theirs.len());
            let mine = mine.get_mut(..wanted).unwrap_or_default();
            let theirs = theirs.get_mut(..wanted).unwrap_or_default();
            let counts = (read_full(&self.fd, mine, start)?, read_full(&other.fd, theirs, start)?);
            if counts != (wanted, wanted) || mine != theirs {
                return Ok(false);
            }
            if outlet.go_on().is_err() {
                return Err(Errno::CANCELED);
            }
            offset = start + wanted as u64;
        }
        Ok(true)
    }

    fn next_data_of_either(
        &self,
        other: &Contents,
        offset: u64,
        end: u64,
    ) -> rustix::io::Result<Option<u64>> {
        let mine = self.data_start(offset, end)?;
        let theirs = other.data_start(offset, end)?;
        Ok(match (mine, theirs) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        })
    }

    /// The next stretch of data from `offset` on that starts before `end`, cut there.
    fn next_data(&self, offset: u64, end: u64) -> rustix::io::Result<Option<(u64, u64)>> {
        let Some(start) = self.data_start(offset, end)? else { return Ok(None) };
        let stop = match rustix::fs::seek(&self.fd, SeekFrom::Hole(start)) {
            Ok(stop) => stop.min(end),
            // The end of the data has moved to before `start`.
            Err(Errno::NXIO) => end,
            // A filesystem that knows no holes.
            Err(Errno::INVAL) => end,
            Err(errno) => return Err(errno),
        };
        Ok(Some((start, stop.max(start))).filter(|(start, stop)| start < stop))
    }

    fn data_start(&self, offset: u64, end: u64) -> rustix::io::Result<Option<u64>> {
        if offset >= end {
            return Ok(None);
        }
        match rustix::fs::seek(&self.fd, SeekFrom::Data(offset)) {
            Ok(start) => Ok((start < end).then_some(start)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL) => Ok(Some(offset)),
            Err(errno) => Err(errno),
        }
    }
}

/// Reads until `buffer` is full or the file ends.
fn read_full(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}
