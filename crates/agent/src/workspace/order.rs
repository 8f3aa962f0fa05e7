//! The order that a stream towards the guest must keep. Pure.
//!
//! What a single record shows to be wrong is refused here, before any of it reaches a disk.

use pyro_proto::tree::{Entry, Item, NodeKind, Piece, Side, TreePath};

use super::error::{WorkspaceError, shown};
use super::node::MODE_BITS;
use crate::limits::{TREE_CONDITIONS_MAX, TREE_ENTRIES_MAX, TREE_TARGET_BYTES_MAX};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A baseline: entries alone.
    Seed,
    /// A push: entries, removals, expectations.
    Push,
}

/// A stream as far as it has come.
#[derive(Debug)]
pub(crate) struct Order {
    purpose: Purpose,
    file: Option<File>,
    entries: u64,
    conditions: u64,
}

/// The file whose pieces may come.
#[derive(Debug)]
struct File {
    path: TreePath,
    bytes: u64,
    /// Behind the last piece.
    end: u64,
}

impl Order {
    /// A stream from its start.
    pub(crate) fn new(purpose: Purpose) -> Order {
        Order { purpose, file: None, entries: 0, conditions: 0 }
    }

    /// Takes the next record, unless it may not come here.
    pub(crate) fn take(&mut self, item: &Item) -> Result<(), WorkspaceError> {
        if let Item::Piece(piece) = item {
            return self.take_piece(piece);
        }
        self.file = None;
        match item {
            Item::Entry(entry) => self.take_entry(entry),
            Item::Remove(path) => {
                if path.is_root() {
                    return Err(damaged("the directory that a push goes to cannot be removed by it"));
                }
                self.take_condition(path)
            }
            Item::Expect(expect) => self.take_condition(&expect.path),
            Item::Change(change) => Err(damaged(format!("a change of {}", shown(&change.path)))),
            Item::Piece(_) | Item::End => Ok(()),
        }
    }

    fn take_entry(&mut self, entry: &Entry) -> Result<(), WorkspaceError> {
        let (path, node) = (&entry.path, &entry.node);
        self.entries += 1;
        if self.entries > TREE_ENTRIES_MAX {
            return Err(WorkspaceError::Invalid(format!("more than {TREE_ENTRIES_MAX} entries at once")));
        }
        if node.mode & !MODE_BITS != 0 {
            return Err(damaged(format!("{} has the mode {:o}", shown(path), node.mode)));
        }
        if node.mtime.nanoseconds > MTIME_NANOSECONDS_MAX {
            return Err(damaged(format!("{} has a time that is none", shown(path))));
        }
        if path.is_root() && node.kind != NodeKind::Directory {
            return Err(damaged("its root is no directory"));
        }
        match &node.kind {
            NodeKind::File { bytes } => {
                if i64::try_from(*bytes).is_err() {
                    return Err(damaged(format!("{} is longer than any file", shown(path))));
                }
                self.file = Some(File { path: path.clone(), bytes: *bytes, end: 0 });
                Ok(())
            }
            NodeKind::Symlink { target }
                if target.is_empty() || target.contains(&0) || target.len() > TREE_TARGET_BYTES_MAX =>
            {
                Err(damaged(format!("{} is a link to what is no path", shown(path))))
            }
            NodeKind::Special => Err(damaged(format!("{} is a device, pipe or socket", shown(path)))),
            NodeKind::Directory | NodeKind::Symlink { .. } | NodeKind::HardLink { .. } => Ok(()),
        }
    }

    fn take_piece(&mut self, piece: &Piece) -> Result<(), WorkspaceError> {
        let file = self.file.as_mut().ok_or_else(|| damaged("bytes that belong to no file"))?;
        if piece.side != Side::After || piece.offset < file.end {
            return Err(damaged(format!("the bytes of {} come out of order", shown(&file.path))));
        }
        match piece.offset.checked_add(piece.bytes.into()) {
            Some(end) if end <= file.bytes => {
                file.end = end;
                Ok(())
            }
            _ => Err(damaged(format!("bytes behind the end of {}", shown(&file.path)))),
        }
    }

    fn take_condition(&mut self, path: &TreePath) -> Result<(), WorkspaceError> {
        if self.purpose != Purpose::Push {
            return Err(damaged(format!("a removal or an expectation of {} in a baseline", shown(path))));
        }
        self.conditions += 1;
        if self.conditions > TREE_CONDITIONS_MAX {
            let what = format!("more than {TREE_CONDITIONS_MAX} removals and expectations at once");
            return Err(WorkspaceError::Invalid(what));
        }
        Ok(())
    }
}

/// Greatest fraction of a second in a time.
const MTIME_NANOSECONDS_MAX: u32 = 999_999_999;

fn damaged(what: impl Into<String>) -> WorkspaceError {
    WorkspaceError::Damaged(what.into())
}
