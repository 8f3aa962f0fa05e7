//! A walk over a directory that sends nothing: what there is to send, and everything that cannot be sent.

use std::os::fd::OwnedFd;
use std::path::Path;

use pyro_proto::limits::{TREE_DEPTH_MAX, TREE_NAME_BYTES_MAX, TREE_PATH_BYTES_MAX};
use rustix::fs::{Access, AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::super::gitignore::{GitRules, Ignored, Scope};
use super::super::{Name, SourceError, Totals, Trouble, TroubleKind};
use super::confined::Confined;
use super::inventory::{Inventory, Kind, Place};
use crate::limits::{
    IGNORE_FILE_BYTES_MAX, SOURCE_ENTRIES_MAX, SOURCE_NAMES_BYTES_MAX, SOURCE_TROUBLES_NAMED_MAX,
};

/// Name of the files with a directory's patterns.
const IGNORE_FILE: &[u8] = b".gitignore";
/// Name of a repository's own directory.
const GIT_DIRECTORY: &[u8] = b".git";

/// Finds all entries, or all that stands in the way.
pub(super) fn scan(
    path: &Path,
    root: &Confined,
    rules: Option<&GitRules>,
) -> Result<(Inventory, Totals), SourceError> {
    let mut walk =
        Walk { path, root, inventory: Inventory::default(), bytes: 0, troubles: Vec::new(), more: 0 };
    let scope = rules.map(|rules| Scope::of_directory(path, rules)).transpose()?;
    walk.directory(&mut Vec::new(), None, scope.as_ref(), Ignored::No)?;
    if !walk.troubles.is_empty() {
        return Err(SourceError::Troubles {
            path: path.to_owned(),
            troubles: walk.troubles,
            more: walk.more,
        });
    }
    let totals = Totals { entries: walk.inventory.count(), bytes: walk.bytes };
    Ok((walk.inventory, totals))
}

struct Walk<'a> {
    path: &'a Path,
    root: &'a Confined,
    inventory: Inventory,
    bytes: u64,
    troubles: Vec<Trouble>,
    more: u64,
}

/// A name in a directory, and what is there.
struct Listed {
    name: Vec<u8>,
    stat: Stat,
    is_readable: bool,
}

