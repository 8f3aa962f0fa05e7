//! Files and directories as a stream of bytes: what is pushed into a workspace, taken out of it, and what has
//! changed in it. Pure: bytes to records and back, within bounds.
//!
//! A stream is a sequence of records: length of the header (`u32`, little endian), the header (postcard), and
//! behind a [`Item::Piece`] as many bytes as it says. [`Item::End`] is the last. A stream that stops before
//! its end was cut, and is never taken for whole.
//!
//! Order: a directory comes before what is in it, a hard link behind its target, the pieces of a file right
//! behind its entry (or change) with rising offsets. Bytes that no piece covers are a hole.

use serde::{Deserialize, Serialize};

use crate::limits::{
    TREE_DEPTH_MAX, TREE_HEADER_BYTES_MAX, TREE_NAME_BYTES_MAX, TREE_PATH_BYTES_MAX, TREE_PIECE_BYTES_MAX,
};

/// Bytes before a header.
const LENGTH_BYTES: usize = 4;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// A file, directory or link.
    Entry(Entry),
    /// Bytes of the file whose entry or change came last.
    Piece(Piece),
    /// What is at this path must go, a directory with all that is in it; only in a push. Nothing there is fine.
    Remove(TreePath),
    /// The push is void unless what is at this path is what the host has seen there; only in a push.
    Expect(Expect),
    /// Something differs from the baseline; only in a stream of changes.
    Change(Change),
    /// Nothing comes behind this.
    End,
}

/// A file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is. [`TreePath::root`] is what was asked for itself (in an export), or the directory that a
    /// push goes to.
    pub path: TreePath,
    /// What it is.
    pub node: Node,
    /// What [`Expect`] recognizes it by; zero towards the guest.
    pub version: u64,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its kind, with what belongs to it.
    pub kind: NodeKind,
    /// Permission bits, setuid, setgid and sticky among them: `0o7777` at most.
    pub mode: u32,
    /// Last modification.
    pub mtime: Mtime,
}

/// A time since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mtime {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// And nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// Kind of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file of so many bytes; pieces follow where contents were asked for.
    File {
        /// Its length.
        bytes: u64,
    },
    /// A symbolic link to any bytes.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// Another name of a file earlier in this stream; never in changes.
    HardLink {
        /// Path of that file.
        target: TreePath,
    },
    /// A device, pipe or socket: named, never carried; only from the guest.
    Special,
}

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Which side of a change; [`Side::After`] for an entry.
    pub side: Side,
    /// Where in the file.
    pub offset: u64,
    /// How many: from 1 to [`TREE_PIECE_BYTES_MAX`].
    pub bytes: u32,
}

/// Side of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// The baseline.
    Before,
    /// The workspace now.
    After,
}

/// A path and what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// Where.
    pub path: TreePath,
    /// The version that came with its entry; `None` when nothing was there.
    pub version: Option<u64>,
}

/// A path whose node differs from the baseline's: in kind, contents, link target or mode, not in time alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where; never the root.
    pub path: TreePath,
    /// The baseline's node; `None` when it has none.
    pub before: Option<Node>,
    /// The workspace's node; `None` when it is deleted.
    pub after: Option<Node>,
    /// What follows of the files' contents: those of `before`, then those of `after`.
    pub contents: Contents,
}

/// What follows a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contents {
    /// Nothing: no side is a file, or both are with the same bytes.
    Same,
    /// All bytes of every side that is a file.
    Follow,
    /// Nothing: one is larger than was asked for.
    TooLarge,
    /// Nothing: contents were not asked for.
    Unasked,
}

/// A relative path of names: no empty name, no `.` and `..`, no NUL, within Linux's bounds. The empty path is
/// the root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct TreePath(Vec<u8>);

/// Bytes that are no path of a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreePathError {
    /// It starts with `/`.
    #[error("is absolute")]
    Absolute,
    /// A name is `.` or `..`.
    #[error("has `.` or `..` in it")]
    Dots,
    /// Two slashes in a row, or one at the end.
    #[error("has an empty name in it")]
    EmptyName,
    /// A NUL byte.
    #[error("has a NUL byte in it")]
    Nul,
    /// Too long, as a whole, in one name, or in the number of names.
    #[error("is too long")]
    TooLong,
}

