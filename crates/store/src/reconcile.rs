//! What a crash left: found by its free lock, ended and removed.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::directories::BIRTH_LOCK;
use crate::{
    Directories, FileLock, LockError, LockMode, NewVm, Store, StoreError, VmId, VmPlace, WorkspaceId,
};

/// A shim's claim on its VM: while it is held, nobody else touches what belongs to the VM.
#[derive(Debug)]
pub struct Claim {
    /// Where the VM keeps its things; the directories exist.
    pub place: VmPlace,
    id: VmId,
    _locks: [FileLock; 2],
}

/// Something of a VM could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A file or directory of it.
    #[error("{path} cannot be removed")]
    Remove {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lock that such work is done under.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its record.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What [`Store::reconcile`] cleaned away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// VMs whose shim was gone.
    pub removed: Vec<VmId>,
    /// Workspaces that were never finished, or were being removed.
    pub removed_workspaces: Vec<WorkspaceId>,
    /// What lies among the workspaces and has no record; it is left alone.
    pub unknown: Vec<PathBuf>,
}

impl Store {
    /// Brings a VM's directories, lock and record into being, in an order that a crash cannot spoil.
    pub fn claim(&self, directories: &Directories, vm: &NewVm) -> Result<Claim, LockError> {
        let place = directories.vm(&vm.id);
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| LockError::Io { path, source }
        };
        // Whoever looks for leftovers must not see the directories before their locks are held.
        let _birth = birth(directories)?;
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        let made = || -> Result<[FileLock; 2], LockError> {
            builder.create(&place.disks).map_err(fail(&place.disks))?;
            builder.create(&place.runtime).map_err(fail(&place.runtime))?;
            let [disks, runtime] = place.locks();
            let locks = [
                FileLock::try_take(&disks, LockMode::Exclusive)?,
                FileLock::try_take(&runtime, LockMode::Exclusive)?,
            ];
            self.insert_vm(vm).map_err(|error| LockError::Io {
                path: directories.database(),
                source: io::Error::other(error),
            })?;
            Ok(locks)
        };
        let locks = made().inspect_err(|_| {
            // What cannot be removed now the next command finds.
            let _ = place.remove();
        })?;
        Ok(Claim { place, id: vm.id.clone(), _locks: locks })
    }

    /// Removes a VM with everything it has; the claim is let go last. What cannot be removed now keeps its
    /// record, and the next command tries again.
    pub fn release(&self, directories: &Directories, claim: Claim) -> Result<(), ReleaseError> {
        let _birth = birth(directories)?;
        claim
            .place
            .remove()
            .map_err(|source| ReleaseError::Remove { path: claim.place.disks.clone(), source })?;
        Ok(self.remove_vm(&claim.id)?)
    }

    /// Ends and removes every VM whose shim is gone, and what was never finished of workspaces; sets right what
    /// is recorded of the others. Cheap when there is nothing: a few queries and listings.
    pub fn reconcile(&self, directories: &Directories) -> Result<Reconciled, StoreError> {
        // Somebody is making a VM, or cleaning up, right now: the next command will look again.
        let [state, runtime] = directories.birth_locks();
        let (Ok(_alone), Ok(_alone_too)) = (
            FileLock::try_take(&state, LockMode::Exclusive),
            FileLock::try_take(&runtime, LockMode::Exclusive),
        ) else {
            return Ok(Reconciled::default());
        };
        let mut done = Reconciled::default();
        let records = self.vms()?;
        let recorded = records.iter().map(|record| record.vm.id.clone());
        let mut ids: Vec<VmId> = recorded
            .chain(ids_in(&directories.vm_disks()))
            .chain(ids_in(&directories.vm_runtimes()))
            .collect();
        ids.sort();
        ids.dedup();
        for id in ids {
            let place = directories.vm(&id);
            let Some(_dead) = take_over(&place) else { continue };
            if let Some(vmm) = records.iter().find(|record| record.vm.id == id).and_then(|record| record.vmm)
            {
                vmm.kill();
            }
            // What cannot be removed now keeps its record and is tried again by the next command.
            if place.remove().is_ok() {
                self.remove_vm(&id)?;
                done.removed.push(id);
            }
        }
        self.reconcile_workspaces(directories, &mut done)?;
        Ok(done)
    }
}

