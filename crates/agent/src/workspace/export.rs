//! A file or directory of the workspace as a stream of entries, in the order in which directories give them:
//! what is sent is never held as a whole.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use pyro_proto::agent::{Export, Tally};
use pyro_proto::limits::TREE_PIECE_BYTES_MAX;
use pyro_proto::tree::{Entry, Item, Node, NodeKind, Side, TreePath};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::contents::Contents;
use super::directory::{is_directory, kind, names, open_child, open_directory, stat_at};
use super::error::{WorkspaceError, shown, unnameable, unreadable};
use super::node::{bytes, node, node_of, version};
use super::outlet::Outlet;
use super::resolve::{Last, resolve};
use crate::limits::HARD_LINKS_MAX;

/// Sends what `wanted` names, below `tree`.
pub(crate) fn export(
    tree: BorrowedFd<'_>,
    wanted: &Export,
    mut outlet: Outlet,
) -> Result<Tally, WorkspaceError> {
    let resolved = resolve(tree, &wanted.path, Last::Kept)?;
    if !resolved.missing.is_empty() {
        return Err(WorkspaceError::Missing(format!("\"{}\"", wanted.path.escape_ascii())));
    }
    let mut walk = Walk {
        outlet: &mut outlet,
        contents: wanted.contents,
        links: HashMap::new(),
        buffer: vec![0; TREE_PIECE_BYTES_MAX],
        tally: Tally::default(),
    };
    let path = &resolved.existing;
    let sent = match path.split() {
        Some((parent, name)) => {
            let parent = open_directory(tree, &parent).map_err(unreadable(path))?;
            walk.node(parent.as_fd(), name, &TreePath::root(), wanted.depth_max)?
        }
        None => walk.node(tree, b".", &TreePath::root(), wanted.depth_max)?,
    };
    if !sent {
        return Err(WorkspaceError::Changed(shown(path)));
    }
    let tally = walk.tally;
    outlet.finish()?;
    Ok(tally)
}

struct Walk<'a> {
    outlet: &'a mut Outlet,
    contents: Option<u64>,
    /// Files with several names that were sent, with the name that came first.
    links: HashMap<(u64, u64), TreePath>,
    buffer: Vec<u8>,
    tally: Tally,
}

impl Walk<'_> {
    /// Sends one node with what is below it; false when it is gone.
    fn node(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
        depth: u32,
    ) -> Result<bool, WorkspaceError> {
        let Some(stat) = stat_at(parent, name).map_err(unreadable(path))? else { return Ok(false) };
        if kind(&stat) == FileType::RegularFile {
            return self.file(parent, name, path, &stat);
        }
        let node = match node(parent, name, &stat) {
            Err(Errno::NOENT | Errno::INVAL) => return Ok(false),
            result => result.map_err(unreadable(path))?,
        };
        self.entry(path, node, &stat)?;
        if is_directory(&stat) && depth > 0 {
            self.directory(parent, name, path, depth)?;
        }
        Ok(true)
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
        depth: u32,
    ) -> Result<(), WorkspaceError> {
        let directory = match open_child(parent, name) {
            // Gone since it was looked at: an empty one is sent.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            result => result.map_err(unreadable(path))?,
        };
        for name in names(&directory).map_err(unreadable(path))? {
            let name = name.map_err(unreadable(path))?;
            let path = path.join(&name).map_err(|error| unnameable(path, &name, error))?;
            self.node(directory.as_fd(), &name, &path, depth - 1)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
        stat: &Stat,
    ) -> Result<bool, WorkspaceError> {
        if let Some(target) = self.link(path, stat) {
            self.entry(path, node_of(NodeKind::HardLink { target }, stat), stat)?;
            return Ok(true);
        }
        let Some(bytes_max) = self.contents else {
            self.entry(path, node_of(NodeKind::File { bytes: bytes(stat) }, stat), stat)?;
            return Ok(true);
        };
        let Some(contents) = Contents::open(parent, name).map_err(unreadable(path))? else {
            return match stat_at(parent, name).map_err(unreadable(path))? {
                None => Ok(false),
                Some(_) => Err(WorkspaceError::Changed(shown(path))),
            };
        };
        let kind = NodeKind::File { bytes: contents.bytes() };
        self.entry(path, node_of(kind, &contents.stat), &contents.stat)?;
        let sent = contents.send(path, Side::After, bytes_max, &mut self.buffer, self.outlet)?;
        self.tally.bytes += sent;
        Ok(true)
    }

    /// The path under which this file came before; beyond a bound, it is sent again.
    fn link(&mut self, path: &TreePath, stat: &Stat) -> Option<TreePath> {
        if stat.st_nlink < 2 {
            return None;
        }
        let key = (stat.st_dev, stat.st_ino);
        let known = self.links.get(&key).cloned();
        if known.is_none() && self.links.len() < HARD_LINKS_MAX {
            self.links.insert(key, path.clone());
        }
        known
    }

    fn entry(&mut self, path: &TreePath, node: Node, stat: &Stat) -> Result<(), WorkspaceError> {
        self.tally.entries += 1;
        self.outlet.item(&Item::Entry(Entry { path: path.clone(), node, version: version(stat) }))?;
        self.outlet.go_on()
    }
}
