//! Streams for a push that are made from bytes at hand: one file, or the outcome of a patch.

use std::io::{ErrorKind, Read};
use std::time::{SystemTime, UNIX_EPOCH};

use pyro_proto::agent::Tally;
use pyro_proto::tree::{Expect, Item, Mtime, NodeKind, TreePath};

use super::outlet::Outlet;
use super::{Name, SourceError, TreeSink};
use crate::limits::SOURCE_READ_BYTES;

/// What becomes of a path.
#[derive(Clone, Debug)]
pub struct PushChange {
    /// Where.
    pub path: TreePath,
    /// What is there afterwards; `None` when nothing is.
    pub node: Option<PushNode>,
    /// Remove what is there first: the only way from a directory to something else, and back.
    pub is_replaced: bool,
    /// What has to be there before.
    pub expect: Option<Expect>,
}

/// A file or symlink to be put somewhere.
#[derive(Clone, Debug)]
pub enum PushNode {
    /// A regular file.
    File {
        /// Its contents.
        bytes: Vec<u8>,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
}

/// Permissions of a missing directory above a changed file.
const DIRECTORY_MODE: u32 = 0o755;
/// Those of a symlink, which nothing reads.
const SYMLINK_MODE: u32 = 0o777;

/// Sends one file of exactly so many bytes, modified now.
pub fn one_file(
    path: TreePath,
    mode: u32,
    mut contents: impl Read,
    bytes: u64,
    expect: Option<Expect>,
    sink: &mut dyn TreeSink,
) -> Result<Tally, SourceError> {
    let name = Name::new(path.as_bytes());
    let mut outlet = Outlet::new(sink);
    if let Some(expect) = expect {
        outlet.item(&Item::Expect(expect))?;
    }
    outlet.entry(path, NodeKind::File { bytes }, mode, now())?;
    let mut buffer = vec![0; SOURCE_READ_BYTES];
    let mut offset = 0;
    loop {
        match contents.read(&mut buffer) {
            Ok(0) if offset == bytes => return outlet.end(),
            Ok(0) => return Err(SourceError::Changed { name }),
            Ok(count) => {
                if count as u64 > bytes - offset {
                    return Err(SourceError::Changed { name });
                }
                outlet.piece(offset, buffer.get(..count).unwrap_or_default())?;
                offset += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(SourceError::Entry { name, source }),
        }
    }
}

/// Sends changes: all expectations, then all removals, then the missing directories and the files in the order
/// given. `missing_directories` are those above the files that are not there yet, outermost first.
pub fn push_changes(
    missing_directories: &[TreePath],
    changes: &[PushChange],
    sink: &mut dyn TreeSink,
) -> Result<Tally, SourceError> {
    let mut outlet = Outlet::new(sink);
    let mtime = now();
    for expect in changes.iter().filter_map(|change| change.expect.as_ref()) {
        outlet.item(&Item::Expect(expect.clone()))?;
    }
    for change in changes.iter().filter(|change| change.is_replaced || change.node.is_none()) {
        outlet.item(&Item::Remove(change.path.clone()))?;
    }
    for directory in missing_directories {
        outlet.entry(directory.clone(), NodeKind::Directory, DIRECTORY_MODE, mtime)?;
    }
    for change in changes {
        match &change.node {
            Some(PushNode::File { bytes, mode }) => {
                let kind = NodeKind::File { bytes: bytes.len() as u64 };
                outlet.entry(change.path.clone(), kind, *mode, mtime)?;
                let mut offset = 0;
                for piece in bytes.chunks(SOURCE_READ_BYTES) {
                    outlet.piece(offset, piece)?;
                    offset += piece.len() as u64;
                }
            }
            Some(PushNode::Symlink { target }) => {
                let kind = NodeKind::Symlink { target: target.clone() };
                outlet.entry(change.path.clone(), kind, SYMLINK_MODE, mtime)?;
            }
            None => {}
        }
    }
    outlet.end()
}

fn now() -> Mtime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Mtime { seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nanoseconds: now.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Model, ModelContent, tree_path};
    use super::*;

    fn one(bytes: u64, contents: &[u8]) -> (Result<Tally, SourceError>, Model) {
        let mut batches = Vec::new();
        let expect = Expect { path: tree_path("f"), version: Some(7) };
        let sink = &mut |batch| {
            batches.push(batch);
            Ok(())
        };
        let sent = one_file(tree_path("f"), 0o100600, contents, bytes, Some(expect), sink);
        (sent, Model::of(&batches))
    }

    /// A written file arrives as it is, under its condition; with another length than announced it does not.
    #[test]
    fn one_file_is_whole_or_nothing() {
        let contents: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        let (sent, model) = one(300_000, &contents);
        assert_eq!(sent.unwrap(), Tally { entries: 1, bytes: 300_000 });
        assert_eq!((model.contents("f"), model.get("f").mode), (contents.as_slice(), 0o600));
        assert_eq!(model.orders, ["expect \"f\" Some(7)"]);
        assert!(one(0, b"").1.has_ended);
        for bytes in [0, 299_999, 300_001] {
            let (sent, model) = one(bytes, &contents);
            assert!(matches!(sent, Err(SourceError::Changed { .. })) && !model.has_ended, "{bytes}");
        }
    }

    /// Conditions come before removals, and these before what is made.
    #[test]
    fn changes_are_in_order() {
        let change = |path: &str, node: Option<PushNode>, is_replaced: bool| PushChange {
            path: tree_path(path),
            node,
            is_replaced,
            expect: Some(Expect { path: tree_path(path), version: None }),
        };
        let file = PushNode::File { bytes: b"x".to_vec(), mode: 0o755 };
        let symlink = PushNode::Symlink { target: b"t".to_vec() };
        let changes = [
            change("n/f", Some(file), false),
            change("gone", None, false),
            change("turned", Some(symlink), true),
        ];
        let mut batches = Vec::new();
        let sink = &mut |batch| {
            batches.push(batch);
            Ok(())
        };
        let tally = push_changes(&[tree_path("n")], &changes, sink).unwrap();
        assert_eq!(tally, Tally { entries: 3, bytes: 1 });
        let model = Model::of(&batches);
        assert!(model.has_ended);
        let expected = ["expect \"n/f\" None", "expect \"gone\" None", "expect \"turned\" None"];
        assert_eq!(model.orders[..3], expected);
        assert_eq!(model.orders[3..], ["remove \"gone\"", "remove \"turned\""]);
        assert_eq!(model.order, [b"n".as_slice(), b"n/f", b"turned"]);
        assert_eq!(model.get("turned").content, ModelContent::Symlink(b"t".to_vec()));
    }
}
