//! Where entries of an archive go, and which came before: nothing leaves the tree, nothing is written twice or
//! through a symlink. Pure; it keeps the archive's paths, and bounds them.

use std::collections::HashMap;

use pyro_proto::tree::{TreePath, TreePathError};

use super::super::Name;
use super::error::{ArchiveError, Refusal};
use crate::limits::{SOURCE_ENTRIES_MAX, SOURCE_NAMES_BYTES_MAX};

/// Permissions of a directory that an archive has entries in, and no entry for.
pub(super) const MISSING_DIRECTORY_MODE: u32 = 0o755;

/// What was sent at a path.
#[derive(Clone, Debug)]
enum Sent {
    Directory { mode: u32 },
    File,
    Symlink { target: Vec<u8> },
    HardLink { target: TreePath },
}

/// What is to be placed.
pub(super) enum Node {
    Directory { mode: u32 },
    File,
    Symlink { target: Vec<u8> },
}

/// What a hard link names.
pub(super) enum Linked {
    File(TreePath),
    /// The link becomes a second such symlink.
    Symlink(Vec<u8>),
}

/// All paths so far.
#[derive(Default)]
pub(super) struct Placing {
    sent: HashMap<TreePath, Sent>,
    names_bytes: usize,
}

impl Placing {
    /// Places an entry: the directories to be made for it, outermost first, or `None` when it is there
    /// already, as it should be.
    pub(super) fn place(
        &mut self,
        path: &TreePath,
        node: Node,
    ) -> Result<Result<Option<Vec<TreePath>>, Refusal>, ArchiveError> {
        match (self.sent.get(path), &node) {
            (None, _) => {}
            (Some(Sent::Directory { mode: sent }), Node::Directory { mode }) if sent == mode => {
                return Ok(Ok(None));
            }
            (Some(Sent::Directory { .. }), Node::Directory { .. }) => return Ok(Err(Refusal::LateDirectory)),
            (Some(Sent::Directory { .. }), _) | (Some(_), Node::Directory { .. }) => {
                return Ok(Err(Refusal::TypeConflict));
            }
            (Some(_), _) => return Ok(Err(Refusal::Twice)),
        }
        let mut missing = Vec::new();
        let mut next = path.split().map(|(parent, _)| parent);
        while let Some(parent) = next.filter(|parent| !parent.is_root()) {
            match self.sent.get(&parent) {
                Some(Sent::Directory { .. }) => break,
                Some(Sent::Symlink { .. }) => return Ok(Err(Refusal::BelowSymlink(shown(&parent)))),
                Some(_) => return Ok(Err(Refusal::BelowFile(shown(&parent)))),
                None => {}
            }
            next = parent.split().map(|(above, _)| above);
            missing.push(parent);
        }
        missing.reverse();
        if self.sent.is_empty() && !path.is_root() {
            // Whatever the tree goes to has a root already.
            self.keep(&TreePath::root(), Sent::Directory { mode: MISSING_DIRECTORY_MODE })?;
        }
        for directory in &missing {
            self.keep(directory, Sent::Directory { mode: MISSING_DIRECTORY_MODE })?;
        }
        let sent = match node {
            Node::Directory { mode } => Sent::Directory { mode },
            Node::File => Sent::File,
            Node::Symlink { target } => Sent::Symlink { target },
        };
        self.keep(path, sent)?;
        Ok(Ok(Some(missing)))
    }

    /// What a hard link's target is.
    pub(super) fn linked(&self, target: &[u8]) -> Result<Linked, Refusal> {
        let missing = || Refusal::LinkMissing(Name::new(target));
        let path = match parse(target) {
            Ok(path) => path,
            Err(Refusal::Path(TreePathError::Absolute | TreePathError::Dots)) => {
                return Err(Refusal::LinkOutside(Name::new(target)));
            }
            Err(_) => return Err(missing()),
        };
        match self.sent.get(&path) {
            Some(Sent::File) => Ok(Linked::File(path)),
            Some(Sent::HardLink { target }) => Ok(Linked::File(target.clone())),
            Some(Sent::Symlink { target }) => Ok(Linked::Symlink(target.clone())),
            Some(Sent::Directory { .. }) | None => Err(missing()),
        }
    }

    /// Says that a placed file is another name of an earlier one.
    pub(super) fn link(&mut self, path: &TreePath, target: &TreePath) {
        self.sent.insert(path.clone(), Sent::HardLink { target: target.clone() });
    }

    fn keep(&mut self, path: &TreePath, sent: Sent) -> Result<(), ArchiveError> {
        let target_bytes = if let Sent::Symlink { target } = &sent { target.len() } else { 0 };
        self.names_bytes += path.as_bytes().len() + target_bytes;
        if self.sent.len() as u64 >= SOURCE_ENTRIES_MAX {
            return Err(ArchiveError::TooMany { what: format!("{SOURCE_ENTRIES_MAX} entries") });
        }
        if self.names_bytes > SOURCE_NAMES_BYTES_MAX {
            return Err(ArchiveError::TooMany { what: format!("{SOURCE_NAMES_BYTES_MAX} bytes of names") });
        }
        self.sent.insert(path.clone(), sent);
        Ok(())
    }
}

/// Reads a path of an archive: `.` and empty names in it mean nothing, all else is a [`TreePath`] or refused.
pub(super) fn parse(name: &[u8]) -> Result<TreePath, Refusal> {
    if name.is_empty() {
        return Err(Refusal::NoName);
    }
    if name.first() == Some(&b'/') {
        return Err(Refusal::Path(TreePathError::Absolute));
    }
    let names: Vec<_> =
        name.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    Ok(TreePath::parse(names.join(&b'/'))?)
}

fn shown(path: &TreePath) -> Name {
    Name::new(path.as_bytes())
}
