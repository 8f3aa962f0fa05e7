//! Whole changes out of a stream of records: each with the contents of both its sides.
//!
//! The stream comes from a guest and is hostile: what does not fit is an error, and what one change may hold
//! is bounded by what was asked for. Contents beyond a small size lie in a temporary file without a name.

use std::io::{self, Read, Seek, SeekFrom, Write};

use pyro_proto::tree::{Change, Contents, Item, Node, NodeKind, Piece, Record, Side};
use tempfile::SpooledTempFile;

use crate::limits::CONTENTS_MEMORY_BYTES;

/// A change with its contents.
#[derive(Debug)]
pub struct WholeChange {
    /// The change.
    pub change: Change,
    /// Contents of the file before; `None` when there is none, or none were sent.
    pub before: Option<FileContents>,
    /// Contents of the file after, likewise.
    pub after: Option<FileContents>,
}

/// Contents of one file.
#[derive(Debug)]
pub struct FileContents {
    spool: SpooledTempFile,
    bytes: u64,
    /// Behind the last piece.
    end: u64,
}

/// Gathers records into changes.
#[derive(Debug)]
pub struct ChangeReader {
    file_bytes_max: u64,
    open: Option<WholeChange>,
}

/// A stream that is none of changes, or contents that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// The guest broke the form.
    #[error("the guest sent changes that make no sense: {0}")]
    Malformed(&'static str),
    /// The host's temporary directory has no room, or fails.
    #[error("contents of a change cannot be kept in the temporary directory")]
    Spool(#[from] io::Error),
}

impl ChangeReader {
    /// Reads a stream in which no file's contents exceed `file_bytes_max`.
    pub fn new(file_bytes_max: u64) -> ChangeReader {
        ChangeReader { file_bytes_max, open: None }
    }

    /// Takes a record; gives the change before it, when this begins another.
    pub fn take(&mut self, record: &Record) -> Result<Option<WholeChange>, ChangesError> {
        match &record.item {
            Item::Change(change) => {
                let done = self.finish()?;
                self.open = Some(WholeChange::begin(change.clone(), self.file_bytes_max)?);
                Ok(done)
            }
            Item::Piece(piece) => {
                let open = self.open.as_mut().ok_or(ChangesError::Malformed("a piece of nothing"))?;
                open.write(piece, &record.bytes)?;
                Ok(None)
            }
            Item::End => self.finish(),
            Item::Entry(_) | Item::Remove(_) | Item::Expect(_) => {
                Err(ChangesError::Malformed("a record that is no change"))
            }
        }
    }

    /// The last change, once the stream has ended.
    pub fn finish(&mut self) -> Result<Option<WholeChange>, ChangesError> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        for contents in [&mut open.before, &mut open.after].into_iter().flatten() {
            contents.spool.set_len(contents.bytes)?;
        }
        Ok(Some(open))
    }
}

impl WholeChange {
    fn begin(change: Change, file_bytes_max: u64) -> Result<WholeChange, ChangesError> {
        if change.path.is_root() {
            return Err(ChangesError::Malformed("a change of the root"));
        }
        if change.before.is_none() && change.after.is_none() {
            return Err(ChangesError::Malformed("a change of nothing"));
        }
        let contents = |node: &Option<Node>| match (change.contents, node) {
            (Contents::Follow, Some(Node { kind: NodeKind::File { bytes }, .. })) => {
                if *bytes > file_bytes_max {
                    return Err(ChangesError::Malformed("contents larger than were asked for"));
                }
                Ok(Some(FileContents::new(*bytes)))
            }
            _ => Ok(None),
        };
        let (before, after) = (contents(&change.before)?, contents(&change.after)?);
        Ok(WholeChange { before, after, change })
    }

    fn write(&mut self, piece: &Piece, bytes: &[u8]) -> Result<(), ChangesError> {
        let contents = match piece.side {
            Side::Before => &mut self.before,
            Side::After => &mut self.after,
        };
        contents.as_mut().ok_or(ChangesError::Malformed("a piece of no file"))?.write(piece.offset, bytes)
    }
}

impl FileContents {
    fn new(bytes: u64) -> FileContents {
        FileContents { spool: SpooledTempFile::new(CONTENTS_MEMORY_BYTES), bytes, end: 0 }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ChangesError> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.bytes);
        let end = end.ok_or(ChangesError::Malformed("a piece beyond its file"))?;
        if offset < self.end {
            return Err(ChangesError::Malformed("pieces out of order"));
        }
        self.spool.seek(SeekFrom::Start(offset))?;
        self.spool.write_all(bytes)?;
        self.end = end;
        Ok(())
    }

    /// Its length.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// All of it, in memory.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// From its first byte on.
    pub fn reader(&mut self) -> io::Result<impl Read + '_> {
        self.spool.seek(SeekFrom::Start(0))?;
        Ok(&mut self.spool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyro_proto::tree::{Mtime, TreePath};

    fn file(bytes: u64) -> Option<Node> {
        Some(Node { kind: NodeKind::File { bytes }, mode: 0o644, mtime: Mtime::default() })
    }

    fn change(before: Option<Node>, after: Option<Node>) -> Record {
        let path = TreePath::parse("a").unwrap();
        let change = Change { path, before, after, contents: Contents::Follow };
        Record { item: Item::Change(change), bytes: Vec::new() }
    }

    fn piece(side: Side, offset: u64, bytes: &[u8]) -> Record {
        let piece = Piece { side, offset, bytes: bytes.len() as u32 };
        Record { item: Item::Piece(piece), bytes: bytes.to_vec() }
    }

    /// Both sides come back as they were, holes as zeros, however large.
    #[test]
    fn contents_are_whole() {
        for size in [10u64, CONTENTS_MEMORY_BYTES as u64 + 10] {
            let mut reader = ChangeReader::new(1 << 30);
            assert!(reader.take(&change(file(3), file(size))).unwrap().is_none());
            reader.take(&piece(Side::Before, 0, b"old")).unwrap();
            reader.take(&piece(Side::After, size - 6, b"new")).unwrap();
            let mut whole = reader.take(&change(None, file(0))).unwrap().unwrap();
            assert_eq!(whole.before.as_mut().unwrap().read().unwrap(), b"old");
            let mut expected = vec![0; size as usize - 6];
            expected.extend_from_slice(b"new\0\0\0");
            assert_eq!(whole.after.as_mut().unwrap().read().unwrap(), expected);
            assert!(reader.finish().unwrap().unwrap().after.unwrap().is_empty());
        }
    }

    /// A guest cannot have more kept than was asked for, nor sneak bytes in where none belong.
    #[test]
    fn lies_are_refused() {
        let mut reader = ChangeReader::new(5);
        assert!(reader.take(&change(None, file(6))).is_err());
        assert!(reader.take(&change(None, None)).is_err());
        assert!(reader.take(&piece(Side::After, 0, b"x")).is_err());
        reader.take(&change(None, file(5))).unwrap();
        assert!(reader.take(&piece(Side::Before, 0, b"x")).is_err());
        assert!(reader.take(&piece(Side::After, 3, b"xyz")).is_err());
        assert!(reader.take(&piece(Side::After, u64::MAX, b"x")).is_err());
        reader.take(&piece(Side::After, 2, b"xy")).unwrap();
        assert!(reader.take(&piece(Side::After, 3, b"x")).is_err());
    }
}
