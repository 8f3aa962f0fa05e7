//! A patch that was read. Text in it is borrowed, so that reading takes no second copy.

use crate::side::FileMode;

/// A patch: what happens to which files, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch<'a> {
    /// One for each file header; a path can have two (it goes, and comes as something else).
    pub sections: Vec<Section<'a>>,
}

/// What happens to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// What it is.
    pub operation: Operation,
    /// Mode before, where the patch says so.
    pub old_mode: Option<FileMode>,
    /// Mode after, where the patch says that it changes, or comes.
    pub new_mode: Option<FileMode>,
    /// Git's name of the bytes before, in hexadecimal digits, perhaps cut short.
    pub old_id: Option<&'a str>,
    /// And of those after.
    pub new_id: Option<&'a str>,
    /// What happens to the contents.
    pub body: Body<'a>,
    /// Line of the patch that it begins at, counted from one.
    pub line: usize,
}

/// What happens to a path. Paths are relative, of plain names, and nothing that git would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A file comes.
    Create {
        /// Where.
        path: Vec<u8>,
    },
    /// A file goes.
    Delete {
        /// Where.
        path: Vec<u8>,
    },
    /// Contents or mode change.
    Modify {
        /// Where.
        path: Vec<u8>,
    },
    /// A file goes elsewhere, and may change.
    Rename {
        /// From here.
        from: Vec<u8>,
        /// To here.
        to: Vec<u8>,
    },
    /// A file comes as a copy of another, and may change.
    Copy {
        /// Of this.
        from: Vec<u8>,
        /// Here.
        to: Vec<u8>,
    },
}

impl Operation {
    /// Where the bytes before are read; nowhere for a file that comes.
    pub fn source(&self) -> Option<&[u8]> {
        match self {
            Operation::Create { .. } => None,
            Operation::Delete { path } | Operation::Modify { path } => Some(path),
            Operation::Rename { from, .. } | Operation::Copy { from, .. } => Some(from),
        }
    }

    /// Where the bytes after are written; nowhere for a file that goes.
    pub fn destination(&self) -> Option<&[u8]> {
        match self {
            Operation::Delete { .. } => None,
            Operation::Create { path } | Operation::Modify { path } => Some(path),
            Operation::Rename { to, .. } | Operation::Copy { to, .. } => Some(to),
        }
    }
}

/// What happens to contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Nothing.
    None,
    /// Lines change.
    Text(Vec<Hunk<'a>>),
    /// Bytes change.
    Binary {
        /// To the side after.
        forward: BinaryData,
        /// And back, where the patch has it.
        reverse: Option<BinaryData>,
    },
}

/// Lines that change close to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk<'a> {
    /// First line before, counted from one; the line before the hunk when it has none.
    pub old_start: usize,
    /// Lines before.
    pub old_lines: usize,
    /// First line after, likewise.
    pub new_start: usize,
    /// Lines after.
    pub new_lines: usize,
    /// The lines.
    pub lines: Vec<Line<'a>>,
}

/// A line of a hunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Which side has it.
    pub kind: LineKind,
    /// The line with its line feed, where it has one.
    pub text: &'a [u8],
}

/// Side of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// Both sides have it.
    Context,
    /// The side before has it.
    Deleted,
    /// The side after has it.
    Inserted,
}

/// One direction of a binary change, still deflated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryData {
    /// What it inflates to.
    pub encoding: Encoding,
    /// How many bytes that are.
    pub inflated_bytes: usize,
    /// The deflated bytes.
    pub deflated: Vec<u8>,
}

/// What binary data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The bytes themselves.
    Literal,
    /// Copies from the other side, and insertions (the deltas of git's packs).
    Delta,
}