/// Keeps whoever looks for leftovers away for a moment.
fn birth(directories: &Directories) -> Result<[FileLock; 2], LockError> {
    Ok([birth_in(&directories.state)?, birth_in(&directories.runtime)?])
}

/// Keeps whoever looks for leftovers under the state directory away: for who makes there what has no record yet, or
/// opens what a record has just named.
pub fn birth_lock(directories: &Directories) -> Result<FileLock, LockError> {
    birth_in(&directories.state)
}

fn birth_in(directory: &Path) -> Result<FileLock, LockError> {
    FileLock::take(&directory.join(BIRTH_LOCK), LockMode::Shared)
}

/// The locks of a VM whose shim is gone; `None` while it lives. The shim may have its runtime directory, or
/// its disks, elsewhere: each directory that is here counts by its own lock.
fn take_over(place: &VmPlace) -> Option<Vec<FileLock>> {
    let there = place.locks().into_iter().filter(|lock| lock.parent().is_some_and(Path::exists));
    there.map(|lock| FileLock::try_take(&lock, LockMode::Exclusive).ok()).collect()
}

fn ids_in(directory: &Path) -> Vec<VmId> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| VmId::parse(entry.file_name().to_str()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durability;

    fn directories(root: &Path) -> Directories {
        let directories =
            Directories { state: root.join("state"), cache: root.join("cache"), runtime: root.join("run") };
        directories.create().unwrap();
        directories
    }

    fn new_vm() -> NewVm {
        NewVm {
            id: VmId::random().unwrap(),
            environment: "debian:12".to_owned(),
            purpose: "run".to_owned(),
            accelerator: "tcg".to_owned(),
            vcpu_count: 1,
            memory_mib: 256,
        }
    }

    /// A living shim's VM is never touched; a dead one's is gone with everything it had.
    #[test]
    fn only_the_dead_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(root.path());
        let store = Store::open(&directories.database(), Durability::Crash).unwrap();
        let alive = store.claim(&directories, &new_vm()).unwrap();
        let dead = store.claim(&directories, &new_vm()).unwrap();
        let (dead_id, dead_place) = (dead.id.clone(), dead.place.clone());
        fs::write(dead_place.scratch(), b"x").unwrap();
        drop(dead); // the lock goes, as it does when the process dies; nothing else is cleaned

        assert_eq!(store.reconcile(&directories).unwrap().removed, [dead_id]);
        assert!(!dead_place.disks.exists() && !dead_place.runtime.exists());
        assert!(alive.place.disks.exists());
        assert_eq!(store.vms().unwrap().len(), 1);

        store.release(&directories, alive).unwrap();
        assert!(store.vms().unwrap().is_empty());
        assert_eq!(store.reconcile(&directories).unwrap(), Reconciled::default());
    }

    /// A command with another runtime directory, or another state, lets a living VM be.
    #[test]
    fn other_directories_are_others_vms() {
        let root = tempfile::tempdir().unwrap();
        let own = directories(root.path());
        let store = Store::open(&own.database(), Durability::Crash).unwrap();
        let alive = store.claim(&own, &new_vm()).unwrap();

        let elsewhere = Directories { runtime: root.path().join("run2"), ..own.clone() };
        elsewhere.create().unwrap();
        assert_eq!(store.reconcile(&elsewhere).unwrap(), Reconciled::default());

        let other_state = Directories { state: root.path().join("state2"), ..own.clone() };
        other_state.create().unwrap();
        let other = Store::open(&other_state.database(), Durability::Crash).unwrap();
        assert_eq!(other.reconcile(&other_state).unwrap(), Reconciled::default());
        assert!(alive.place.disks.exists() && alive.place.runtime.exists());
        store.release(&own, alive).unwrap();
    }

    /// Directories without a record, and a record without directories, are leftovers as well.
    #[test]
    fn halves_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let directories = directories(root.path());
        let store = Store::open(&directories.database(), Durability::Crash).unwrap();
        let recorded = new_vm();
        store.insert_vm(&recorded).unwrap();
        let stray = VmId::random().unwrap();
        fs::create_dir(directories.vm(&stray).disks).unwrap();
        fs::write(directories.vm_disks().join("not-an-id"), b"a stranger's file").unwrap();

        let mut expected = vec![recorded.id, stray];
        expected.sort();
        assert_eq!(store.reconcile(&directories).unwrap().removed, expected);
        assert!(directories.vm_disks().join("not-an-id").exists());
    }
}
