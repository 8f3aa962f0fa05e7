//! Who is parked, and who is about to be.

use std::collections::BTreeSet;

use pyro_store::{Directories, VmId};

use super::birth::{self, Birth};
use super::ticket::{self, Ticket};

/// All VMs of the pool at one moment.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Those that can be had, the oldest first.
    pub(super) parked: Vec<Ticket>,
    /// Those that will be.
    pub(super) coming: Vec<Birth>,
    /// Those that cannot be had any more and are not gone or put to a use either: somebody has just taken them.
    pub(super) taken: usize,
}

impl Census {
    /// Counts; `recorded` are the VMs that are recorded as parked. Marks that are out of date go.
    pub(super) fn take(directories: &Directories, recorded: &BTreeSet<VmId>) -> Census {
        // The births first: one that ends meanwhile is counted as parked, not as nothing.
        let births = birth::all(directories);
        let parked = ticket::all(directories);
        let is_parked = |vm: &VmId| parked.iter().any(|ticket| ticket.vm == *vm);
        let (coming, done): (Vec<Birth>, Vec<Birth>) = births.into_iter().partition(|birth| {
            let is_claimed = directories.vm(&birth.vm).claimed().exists();
            !is_claimed && !is_parked(&birth.vm) && birth.is_pending()
        });
        done.iter().for_each(|birth| birth::over(directories, &birth.vm));
        let is_coming = |vm: &VmId| coming.iter().any(|birth| birth.vm == *vm);
        let taken = recorded.iter().filter(|vm| !is_parked(vm) && !is_coming(vm)).count();
        Census { parked, coming, taken }
    }

    /// VMs of the pool.
    pub(super) fn len(&self) -> usize {
        self.parked.len() + self.coming.len() + self.taken
    }

    /// Those of one lot that can be had.
    pub(super) fn parked_in(&self, lot: &str) -> usize {
        self.parked.iter().filter(|ticket| ticket.lot == lot).count()
    }

    /// Those of one lot that can be had or will be.
    pub(super) fn len_in(&self, lot: &str) -> usize {
        self.parked_in(lot) + self.coming.iter().filter(|birth| birth.lot == lot).count()
    }
}

/// What brings the pool to its size with VMs of one lot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    /// VMs to be started.
    pub(super) start: usize,
    /// VMs to be ended.
    pub(super) end: Vec<&'a Ticket>,
}

impl Census {
    /// Fills the pool with VMs of `lot`. Where it is full with others, the oldest of those makes room for one. What
    /// is too many goes: others first, then the oldest of the lot itself.
    pub(super) fn change(&self, lot: &str, size: usize) -> Change<'_> {
        let missing = size.saturating_sub(self.len_in(lot));
        let room = size.saturating_sub(self.len());
        let excess = self.len().saturating_sub(size);
        let displaced = usize::from(missing > 0 && room == 0);
        let others = self.parked.iter().filter(|ticket| ticket.lot != lot);
        let mut end: Vec<&Ticket> = others.take(excess + displaced).collect();
        // Only what has really made room counts.
        let start = missing.min(room + end.len().saturating_sub(excess));
        let own = self.parked.iter().filter(|ticket| ticket.lot == lot);
        end.extend(own.take(excess.saturating_sub(end.len())));
        Change { start, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::POOL_BIRTH_SECONDS_MAX;
    use pyro_store::ProcessIdentity;
    use std::fs;

    fn census(lots: &[&str]) -> (tempfile::TempDir, Census) {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let directories = Directories { state: path("s"), cache: path("c"), runtime: path("r") };
        directories.create().unwrap();
        for lot in lots {
            let vm = VmId::random().unwrap();
            fs::create_dir_all(directories.vm(&vm).runtime).unwrap();
            fs::create_dir_all(directories.parked().join(lot)).unwrap();
            fs::write(directories.parked().join(lot).join(vm.as_str()), b"").unwrap();
        }
        let census = Census::take(&directories, &BTreeSet::new());
        (root, census)
    }

    /// The pool never exceeds its size, whatever it was filled with before.
    #[test]
    fn the_pool_keeps_its_size() {
        for (lots, size, start, end) in [
            (&[][..], 2, 2, ""),
            (&["a"], 2, 1, ""),
            (&["a", "a"], 2, 0, ""),
            (&["b", "a"], 2, 1, "b"),
            (&["b", "b"], 2, 1, "b"),
            (&["b"], 2, 1, ""),
            (&["b", "b", "b"], 1, 1, "bbb"),
            (&["a", "a", "a"], 2, 0, "a"),
            (&["a", "b", "a", "a"], 2, 0, "ba"),
        ] {
            let (_root, census) = census(lots);
            let change = census.change("a", size);
            let ended: String = change.end.iter().map(|ticket| ticket.lot.as_str()).collect();
            assert_eq!((change.start, ended.as_str()), (start, end), "{lots:?}");
            assert!(census.len() + change.start - change.end.len() <= size, "{lots:?}");
        }
    }

    fn own() -> ProcessIdentity {
        ProcessIdentity::of(std::process::id()).unwrap()
    }

    fn directories() -> (tempfile::TempDir, Directories) {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let directories = Directories { state: path("s"), cache: path("c"), runtime: path("r") };
        directories.create().unwrap();
        (root, directories)
    }

    /// A VM counts once from before it is started until it is put to a use: coming, parked, taken.
    #[test]
    fn everybody_counts_once() {
        let (_root, directories) = directories();
        let vm = VmId::random().unwrap();
        birth::mark(&directories, &vm, "a", own()).unwrap();
        let count = |recorded: &[&VmId]| {
            Census::take(&directories, &recorded.iter().map(|vm| (*vm).clone()).collect())
        };
        let census = count(&[&vm]);
        assert_eq!((census.len(), census.len_in("a"), census.parked_in("a")), (1, 1, 0));
        fs::create_dir_all(directories.vm(&vm).runtime).unwrap();
        fs::create_dir_all(directories.parked().join("a")).unwrap();
        fs::write(directories.parked().join("a").join(vm.as_str()), b"").unwrap();
        assert_eq!((count(&[&vm]).len(), count(&[&vm]).parked_in("a")), (1, 1));
        count(&[]).parked[0].claim(&directories).unwrap();
        assert_eq!((count(&[&vm]).len(), count(&[&vm]).taken, count(&[]).len()), (1, 1, 0));
    }

    /// A birth counts while its process lives, within a bound, however long that takes to have a record.
    #[test]
    fn births_end_with_their_process() {
        let (_root, directories) = directories();
        let none = BTreeSet::new();
        let vm = VmId::random().unwrap();
        let path = directories.parked().join(birth::BIRTHS).join(vm.as_str());
        let made = |seconds_ago: u64| {
            let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds_ago);
            fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        };
        birth::mark(&directories, &vm, "a", own()).unwrap();
        made(POOL_BIRTH_SECONDS_MAX.as_secs() / 2);
        assert_eq!(Census::take(&directories, &none).len(), 1);
        made(POOL_BIRTH_SECONDS_MAX.as_secs());
        assert_eq!((Census::take(&directories, &none).len(), path.exists()), (0, false));
        let gone = ProcessIdentity { start_ticks: own().start_ticks + 1, ..own() };
        for mark in [format!("a {} {}", gone.pid, gone.start_ticks), "nonsense".to_owned(), String::new()] {
            fs::write(&path, mark).unwrap();
            assert_eq!((Census::take(&directories, &none).len(), path.exists()), (0, false));
        }
    }
}
