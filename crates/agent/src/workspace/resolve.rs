//! A path that a host names, inside the workspace: symlinks are followed inside alone.
//!
//! What comes out holds no symlink at that moment. Whoever uses it opens it without following any, so that a
//! command that swaps one in between gains nothing.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use pyro_proto::tree::TreePath;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::directory::{kind, open_directory, stat_at};
use super::error::{WorkspaceError, shown, step, unnameable, unreadable};
use crate::limits::SYMLINKS_MAX;

/// What becomes of a symlink at the path's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// It is followed; a directory is wanted.
    Followed,
    /// It is what is meant.
    Kept,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// As far as it exists.
    pub(crate) existing: TreePath,
    /// The names behind that, which do not.
    pub(crate) missing: Vec<Vec<u8>>,
}

/// Resolves `path` below `root`.
pub(crate) fn resolve(root: BorrowedFd<'_>, path: &[u8], last: Last) -> Result<Resolved, WorkspaceError> {
    let quoted = format!("\"{}\"", path.escape_ascii());
    if path.contains(&0) {
        return Err(WorkspaceError::Invalid(format!("{quoted} has a NUL byte in it")));
    }
    if path.first() == Some(&b'/') {
        return Err(WorkspaceError::Outside(quoted));
    }
    let mut walk = Walk { root, quoted, at: TreePath::root(), ahead: split(path).collect(), links: 0 };
    while let Some(name) = walk.ahead.pop_front() {
        if name == b".." {
            walk.at = walk.at.split().map(|(parent, _)| parent).ok_or_else(|| walk.outside())?;
        } else if !walk.enter(&name, last)? {
            walk.ahead.push_front(name);
            return walk.missing();
        }
    }
    Ok(Resolved { existing: walk.at, missing: Vec::new() })
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    quoted: String,
    at: TreePath,
    ahead: VecDeque<Vec<u8>>,
    links: usize,
}

impl Walk<'_> {
    /// One name further; false when it is not there.
    fn enter(&mut self, name: &[u8], last: Last) -> Result<bool, WorkspaceError> {
        let here = self.at.join(name).map_err(|error| unnameable(&self.at, name, error))?;
        let directory = match open_directory(self.root, &self.at) {
            // It was there a moment ago.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Err(WorkspaceError::Changed(shown(&self.at)));
            }
            result => result.map_err(unreadable(&self.at))?,
        };
        let Some(stat) = stat_at(&directory, name).map_err(unreadable(&here))? else { return Ok(false) };
        let is_last = self.ahead.is_empty();
        match kind(&stat) {
            FileType::Directory => self.at = here,
            FileType::Symlink if !(is_last && last == Last::Kept) => {
                let target =
                    rustix::fs::readlinkat(&directory, name, Vec::new()).map_err(unreadable(&here))?;
                self.follow(target.as_bytes())?;
            }
            _ if is_last && last == Last::Kept => self.at = here,
            _ if last == Last::Kept => return Err(WorkspaceError::Missing(self.quoted.clone())),
            _ => return Err(WorkspaceError::Conflict(format!("{} is no directory", shown(&here)))),
        }
        Ok(true)
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), WorkspaceError> {
        self.links += 1;
        if self.links > SYMLINKS_MAX {
            return Err(step("the path's symlinks lead in circles")(Errno::LOOP));
        }
        if target.first() == Some(&b'/') {
            return Err(self.outside());
        }
        for name in split(target).collect::<Vec<_>>().into_iter().rev() {
            self.ahead.push_front(name);
        }
        Ok(())
    }

    fn missing(self) -> Result<Resolved, WorkspaceError> {
        if self.ahead.iter().any(|name| name == b"..") {
            return Err(WorkspaceError::Missing(self.quoted));
        }
        Ok(Resolved { existing: self.at, missing: self.ahead.into() })
    }

    fn outside(&self) -> WorkspaceError {
        WorkspaceError::Outside(self.quoted.clone())
    }
}

fn split(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec)
}
