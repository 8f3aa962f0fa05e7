//! An archive as a sequence of entries with their contents, read once from its beginning to its end.

use std::io::{ErrorKind, Read};

use rustix::io::Errno;

use super::UnpackError;
use super::entry_path::EntryPath;
use super::header::{BLOCK_BYTES, Block, Header, Segment, SparseMap, is_end};
use super::pax::Pax;
use crate::limits::ARCHIVE_EXTENSION_BYTES_MAX;

/// Reads entries from `R`.
#[derive(Debug)]
pub(crate) struct Archive<R> {
    source: R,
    /// Bytes of the entry's contents that were not read yet, and what rounds them up to blocks.
    left: u64,
    padding: u64,
    global: Pax,
}

/// One entry; its contents follow in [`Archive::read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: EntryKind,
    pub(crate) path: EntryPath,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A file of `bytes` bytes, of which the archive holds the segments.
    File {
        segments: Vec<Segment>,
        bytes: u64,
    },
    /// Another name of a file that came before.
    HardLink(EntryPath),
    /// A symlink; its target is the guest's business.
    Symlink(Vec<u8>),
    Directory,
    Fifo,
    /// Major and minor number.
    CharacterDevice(u32, u32),
    /// Major and minor number.
    BlockDevice(u32, u32),
}

impl<R: Read> Archive<R> {
    /// An archive at its beginning.
    pub(crate) fn new(source: R) -> Archive<R> {
        Archive { source, left: 0, padding: 0, global: Pax::default() }
    }

    /// The next entry; `None` at the archive's end mark. An archive without one was cut off.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut pax = self.global.clone();
        loop {
            self.skip_rest()?;
            let block = self.block()?;
            if is_end(&block) {
                return Ok(None);
            }
            let header = Header::parse(&block)?;
            self.enter(header.size);
            match header.kind {
                b'x' => pax.take(&self.extension()?)?,
                b'g' => {
                    let records = self.extension()?;
                    self.global.take(&records)?;
                    pax.take(&records)?;
                }
                b'L' => pax.path = Some(until_nul(self.extension()?)),
                b'K' => pax.link = Some(until_nul(self.extension()?)),
                // A volume's label, and a directory's list of names: nothing to make.
                b'V' | b'D' | b'N' => {}
                _ => return self.entry(header, &block, pax).map(Some),
            }
        }
    }

    /// Reads contents of the current entry into all of `buffer`.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<(), UnpackError> {
        self.left = self
            .left
            .checked_sub(buffer.len() as u64)
            .ok_or_else(|| damaged("a sparse file is larger than its entry"))?;
        self.read_exact(buffer)
    }

    fn entry(&mut self, header: Header, block: &Block, pax: Pax) -> Result<Entry, UnpackError> {
        let size = pax.size.unwrap_or(header.size);
        self.enter(size);
        let path = pax.path.as_deref().unwrap_or(&header.path);
        let link = pax.link.unwrap_or(header.link);
        let (major, minor) = header.device;
        let kind = match header.kind {
            0 if path.ends_with(b"/") => EntryKind::Directory,
            b'0' | b'7' | 0 => {
                EntryKind::File { segments: vec![Segment { offset: 0, bytes: size }], bytes: size }
            }
            b'S' => self.sparse(block)?,
            b'1' => EntryKind::HardLink(EntryPath::parse(&link)?),
            b'2' => EntryKind::Symlink(link),
            b'3' => EntryKind::CharacterDevice(major, minor),
            b'4' => EntryKind::BlockDevice(major, minor),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            kind => return Err(UnpackError::Damaged(format!("an entry is of the unknown kind {kind:#04x}"))),
        };
        Ok(Entry {
            kind,
            path: EntryPath::parse(path)?,
            mode: header.mode,
            uid: pax.uid.unwrap_or(header.uid),
            gid: pax.gid.unwrap_or(header.gid),
            mtime: pax.mtime.unwrap_or((header.mtime, 0)),
            xattrs: pax.xattrs,
        })
    }

    fn sparse(&mut self, block: &Block) -> Result<EntryKind, UnpackError> {
        let mut map = SparseMap::parse(block)?;
        while map.continues {
            let block = self.block()?;
            map.parse_more(&block)?;
        }
        Ok(EntryKind::File { segments: map.segments, bytes: map.real_bytes })
    }

    /// Takes note that `size` bytes of contents follow.
    fn enter(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK_BYTES as u64;
    }

    fn skip_rest(&mut self) -> Result<(), UnpackError> {
        let rest =
            self.left.checked_add(self.padding).ok_or_else(|| damaged("an entry is larger than anything"))?;
        (self.left, self.padding) = (0, 0);
        let skipped =
            std::io::copy(&mut (&mut self.source).take(rest), &mut std::io::sink()).map_err(read_error)?;
        if skipped == rest { Ok(()) } else { Err(cut_off()) }
    }

    fn extension(&mut self) -> Result<Vec<u8>, UnpackError> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX);
        if length > ARCHIVE_EXTENSION_BYTES_MAX {
            return Err(damaged("an extended header is too long"));
        }
        let mut bytes = vec![0; length];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn block(&mut self) -> Result<Block, UnpackError> {
        let mut block = [0; BLOCK_BYTES];
        self.read_exact(&mut block)?;
        Ok(block)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), UnpackError> {
        self.source.read_exact(buffer).map_err(read_error)
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

fn read_error(error: std::io::Error) -> UnpackError {
    match (error.kind(), Errno::from_io_error(&error)) {
        (ErrorKind::UnexpectedEof, _) => cut_off(),
        (_, errno) => UnpackError::Read(errno.unwrap_or(Errno::IO)),
    }
}

fn cut_off() -> UnpackError {
    damaged("it ends before its end mark")
}

fn damaged(why: &str) -> UnpackError {
    UnpackError::Damaged(why.to_owned())
}
