//! Making, claiming and removing workspaces: rows, directories and locks in an order that a crash cannot
//! spoil. A ready workspace's files are never removed here unless its record says that it shall go.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::limits::{HISTORY_OUTPUTS_KEPT, VMM_GONE_MILLISECONDS_MAX};
use crate::reconcile::birth_in;
use crate::{
    Directories, FileLock, KeptImage, LockError, LockMode, NewWorkspace, ProcessIdentity, RecordError, Store,
    StoreError, WorkspaceId, WorkspacePlace, WorkspaceState,
};

/// A claim on a workspace: while it is held, nobody else runs or removes it.
#[derive(Debug)]
pub struct WorkspaceClaim {
    /// Which one.
    pub id: WorkspaceId,
    /// Where it keeps its things; the directories exist.
    pub place: WorkspacePlace,
    _lock: FileLock,
}

/// A workspace could not be made, claimed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another process runs it, or removes it.
    #[error("the workspace {0} is in use")]
    Held(WorkspaceId),
    /// The record refuses: the name is taken, or there is no such workspace.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file or directory of it.
    #[error("{path} cannot be used")]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A lock.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> ClaimError {
        ClaimError::Record(RecordError::Store(error))
    }
}

impl WorkspaceClaim {
    /// Takes note of the process that writes the disk. If it outlives its shim, even for a moment, it is ended
    /// before anybody else gets the workspace.
    pub fn record_vmm(&self, vmm: ProcessIdentity) -> io::Result<()> {
        fs::write(self.place.vmm(), format!("{} {} {}", boot_id()?, vmm.pid, vmm.start_ticks))
    }
}

