//! A host directory as a source: scanned to its end first, then sent from what the scan has found.

mod confined;
mod inventory;
mod scan;
mod send;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use pyro_proto::agent::Tally;

use super::gitignore::GitRules;
use super::outlet::Outlet;
use super::{Progress, SourceError, Totals, TreeSink};
pub(super) use confined::Confined;
use inventory::Inventory;
use send::Sender;

/// A directory, open.
#[derive(Debug)]
pub(super) struct DirectorySource {
    path: PathBuf,
    root: Confined,
    rules: Option<GitRules>,
    scanned: Option<(Inventory, Totals)>,
}

impl DirectorySource {
    pub(super) fn new(path: PathBuf, fd: OwnedFd, rules: Option<GitRules>) -> DirectorySource {
        DirectorySource { path, root: Confined::new(fd), rules, scanned: None }
    }

    pub(super) fn scan(&mut self) -> Result<Totals, SourceError> {
        let (inventory, totals) = scan::scan(&self.path, &self.root, self.rules.as_ref())?;
        self.scanned = Some((inventory, totals));
        Ok(totals)
    }

    pub(super) fn send(
        &mut self,
        sink: &mut dyn TreeSink,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Tally, SourceError> {
        let (inventory, totals) = match self.scanned.take() {
            Some(scanned) => scanned,
            None => scan::scan(&self.path, &self.root, self.rules.as_ref())?,
        };
        let mut outlet = Outlet::new(sink);
        let mut sender = Sender::new(&self.root, &inventory, &mut outlet);
        let mut reached = Progress { entries: 0, bytes: 0, bytes_total: totals.bytes };
        sender.root()?;
        for (place, kind) in inventory.iter() {
            sender.entry(place, kind, &mut |bytes| {
                // Files that grew since the scan must not bring it past its end.
                reached.bytes = reached.bytes.saturating_add(bytes).min(reached.bytes_total);
                progress(reached);
            })?;
            reached.entries += 1;
            progress(reached);
        }
        outlet.end()
    }
}