/// A stream that breaks the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A header is longer than any may be.
    #[error("a header of {0} bytes")]
    HeaderTooLong(usize),
    /// A header is no record.
    #[error(transparent)]
    Header(#[from] crate::PayloadError),
    /// A piece of no bytes, or of too many.
    #[error("a piece of {0} bytes")]
    PieceSize(u32),
    /// Something behind the end.
    #[error("records behind the end")]
    AfterEnd,
}

impl TreePath {
    /// The path of no names.
    pub fn root() -> TreePath {
        TreePath(Vec::new())
    }

    /// Reads a path.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<TreePath, TreePathError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Ok(TreePath::root());
        }
        if bytes.first() == Some(&b'/') {
            return Err(TreePathError::Absolute);
        }
        if bytes.len() > TREE_PATH_BYTES_MAX
            || bytes.iter().filter(|byte| **byte == b'/').count() >= TREE_DEPTH_MAX
        {
            return Err(TreePathError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(TreePathError::Nul);
        }
        for name in bytes.split(|byte| *byte == b'/') {
            match name {
                b"" => return Err(TreePathError::EmptyName),
                b"." | b".." => return Err(TreePathError::Dots),
                name if name.len() > TREE_NAME_BYTES_MAX => return Err(TreePathError::TooLong),
                _ => {}
            }
        }
        Ok(TreePath(bytes))
    }

    /// The path's bytes, names separated by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the path of no names.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its names, outermost first.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The path without its last name, and that name; `None` for the root.
    pub fn split(&self) -> Option<(TreePath, &[u8])> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => {
                let (parent, name) = self.0.split_at(slash);
                Some((TreePath(parent.to_vec()), name.get(1..).unwrap_or_default()))
            }
            None => Some((TreePath::root(), &self.0)),
        }
    }

    /// A name in the directory that this path is.
    pub fn join(&self, name: &[u8]) -> Result<TreePath, TreePathError> {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        TreePath::parse(bytes)
    }

    /// Whether this is `ancestor` or below it.
    pub fn is_within(&self, ancestor: &TreePath) -> bool {
        ancestor.is_root()
            || self
                .0
                .strip_prefix(&ancestor.0[..])
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }
}

impl TryFrom<Vec<u8>> for TreePath {
    type Error = TreePathError;

    fn try_from(bytes: Vec<u8>) -> Result<TreePath, TreePathError> {
        TreePath::parse(bytes)
    }
}

impl From<TreePath> for Vec<u8> {
    fn from(path: TreePath) -> Vec<u8> {
        path.0
    }
}

impl std::fmt::Debug for TreePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Appends a record that is no piece to a stream.
pub fn write_item(item: &Item, stream: &mut Vec<u8>) -> Result<(), TreeError> {
    let header = crate::encode(item)?;
    if header.len() > TREE_HEADER_BYTES_MAX {
        return Err(TreeError::HeaderTooLong(header.len()));
    }
    stream.extend_from_slice(&u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
    stream.extend_from_slice(&header);
    Ok(())
}

/// Appends a piece to a stream; of no bytes, nothing.
pub fn write_piece(side: Side, offset: u64, bytes: &[u8], stream: &mut Vec<u8>) -> Result<(), TreeError> {
    let mut offset = offset;
    for piece in bytes.chunks(TREE_PIECE_BYTES_MAX) {
        let count = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        write_item(&Item::Piece(Piece { side, offset, bytes: count }), stream)?;
        stream.extend_from_slice(piece);
        offset = offset.saturating_add(u64::from(count));
    }
    Ok(())
}

/// A record, with its bytes where it has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The record.
    pub item: Item,
    /// The bytes of an [`Item::Piece`].
    pub bytes: Vec<u8>,
}

/// Bytes to records. Holds at most one record and what was pushed last.
#[derive(Debug, Default)]
pub struct TreeDecoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are handed out.
    taken: usize,
    has_ended: bool,
}

