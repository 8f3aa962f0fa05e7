//! Tickets: the signs of VMs that can be had.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pyro_store::{Directories, VmId, VmPlace};

use super::birth;

/// The sign of a VM that can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) vm: VmId,
    pub(super) lot: String,
    pub(super) laid: SystemTime,
    path: PathBuf,
}

impl Ticket {
    /// Takes the VM: of several who try, one succeeds. A ticket whose VM is gone is removed.
    pub(super) fn claim(&self, directories: &Directories) -> Option<VmPlace> {
        let place = directories.vm(&self.vm);
        match fs::rename(&self.path, place.claimed()) {
            Ok(()) => {
                birth::over(directories, &self.vm);
                Some(place)
            }
            Err(_) => {
                self.leads_somewhere(directories);
                None
            }
        }
    }

    /// Whether there is a VM; where there is none any more, the ticket goes too.
    fn leads_somewhere(&self, directories: &Directories) -> bool {
        let leads = directories.vm(&self.vm).runtime.is_dir();
        if !leads {
            let _ = fs::remove_file(&self.path);
        }
        leads
    }
}

/// The tickets of one lot, the newest first: what was parked last is the warmest.
pub(super) fn of_lot(directories: &Directories, lot: &str) -> Vec<Ticket> {
    let mut tickets = in_lot(&directories.parked().join(lot), lot);
    tickets.sort_by_key(|ticket| std::cmp::Reverse(ticket.laid));
    tickets
}

/// All tickets that lead to a VM, the oldest first.
pub(super) fn all(directories: &Directories) -> Vec<Ticket> {
    let mut tickets: Vec<Ticket> = lots(directories)
        .flat_map(|lot| in_lot(&directories.parked().join(&lot), &lot))
        .filter(|ticket| ticket.leads_somewhere(directories))
        .collect();
    tickets.sort_by(|a, b| (a.laid, &a.vm).cmp(&(b.laid, &b.vm)));
    tickets
}

/// Names of the lots that there are, or were.
pub(super) fn lots(directories: &Directories) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directories.parked()).into_iter().flatten().flatten();
    let of_lots = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    of_lots.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name != birth::BIRTHS)
}

fn in_lot(directory: &Path, lot: &str) -> Vec<Ticket> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let vm = VmId::parse(entry.file_name().to_str()?).ok()?;
            // One that was taken meanwhile is none.
            let laid = entry.metadata().ok()?.modified().ok()?;
            Some(Ticket { vm, lot: lot.to_owned(), laid, path: entry.path() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(root: &Path) -> Directories {
        let path = |name: &str| root.join(name);
        let directories = Directories { state: path("s"), cache: path("c"), runtime: path("r") };
        directories.create().unwrap();
        directories
    }

    fn lay(directories: &Directories, lot: &str) -> VmId {
        let vm = VmId::random().unwrap();
        fs::create_dir_all(directories.vm(&vm).runtime).unwrap();
        fs::create_dir_all(directories.parked().join(lot)).unwrap();
        fs::write(directories.parked().join(lot).join(vm.as_str()), b"").unwrap();
        vm
    }

    /// A VM is taken by one alone.
    #[test]
    fn a_ticket_is_taken_once() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(root.path());
        let vm = lay(&directories, "a");
        let [ticket] = of_lot(&directories, "a").try_into().unwrap();
        assert_eq!(ticket.claim(&directories).map(|place| place.runtime), Some(directories.vm(&vm).runtime));
        assert_eq!(ticket.claim(&directories).map(|_| ()), None);
        assert!(directories.vm(&vm).claimed().exists() && of_lot(&directories, "a").is_empty());
    }

    /// Eight who want the same four VMs get each of them once.
    #[test]
    fn many_claimers_share() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(root.path());
        let parked: std::collections::BTreeSet<VmId> = (0..4).map(|_| lay(&directories, "a")).collect();
        let mut taken: Vec<VmId> = std::thread::scope(|scope| {
            let claimers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let tickets = of_lot(&directories, "a").into_iter();
                        let mine = tickets.filter(|ticket| ticket.claim(&directories).is_some());
                        mine.map(|ticket| ticket.vm).collect::<Vec<_>>()
                    })
                })
                .collect();
            claimers.into_iter().flat_map(|claimer| claimer.join().unwrap()).collect()
        });
        taken.sort();
        assert_eq!(taken, parked.into_iter().collect::<Vec<_>>());
    }

    /// A ticket of a VM that is gone is worth nothing, and goes.
    #[test]
    fn a_dead_ticket_goes() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(root.path());
        let (dead, alive) = (lay(&directories, "a"), lay(&directories, "b"));
        fs::remove_dir_all(directories.vm(&dead).runtime).unwrap();
        let tickets = all(&directories);
        assert_eq!(tickets.iter().map(|ticket| &ticket.vm).collect::<Vec<_>>(), [&alive]);
        assert!(of_lot(&directories, "a").is_empty());
    }
}