impl Walk<'_> {
    /// Takes in what is in a directory; says whether there was anything on the disk. The depth of paths
    /// bounds the recursion.
    fn directory(
        &mut self,
        path: &mut Vec<u8>,
        place: Option<Place>,
        scope: Option<&Scope>,
        ignored: Ignored,
    ) -> Result<bool, SourceError> {
        let listed = match self.list(path) {
            Ok(listed) => listed,
            Err(SourceError::Entry { source, .. }) if is_denied(&source) => {
                self.trouble(path, TroubleKind::Unreadable);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let scope = match scope {
            Some(scope) => Some(self.inner_scope(path, &listed, scope)?),
            None => None,
        };
        let is_empty = listed.is_empty();
        for entry in listed {
            let length = path.len();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&entry.name);
            self.entry(path, &entry, place, scope.as_ref(), ignored)?;
            path.truncate(length);
        }
        Ok(!is_empty)
    }

    fn entry(
        &mut self,
        path: &mut Vec<u8>,
        entry: &Listed,
        parent: Option<Place>,
        scope: Option<&Scope>,
        ignored: Ignored,
    ) -> Result<(), SourceError> {
        let file_type = FileType::from_raw_mode(entry.stat.st_mode);
        let is_directory = file_type == FileType::Directory;
        // What git keeps for itself is taken as it is.
        let scope = scope.filter(|_| entry.name != GIT_DIRECTORY);
        let ignored = match scope {
            Some(scope) => scope.judge(path, is_directory, ignored),
            None => Ignored::No,
        };
        if ignored == Ignored::Whole {
            return Ok(());
        }
        let kind = match file_type {
            FileType::Fifo => Err(TroubleKind::Fifo),
            FileType::Socket => Err(TroubleKind::Socket),
            _ if is_too_long(path, &entry.name) => Err(TroubleKind::TooLong),
            _ if !entry.is_readable => Err(TroubleKind::Unreadable),
            FileType::Directory => Ok(Kind::Directory),
            FileType::RegularFile => Ok(Kind::File),
            FileType::Symlink => Ok(Kind::Symlink),
            _ => Err(TroubleKind::Device),
        };
        let kind = match kind {
            Ok(kind) => kind,
            Err(trouble) => {
                self.trouble(path, trouble);
                return Ok(());
            }
        };
        let place = self.inventory.add(parent, &entry.name, kind)?;
        match kind {
            Kind::Directory => {
                let has_any = self.directory(path, Some(place), scope, ignored)?;
                // Git knows no directories: one whose contents are all left out is left out with them.
                if scope.is_some() && (has_any || ignored != Ignored::No) {
                    self.inventory.drop_if_last(place);
                }
            }
            Kind::File => {
                self.bytes = self.bytes.saturating_add(u64::try_from(entry.stat.st_size).unwrap_or(0))
            }
            Kind::Symlink => {}
        }
        Ok(())
    }

    /// What is in a directory, in the order of bytes.
    fn list(&self, path: &[u8]) -> Result<Vec<Listed>, SourceError> {
        let failed = |errno: Errno| SourceError::Entry { name: Name::new(path), source: errno.into() };
        let directory = match self.root.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            // It went away after it was listed, and something else may have come.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) if !path.is_empty() => {
                return Err(SourceError::Changed { name: Name::new(path) });
            }
            Err(errno) => return Err(failed(errno)),
        };
        let mut listed = Vec::new();
        let mut names_bytes = 0;
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            names_bytes += name.len();
            if listed.len() as u64 >= SOURCE_ENTRIES_MAX || names_bytes > SOURCE_NAMES_BYTES_MAX {
                return Err(SourceError::TooMany { what: format!("more than {SOURCE_ENTRIES_MAX} entries") });
            }
            if let Some(entry) = look(&directory, name).map_err(failed)? {
                listed.push(entry);
            }
        }
        listed.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(listed)
    }

    /// The rules inside a directory: those around it with its own patterns, or those of a repository that
    /// begins here.
    fn inner_scope(&mut self, path: &[u8], listed: &[Listed], around: &Scope) -> Result<Scope, SourceError> {
        let has = |name: &[u8]| listed.binary_search_by(|entry| entry.name.as_slice().cmp(name)).is_ok();
        let mut scope = match !path.is_empty() && has(GIT_DIRECTORY) {
            true => around.of_nested(self.path, path)?,
            false => around.clone(),
        };
        if has(IGNORE_FILE) {
            let mut file = path.to_vec();
            if !file.is_empty() {
                file.push(b'/');
            }
            file.extend_from_slice(IGNORE_FILE);
            match self.root.open_file(&file) {
                Ok(fd) => {
                    let patterns = super::super::read_bounded(fd.into(), IGNORE_FILE_BYTES_MAX)
                        .map_err(|source| SourceError::Entry { name: Name::new(file), source })?;
                    scope = scope.with_patterns(path, &patterns.unwrap_or_default());
                }
                Err(Errno::ACCESS | Errno::PERM) => self.trouble(&file, TroubleKind::Unreadable),
                // Git does not follow one that is a symlink (gitignore(5)).
                Err(_) => {}
            }
        }
        Ok(scope)
    }

    fn trouble(&mut self, path: &[u8], kind: TroubleKind) {
        let trouble = Trouble { name: Name::new(path), kind };
        if self.troubles.contains(&trouble) {
            return;
        }
        match self.troubles.len() < SOURCE_TROUBLES_NAMED_MAX {
            true => self.troubles.push(trouble),
            false => self.more += 1,
        }
    }
}

/// Looks at an entry without opening it; `None` when it is gone again.
fn look(directory: &OwnedFd, name: &[u8]) -> Result<Option<Listed>, Errno> {
    let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let access = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Access::READ_OK | Access::EXEC_OK,
        FileType::RegularFile => Access::READ_OK,
        _ => Access::EXISTS,
    };
    let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
    let is_readable = match rustix::fs::accessat(directory, name, access, flags) {
        Ok(()) => true,
        Err(Errno::ACCESS | Errno::PERM) => false,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    Ok(Some(Listed { name: name.to_vec(), stat, is_readable }))
}

fn is_too_long(path: &[u8], name: &[u8]) -> bool {
    path.len() > TREE_PATH_BYTES_MAX
        || name.len() > TREE_NAME_BYTES_MAX
        || path.iter().filter(|byte| **byte == b'/').count() >= TREE_DEPTH_MAX
}

fn is_denied(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied
}