impl TreeDecoder {
    /// Takes in bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether [`Item::End`] was handed out: only then was the stream whole.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The next whole record, if it is there.
    pub fn next_record(&mut self) -> Result<Option<Record>, TreeError> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        if self.has_ended {
            return Err(TreeError::AfterEnd);
        }
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > TREE_HEADER_BYTES_MAX {
            return Err(TreeError::HeaderTooLong(length));
        }
        let Some((header, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        let item = crate::decode::<Item>(header)?;
        let count = match &item {
            Item::Piece(piece) if piece.bytes == 0 || piece.bytes as usize > TREE_PIECE_BYTES_MAX => {
                return Err(TreeError::PieceSize(piece.bytes));
            }
            Item::Piece(piece) => piece.bytes as usize,
            _ => 0,
        };
        let Some(bytes) = rest.get(..count) else { return Ok(None) };
        let record = Record { bytes: bytes.to_vec(), item };
        self.taken += LENGTH_BYTES + length + count;
        self.has_ended = record.item == Item::End;
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(path: &str) -> Item {
        let node = Node { kind: NodeKind::File { bytes: 3 }, mode: 0o644, mtime: Mtime::default() };
        Item::Entry(Entry { path: TreePath::parse(path).unwrap(), node, version: 0 })
    }

    fn stream(items: &[Item]) -> Vec<u8> {
        let mut bytes = Vec::new();
        items.iter().for_each(|item| write_item(item, &mut bytes).unwrap());
        bytes
    }

    /// Nothing but relative paths of plain names is a path, whoever says so.
    #[test]
    fn paths_stay_inside() {
        for bad in ["/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b"] {
            assert!(TreePath::parse(bad).is_err(), "{bad}");
        }
        assert!(TreePath::parse("n".repeat(256)).is_err());
        assert!(TreePath::parse("a/".repeat(256) + "a").is_err());
        assert!(TreePath::parse(vec![b'a'; 4096]).is_err());
        for good in ["", "a", "a/b", "...", " ", "a\nb", "-", "\\"] {
            assert_eq!(TreePath::parse(good).unwrap().as_bytes(), good.as_bytes());
        }
        let sent = crate::encode(&b"../x".to_vec()).unwrap();
        assert!(crate::decode::<TreePath>(&sent).is_err());
    }

    /// A path is within itself and its ancestors, and not within what merely starts alike.
    #[test]
    fn ancestry_is_by_whole_names() {
        let path = |text: &str| TreePath::parse(text).unwrap();
        assert!(path("a/b").is_within(&path("a")) && path("a").is_within(&path("a")));
        assert!(path("a").is_within(&TreePath::root()) && !path("ab").is_within(&path("a")));
        assert!(!path("a").is_within(&path("a/b")));
        assert_eq!(path("a/b").split(), Some((path("a"), &b"b"[..])));
        assert_eq!(TreePath::root().join(b"a").unwrap().join(b"b").unwrap(), path("a/b"));
    }

    /// Records come back as they were, however the stream is cut on its way.
    #[test]
    fn streams_round_trip_in_any_pieces() {
        let mut bytes = stream(&[file("a")]);
        write_piece(Side::After, 0, &vec![7; TREE_PIECE_BYTES_MAX + 1], &mut bytes).unwrap();
        bytes.extend(stream(&[Item::Remove(TreePath::parse("b").unwrap()), Item::End]));
        for step in [1, 3, 1000, usize::MAX] {
            let mut decoder = TreeDecoder::default();
            let mut records = Vec::new();
            for part in bytes.chunks(step.min(bytes.len())) {
                decoder.push(part);
                while let Some(record) = decoder.next_record().unwrap() {
                    records.push(record);
                }
            }
            assert!(decoder.has_ended());
            assert_eq!(
                records.iter().map(|record| record.bytes.len()).collect::<Vec<_>>(),
                [0, TREE_PIECE_BYTES_MAX, 1, 0, 0]
            );
            assert_eq!(records[0].item, file("a"));
        }
    }

    /// A stream that was cut never looks whole, and nothing rides behind its end.
    #[test]
    fn cuts_and_trailers_are_seen() {
        let bytes = stream(&[file("a"), Item::End]);
        let mut decoder = TreeDecoder::default();
        decoder.push(&bytes[..bytes.len() - 1]);
        while decoder.next_record().unwrap().is_some() {}
        assert!(!decoder.has_ended());
        let mut decoder = TreeDecoder::default();
        decoder.push(&stream(&[Item::End, file("a")]));
        assert_eq!(decoder.next_record().unwrap().unwrap().item, Item::End);
        assert_eq!(decoder.next_record(), Err(TreeError::AfterEnd));
    }

    proptest! {
        /// No bytes make a decoder panic, or hold more than it was given.
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let mut decoder = TreeDecoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_record() {}
        }
    }
}
