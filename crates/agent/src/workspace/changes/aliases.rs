//! Files of the baseline with several names. A write through one of them changes the others as well, of which the
//! upper layer then holds no name: the overlay finds them by its index (`index=on`).

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use pyro_proto::tree::TreePath;
use rustix::fs::FileType;

use super::super::directory::{kind, names, open_directory, stat_at};
use super::super::error::{WorkspaceError, unnameable, unreadable};
use super::super::outlet::Outlet;
use crate::limits::HARD_LINKS_MAX;

/// Names to look at besides those of the upper layer, by their directory: of such files, and of the directories
/// that lead to them.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    names: BTreeMap<TreePath, BTreeSet<Vec<u8>>>,
    count: usize,
}

impl Aliases {
    /// Finds all of a baseline; `None` when there are more than are kept in mind.
    pub(crate) fn find(base: &OwnedFd, outlet: &Outlet) -> Result<Option<Aliases>, WorkspaceError> {
        let mut aliases = Aliases::default();
        let mut ahead = vec![TreePath::root()];
        while let Some(path) = ahead.pop() {
            outlet.go_on()?;
            let directory = open_directory(base, &path).map_err(unreadable(&path))?;
            for name in names(&directory).map_err(unreadable(&path))? {
                let name = name.map_err(unreadable(&path))?;
                let Some(stat) = stat_at(&directory, &name).map_err(unreadable(&path))? else { continue };
                match kind(&stat) {
                    FileType::Directory => {
                        ahead.push(path.join(&name).map_err(|error| unnameable(&path, &name, error))?);
                    }
                    FileType::RegularFile if stat.st_nlink > 1 => aliases.insert(path.clone(), name),
                    _ => {}
                }
            }
            if aliases.count > HARD_LINKS_MAX {
                return Ok(None);
            }
        }
        Ok(Some(aliases))
    }

    /// Names in the directory `path`.
    pub(crate) fn names_in(&self, path: &TreePath) -> impl Iterator<Item = &Vec<u8>> {
        self.names.get(path).into_iter().flatten()
    }

    fn insert(&mut self, directory: TreePath, name: Vec<u8>) {
        let mut place = Some((directory, name));
        while let Some((directory, name)) = place.take() {
            let is_new = self.names.entry(directory.clone()).or_default().insert(name);
            self.count += usize::from(is_new);
            place = directory.split().filter(|_| is_new).map(|(above, name)| (above, name.to_vec()));
        }
    }
}
