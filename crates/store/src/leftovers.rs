//! Workspaces that a crash left half made, half removed, or recorded as running. What is not known for certain
//! to be nobody's work stays where it is and is named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace_claim::remove_directory;
use crate::{
    Directories, FileLock, LockMode, OutputReader, OutputStream, Reconciled, Store, StoreError, WorkspaceId,
    WorkspacePlace, WorkspaceRecord, WorkspaceState,
};
use crate::{ExecEnd, ExecOutcome};

impl Store {
    /// For who holds the birth locks, behind the reconciliation of VMs.
    pub(crate) fn reconcile_workspaces(
        &self,
        directories: &Directories,
        done: &mut Reconciled,
    ) -> Result<(), StoreError> {
        let records = self.all_workspaces()?;
        for record in &records {
            let place = directories.workspace(&record.workspace.id);
            match record.state {
                WorkspaceState::Creating | WorkspaceState::Deleting => {
                    self.remove_leftover(record, &place, done)?;
                }
                WorkspaceState::Ready if record.vm_id.is_some() => self.stop_dead(record, &place)?,
                WorkspaceState::Ready => {}
            }
        }
        self.look_around(&directories.workspaces(), done)?;
        self.collect_images_alone(directories)?;
        self.collect_layers_alone(directories).map(drop)
    }

    fn remove_leftover(
        &self,
        record: &WorkspaceRecord,
        place: &WorkspacePlace,
        done: &mut Reconciled,
    ) -> Result<(), StoreError> {
        let id = &record.workspace.id;
        let lock = place.directory.exists().then(|| FileLock::try_take(&place.lock(), LockMode::Exclusive));
        // Its shim lives, or somebody else removes it. What cannot be removed now is tried again next time.
        if matches!(lock, Some(Err(_))) || remove_directory(place).is_err() {
            return Ok(());
        }
        self.forget_workspace(id)?;
        done.removed_workspaces.push(id.clone());
        Ok(())
    }

    /// A workspace whose shim is gone has no VM, and its commands have ended without a word.
    fn stop_dead(&self, record: &WorkspaceRecord, place: &WorkspacePlace) -> Result<(), StoreError> {
        let Ok(_free) = FileLock::try_take(&place.lock(), LockMode::Exclusive) else { return Ok(()) };
        match record.paused {
            // Shells and services go on with it.
            Some(_) => self.lose_running_execs(&record.workspace.id, place).map(drop)?,
            None => self.lose_processes(&record.workspace.id, place)?,
        }
        self.set_vm(&record.workspace.id, None).map(drop)
    }

    /// Records what ran in a VM that is gone as lost; for who holds the workspace.
    pub fn lose_processes(&self, id: &WorkspaceId, place: &WorkspacePlace) -> Result<(), StoreError> {
        self.lose_running_execs(id, place)?;
        self.lose_shells(id)?;
        self.lose_services(id)
    }

    /// Records the commands that were running as lost, with the lengths of the outputs that are there; for who
    /// holds the workspace.
    pub fn lose_running_execs(&self, id: &WorkspaceId, place: &WorkspacePlace) -> Result<u64, StoreError> {
        let mut count = 0;
        for sequence in self.running_execs(id)? {
            let length = |stream| {
                let reader = OutputReader::open(&place.output(sequence, stream));
                reader.and_then(|reader| reader.total()).unwrap_or_default()
            };
            let end = ExecEnd {
                outcome: ExecOutcome::Lost,
                exit_code: None,
                duration: None,
                stdout_bytes: length(OutputStream::Stdout),
                stderr_bytes: length(OutputStream::Stderr),
            };
            self.end_exec(id, sequence, &end)?;
            count += 1;
        }
        Ok(count)
    }

    /// Directories without a row: removed when there is nothing in them, named when there is.
    fn look_around(&self, workspaces: &Path, done: &mut Reconciled) -> Result<(), StoreError> {
        let Ok(entries) = fs::read_dir(workspaces) else { return Ok(()) };
        for entry in entries.flatten() {
            let id = entry.file_name().to_str().and_then(|name| WorkspaceId::parse(name).ok());
            let path = entry.path();
            match id {
                Some(id) if self.has_row(&id)? => {}
                Some(_) if remove_empty(&path) => {}
                _ => done.unknown.push(path),
            }
        }
        Ok(())
    }

    /// Whether there is a row, even one that this release cannot read.
    fn has_row(&self, id: &WorkspaceId) -> Result<bool, StoreError> {
        self.connection
            .prepare_cached("SELECT count(*) FROM workspaces WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([id.as_str()], |row| row.get::<_, i64>(0)))
            .map(|count| count > 0)
            .map_err(|error| self.fail(error))
    }
}

/// Removes a workspace's directory that holds nothing but locks; never anything else.
fn remove_empty(directory: &PathBuf) -> bool {
    let place = WorkspacePlace { directory: directory.clone() };
    let locks = [place.lock(), place.start_lock()];
    let Ok(entries) = fs::read_dir(directory) else { return false };
    let only_locks = entries.flatten().all(|entry| {
        locks.contains(&entry.path()) || (entry.path() == place.history() && is_empty(&entry.path()))
    });
    if !only_locks
        || (place.lock().exists() && FileLock::try_take(&place.lock(), LockMode::Exclusive).is_err())
    {
        return false;
    }
    // None of these removes anything that is not empty or a lock.
    let _ = fs::remove_dir(place.history());
    for lock in locks {
        let _ = fs::remove_file(lock);
    }
    fs::remove_dir(directory).is_ok()
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}
