//! One path on both sides: whether it differs, and what is told of it.

use std::os::fd::BorrowedFd;

use pyro_proto::limits::TREE_PIECE_BYTES_MAX;
use pyro_proto::tree::{Change, Contents as Told, Item, Node, NodeKind, Side, TreePath};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::super::contents::Contents;
use super::super::directory::kind;
use super::super::error::{WorkspaceError, unreadable};
use super::super::node::{node, node_of};
use super::super::outlet::Outlet;
use super::Wanted;

/// What compares, with room for two reads.
pub(crate) struct Comparison<'a> {
    wanted: &'a Wanted,
    outlet: &'a mut Outlet,
    buffers: [Vec<u8>; 2],
}

/// A side of a path: the directory that holds it, and what it is.
pub(crate) type At<'a> = Option<(BorrowedFd<'a>, &'a Stat)>;

/// One side as it is told.
struct SideNode {
    node: Node,
    stat: Stat,
    contents: Option<Contents>,
}

impl<'a> Comparison<'a> {
    /// A comparison that tells what is `wanted`.
    pub(crate) fn new(wanted: &'a Wanted, outlet: &'a mut Outlet) -> Comparison<'a> {
        let buffers = [vec![0; TREE_PIECE_BYTES_MAX], vec![0; TREE_PIECE_BYTES_MAX]];
        Comparison { wanted, outlet, buffers }
    }

    /// Tells what differs at `path`; gives the bytes that were sent, `None` when nothing differs.
    pub(crate) fn tell(
        &mut self,
        path: &TreePath,
        name: &[u8],
        before: At<'_>,
        after: At<'_>,
    ) -> Result<Option<u64>, WorkspaceError> {
        self.outlet.go_on()?;
        let before = side(name, before).map_err(unreadable(path))?;
        let after = side(name, after).map_err(unreadable(path))?;
        let has_file = [&before, &after].into_iter().flatten().any(|side| side.contents.is_some());
        let same_bytes = self.have_same_contents(path, before.as_ref(), after.as_ref())?;
        let differs = match (&before, &after) {
            (Some(before), Some(after)) => !same_bytes || differ_in_kind(before, after),
            (None, None) => false,
            _ => true,
        };
        if !differs {
            return Ok(None);
        }
        let largest = [&before, &after].into_iter().flatten().filter_map(|side| side.contents.as_ref());
        let largest = largest.map(Contents::bytes).max().unwrap_or(0);
        let is_pair = before.is_some() && after.is_some();
        let told = match () {
            () if !has_file || (is_pair && same_bytes) => Told::Same,
            () if !self.wanted.contents => Told::Unasked,
            () if largest > self.wanted.file_bytes_max => Told::TooLarge,
            () => Told::Follow,
        };
        let node = |side: &Option<SideNode>| side.as_ref().map(|side| side.node.clone());
        let change =
            Change { path: path.clone(), before: node(&before), after: node(&after), contents: told };
        self.outlet.item(&Item::Change(change))?;
        let mut sent = 0;
        if told == Told::Follow {
            for (side, contents) in [(Side::Before, &before), (Side::After, &after)] {
                if let Some(contents) = contents.as_ref().and_then(|side| side.contents.as_ref()) {
                    let [buffer, _] = &mut self.buffers;
                    sent += contents.send(path, side, u64::MAX, buffer, self.outlet)?;
                }
            }
        }
        Ok(Some(sent))
    }

    /// Whether the bytes of both sides are the same, which those of a file and of something else never are.
    fn have_same_contents<'s>(
        &mut self,
        path: &TreePath,
        before: Option<&'s SideNode>,
        after: Option<&'s SideNode>,
    ) -> Result<bool, WorkspaceError> {
        let contents = |side: Option<&'s SideNode>| side.and_then(|side| side.contents.as_ref());
        match (contents(before), contents(after)) {
            (Some(before), Some(after)) => {
                before.same_as(after, &mut self.buffers, self.outlet).map_err(|errno| match errno {
                    Errno::CANCELED => WorkspaceError::Canceled,
                    errno => unreadable(path)(errno),
                })
            }
            (before, after) => Ok(before.is_none() && after.is_none()),
        }
    }
}

/// One side of a path, opened if it is a file; `None` when it is not there, or not any more.
fn side(name: &[u8], at: At<'_>) -> rustix::io::Result<Option<SideNode>> {
    let Some((parent, stat)) = at else { return Ok(None) };
    if kind(stat) != FileType::RegularFile {
        let node = match node(parent, name, stat) {
            Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
            result => result?,
        };
        return Ok(Some(SideNode { node, stat: *stat, contents: None }));
    }
    let side = |contents: Contents| {
        let node = node_of(NodeKind::File { bytes: contents.bytes() }, &contents.stat);
        SideNode { node, stat: contents.stat, contents: Some(contents) }
    };
    Ok(Contents::open(parent, name)?.map(side))
}

/// Whether two nodes differ in what they are or in their mode, contents and time aside.
fn differ_in_kind(before: &SideNode, after: &SideNode) -> bool {
    let is_symlink = matches!(before.node.kind, NodeKind::Symlink { .. });
    let is_special = before.node.kind == NodeKind::Special;
    before.node.kind != after.node.kind
        || (before.node.mode != after.node.mode && !is_symlink)
        || (is_special
            && (kind(&before.stat) != kind(&after.stat) || before.stat.st_rdev != after.stat.st_rdev))
}