impl Store {
    /// Records a workspace as being made, keeps the images it stands on, and makes its directory. If the claim
    /// is dropped before [`Store::set_ready`], [`Store::reconcile`] removes everything.
    pub fn create_workspace(
        &self,
        directories: &Directories,
        new: &NewWorkspace,
        base: &Path,
        blank: &Path,
    ) -> Result<WorkspaceClaim, ClaimError> {
        // Whoever looks for leftovers must see neither the row before its lock is held, nor an image before
        // the row that needs it.
        let _birth = birth_in(&directories.state)?;
        self.insert_workspace(new)?;
        let place = directories.workspace(&new.id);
        let make = || -> Result<FileLock, ClaimError> {
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700);
            builder.create(&place.directory).map_err(fail(&place.directory))?;
            builder.create(place.history()).map_err(fail(&place.directory))?;
            let lock = FileLock::try_take(&place.lock(), LockMode::Exclusive)?;
            let images =
                [(base, KeptImage::Base(&new.base_digest)), (blank, KeptImage::Blank(&new.blank_recipe))];
            for (path, image) in images {
                directories.keep_image(path, image).map_err(fail(path))?;
            }
            for directory in [place.directory.clone(), directories.workspaces()] {
                File::open(&directory).and_then(|file| file.sync_all()).map_err(fail(&directory))?;
            }
            Ok(lock)
        };
        match make() {
            Ok(lock) => Ok(WorkspaceClaim { id: new.id.clone(), place, _lock: lock }),
            Err(error) => {
                // What cannot be removed now keeps its row, which says that it shall go.
                if remove_directory(&place).is_ok() {
                    let _ = self.forget_workspace(&new.id);
                }
                Err(error)
            }
        }
    }

    /// Claims a workspace that is there; [`ClaimError::Held`] while somebody else has it. Commands of an earlier
    /// VM whose end nobody saw are recorded as lost.
    pub fn claim_workspace(
        &self,
        directories: &Directories,
        id: &WorkspaceId,
    ) -> Result<WorkspaceClaim, ClaimError> {
        self.ready(id)?;
        let place = directories.workspace(id);
        let lock = match FileLock::try_take(&place.lock(), LockMode::Exclusive) {
            Ok(lock) => lock,
            Err(LockError::Held(_)) => return Err(ClaimError::Held(id.clone())),
            Err(error) => {
                self.ready(id)?;
                return Err(error.into());
            }
        };
        // It may have been removed, lock file and all, while this one was waited for.
        self.ready(id)?;
        if !end_vmm(&place) {
            return Err(ClaimError::Held(id.clone()));
        }
        let claim = WorkspaceClaim { id: id.clone(), place, _lock: lock };
        self.lose_running_execs(&claim.id, &claim.place)?;
        self.prune_outputs(&claim);
        Ok(claim)
    }

    /// Removes a workspace with everything it has; it is recorded as going first, so that whatever happens it
    /// will be gone.
    pub fn remove_workspace(&self, claim: WorkspaceClaim) -> Result<(), ClaimError> {
        self.mark_deleting(&claim.id)?;
        remove_directory(&claim.place).map_err(fail(&claim.place.directory))?;
        Ok(self.forget_workspace(&claim.id)?)
    }

    /// Claims a workspace to remove it: one in any state, also one whose directory is gone.
    pub fn claim_for_removal(
        &self,
        directories: &Directories,
        id: &WorkspaceId,
    ) -> Result<WorkspaceClaim, ClaimError> {
        let place = directories.workspace(id);
        let is_recorded = || self.workspace(id).map(|record| record.is_some());
        if !is_recorded()? {
            return Err(RecordError::Gone(id.clone()).into());
        }
        if !place.directory.exists() {
            // So that there is something to lock; it goes right away.
            fs::DirBuilder::new().mode(0o700).create(&place.directory).map_err(fail(&place.directory))?;
        }
        match FileLock::try_take(&place.lock(), LockMode::Exclusive) {
            Ok(_) | Err(LockError::Io { .. }) if !is_recorded()? => Err(RecordError::Gone(id.clone()).into()),
            Ok(lock) => Ok(WorkspaceClaim { id: id.clone(), place, _lock: lock }),
            Err(LockError::Held(_)) => Err(ClaimError::Held(id.clone())),
            Err(error) => Err(error.into()),
        }
    }

    fn ready(&self, id: &WorkspaceId) -> Result<(), ClaimError> {
        match self.workspace(id)? {
            Some(record) if record.state == WorkspaceState::Ready => Ok(()),
            _ => Err(RecordError::Gone(id.clone()).into()),
        }
    }

    /// Removes outputs of commands that are long past. What cannot be removed now goes another time.
    fn prune_outputs(&self, claim: &WorkspaceClaim) {
        let Ok(Some(record)) = self.workspace(&claim.id) else { return };
        let oldest = record.next_sequence.saturating_sub(HISTORY_OUTPUTS_KEPT);
        let Ok(entries) = fs::read_dir(claim.place.history()) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let sequence = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if sequence.is_some_and(|sequence| sequence < oldest) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Ends the VMM of a shim that is gone; `false` when it cannot be ended.
fn end_vmm(place: &WorkspacePlace) -> bool {
    let Ok(text) = fs::read_to_string(place.vmm()) else { return true };
    let mut words = text.split(' ');
    // Numbers of another boot are other processes'.
    let is_now = words.next().is_some_and(|boot| boot_id().is_ok_and(|now| now == boot));
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let numbers = number().and_then(|pid| u32::try_from(pid).ok()).zip(number());
    let vmm = numbers.map(|(pid, start_ticks)| ProcessIdentity { pid, start_ticks });
    let patience = Duration::from_millis(VMM_GONE_MILLISECONDS_MAX);
    if vmm.is_some_and(|vmm| is_now && !vmm.kill_and_wait(patience)) {
        return false;
    }
    // One that stays is of a process that is gone, and harms nobody.
    let _ = fs::remove_file(place.vmm());
    true
}

/// The kernel's name for this boot (random(4)).
fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

/// Removes everything of a workspace, its disk first: what is left if this fails in the middle is no workspace.
pub(crate) fn remove_directory(place: &WorkspacePlace) -> io::Result<()> {
    match fs::remove_file(place.disk()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::remove_dir_all(&place.directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Before the record goes, without which nobody would remove what a power cut brings back.
    place.directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn fail(path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    let path = path.to_owned();
    move |source| ClaimError::File { path, source }
}

#[cfg(test)]
mod tests;
