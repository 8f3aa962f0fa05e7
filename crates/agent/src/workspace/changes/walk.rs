//! The walk over what can differ.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use pyro_proto::agent::Tally;
use pyro_proto::tree::TreePath;
use rustix::fs::Stat;
use rustix::io::Errno;

use super::super::directory::{is_directory, names, open_child, stat_at};
use super::super::error::{WorkspaceError, unnameable, unreadable};
use super::super::node::version;
use super::super::outlet::Outlet;
use super::Wanted;
use super::aliases::Aliases;
use super::compare::Comparison;
pub(crate) use super::upper::Hint;
use super::upper::UpperDirectory;

/// A walk through both sides at once.
pub(crate) struct Walk<'a> {
    wanted: &'a Wanted,
    comparison: Comparison<'a>,
    aliases: Aliases,
    pub(crate) tally: Tally,
}

/// One name on both sides.
struct Pair<'a> {
    name: &'a [u8],
    before: Option<Stat>,
    after: Option<Stat>,
}

impl<'a> Walk<'a> {
    /// A walk that tells what is `wanted`.
    pub(crate) fn new(wanted: &'a Wanted, aliases: Aliases, outlet: &'a mut Outlet) -> Walk<'a> {
        Walk { wanted, comparison: Comparison::new(wanted, outlet), aliases, tally: Tally::default() }
    }

    /// Tells what differs in a directory of either side or both.
    pub(crate) fn directory<U: UpperDirectory>(
        &mut self,
        path: &TreePath,
        base: Option<OwnedFd>,
        merged: Option<OwnedFd>,
        hint: Hint<U>,
    ) -> Result<(), WorkspaceError> {
        for (name, is_alias) in self.names(path, base.as_ref(), merged.as_ref(), &hint)? {
            let child = path.join(&name).map_err(|error| unnameable(path, &name, error))?;
            if !self.wanted.visits(&child) {
                continue;
            }
            let before = stat_in(base.as_ref(), &name).map_err(unreadable(&child))?;
            let after = stat_in(merged.as_ref(), &name).map_err(unreadable(&child))?;
            if is_alias && is_untouched(before.as_ref(), after.as_ref()) {
                continue;
            }
            let pair = Pair { name: &name, before, after };
            self.pair(&child, &pair, (base.as_ref(), merged.as_ref()), &hint)?;
        }
        Ok(())
    }

    /// Names to look at in their order, and whether they are there only as aliases.
    fn names<U: UpperDirectory>(
        &self,
        path: &TreePath,
        base: Option<&OwnedFd>,
        merged: Option<&OwnedFd>,
        hint: &Hint<U>,
    ) -> Result<BTreeMap<Vec<u8>, bool>, WorkspaceError> {
        let known = match hint {
            Hint::Names(upper) => upper.names().map_err(unreadable(path))?,
            Hint::Nothing => Vec::new(),
            Hint::All => {
                let mut all = list(base).map_err(unreadable(path))?;
                all.extend(list(merged).map_err(unreadable(path))?);
                all
            }
        };
        let aliases = self.aliases.names_in(path).map(|name| (name.clone(), true));
        let mut names: BTreeMap<_, _> = aliases.collect();
        names.extend(known.into_iter().map(|name| (name, false)));
        Ok(names)
    }

    fn pair<U: UpperDirectory>(
        &mut self,
        path: &TreePath,
        pair: &Pair<'_>,
        (base, merged): (Option<&OwnedFd>, Option<&OwnedFd>),
        hint: &Hint<U>,
    ) -> Result<(), WorkspaceError> {
        if self.wanted.tells(path) {
            let before = base.map(AsFd::as_fd).zip(pair.before.as_ref());
            let after = merged.map(AsFd::as_fd).zip(pair.after.as_ref());
            if let Some(bytes) = self.comparison.tell(path, pair.name, before, after)? {
                self.tally.entries += 1;
                self.tally.bytes += bytes;
            }
        }
        let base = open_in(base, pair.name, pair.before.as_ref()).map_err(unreadable(path))?;
        let merged = open_in(merged, pair.name, pair.after.as_ref()).map_err(unreadable(path))?;
        if base.is_none() && merged.is_none() {
            return Ok(());
        }
        let hint = match (&base, &merged, hint) {
            (Some(_), Some(_), Hint::Names(upper)) => upper.child(pair.name).map_err(unreadable(path))?,
            (Some(_), Some(_), Hint::Nothing) => Hint::Nothing,
            _ => Hint::All,
        };
        self.directory(path, base, merged, hint)
    }
}

/// Whether one file is seen from both sides, not copied up: a copy has a change time of its own.
fn is_untouched(before: Option<&Stat>, after: Option<&Stat>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => !is_directory(before) && version(before) == version(after),
        _ => false,
    }
}

fn list(directory: Option<&OwnedFd>) -> rustix::io::Result<Vec<Vec<u8>>> {
    directory.map_or_else(|| Ok(Vec::new()), |directory| names(directory)?.collect())
}

fn stat_in(directory: Option<&OwnedFd>, name: &[u8]) -> rustix::io::Result<Option<Stat>> {
    directory.map_or(Ok(None), |directory| stat_at(directory, name))
}

/// The directory `name`, if it is one.
fn open_in(
    directory: Option<&OwnedFd>,
    name: &[u8],
    stat: Option<&Stat>,
) -> rustix::io::Result<Option<OwnedFd>> {
    match (directory, stat) {
        (Some(directory), Some(stat)) if is_directory(stat) => match open_child(directory, name) {
            Ok(child) => Ok(Some(child)),
            // A command has just removed it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        },
        _ => Ok(None),
    }
}
