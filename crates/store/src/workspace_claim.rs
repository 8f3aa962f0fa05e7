//! Making, claiming and removing workspaces: rows, directories and locks in an order that a crash cannot
//! spoil. A ready workspace's files are never removed here unless its record says that it shall go.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::directories::SHELL_EXTENSION;
use crate::keep::keep;
use crate::limits::{
    HISTORY_OUTPUTS_KEPT, LAYERS_ALONE_MILLISECONDS_MAX, REMOVE_TRIES_MAX, VMM_GONE_MILLISECONDS_MAX,
};
use crate::reconcile::birth_lock;
use crate::{
    Directories, FileLock, KeptImage, LayerId, LockError, LockMode, NewWorkspace, Origin, ProcessIdentity,
    RecordError, Store, StoreError, WorkspaceId, WorkspacePlace, WorkspaceState,
};

/// A claim on a workspace: while it is held, nobody else runs or removes it.
#[derive(Debug)]
pub struct WorkspaceClaim {
    /// Which one.
    pub id: WorkspaceId,
    /// Where it keeps its things; the directories exist.
    pub place: WorkspacePlace,
    directories: Directories,
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
    /// Records a workspace as being made, keeps what it stands on, and makes its directory. The layer it will write
    /// is recorded and the caller's to make. If the claim is dropped before [`Store::set_ready`],
    /// [`Store::reconcile`] removes everything.
    pub fn create_workspace(
        &self,
        directories: &Directories,
        new: &NewWorkspace,
        base: &Path,
        blank: &Path,
    ) -> Result<WorkspaceClaim, ClaimError> {
        // Whoever looks for leftovers must see neither the row before its lock is held, nor an image or layer
        // before the row that needs it.
        let _birth = birth_lock(directories)?;
        self.move_memories(directories)?;
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
            if let Origin::Template { layer, file } = &new.origin {
                keep(file, &directories.layer(layer)).map_err(fail(file))?;
            }
            for directory in [&place.directory, &directories.workspaces()] {
                sync(directory)?;
            }
            Ok(lock)
        };
        match make() {
            Ok(lock) => Ok(self.claimed(directories, &new.id, place, lock)),
            Err(error) => {
                // What cannot be removed now keeps its row, which says that it shall go. Layers that nobody needs
                // then are found by who is alone.
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
        let claim = self.claimed(directories, id, place, lock);
        self.adopt_former_disk(&claim)?;
        self.move_memories(directories)?;
        self.lose_processes(&claim.id, &claim.place)?;
        self.prune_outputs(&claim);
        Ok(claim)
    }

    /// Removes a workspace with everything it has; it is recorded as going first, so that whatever happens it
    /// will be gone. Its directory goes before its row, without which nobody would know that it may, and its layers
    /// go behind the row, which until then refers to them.
    pub fn remove_workspace(&self, claim: WorkspaceClaim) -> Result<(), ClaimError> {
        self.mark_deleting(&claim.id)?;
        remove_directory(&claim.place).map_err(fail(&claim.place.directory))?;
        self.forget_workspace(&claim.id)?;
        // The workspace is gone; of what nobody needs now, what cannot be removed goes with the next command.
        let patience = Duration::from_millis(LAYERS_ALONE_MILLISECONDS_MAX);
        let _ = self.collect_layers_within(&claim.directories, patience);
        Ok(())
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
            Ok(lock) => Ok(self.claimed(directories, id, place, lock)),
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

    fn claimed(
        &self,
        directories: &Directories,
        id: &WorkspaceId,
        place: WorkspacePlace,
        lock: FileLock,
    ) -> WorkspaceClaim {
        WorkspaceClaim { id: id.clone(), place, directories: directories.clone(), _lock: lock }
    }

    /// Makes the disk of a workspace from before there were layers the layer that the migration has recorded. Any
    /// number of times: the row is there before the file comes, or the file would be nobody's; and until the file has
    /// come the workspace is not claimed.
    fn adopt_former_disk(&self, claim: &WorkspaceClaim) -> Result<(), ClaimError> {
        let former = claim.place.former_disk();
        let layer =
            LayerId::parse(claim.id.as_str()).map_err(|error| fail(&former)(io::Error::other(error)))?;
        let place = claim.directories.layer(&layer);
        let exists = |path: &Path| path.try_exists().map_err(fail(path));
        if !exists(&former)? || exists(&place)? {
            return Ok(());
        }
        self.record_former_disk(&claim.id, &layer)?;
        fs::rename(&former, &place).map_err(fail(&former))?;
        sync(&claim.directories.layers())?;
        sync(&claim.place.directory)
    }

    /// Removes outputs of commands that are long past, or of a history that was begun anew: no command has the
    /// number of one that is still to come. The same of shells and services that no record knows. What cannot be removed
    /// now goes another time.
    pub fn prune_outputs(&self, claim: &WorkspaceClaim) {
        self.prune_shell_outputs(claim);
        self.prune_service_logs(claim);
        let Ok(Some(record)) = self.workspace(&claim.id) else { return };
        let oldest = record.next_sequence.saturating_sub(HISTORY_OUTPUTS_KEPT);
        let Ok(entries) = fs::read_dir(claim.place.history()) else { return };
        let is_shells = |path: &PathBuf| path.extension().is_some_and(|it| it == SHELL_EXTENSION);
        // An id of a shell may be all digits.
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !is_shells(path)) {
            let sequence = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if sequence.is_some_and(|sequence| sequence < oldest || sequence >= record.next_sequence) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn prune_shell_outputs(&self, claim: &WorkspaceClaim) {
        let (Ok(shells), Ok(entries)) = (self.shells(&claim.id), fs::read_dir(claim.place.history())) else {
            return;
        };
        let known: HashSet<PathBuf> =
            shells.iter().map(|record| claim.place.shell_output(&record.shell.id)).collect();
        let is_shells = |path: &PathBuf| path.extension().is_some_and(|it| it == SHELL_EXTENSION);
        for path in entries.flatten().map(|entry| entry.path()).filter(is_shells) {
            if !known.contains(&path) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn prune_service_logs(&self, claim: &WorkspaceClaim) {
        let logs = fs::read_dir(claim.place.service_logs());
        let (Ok(services), Ok(entries)) = (self.services(&claim.id), logs) else { return };
        let known: HashSet<PathBuf> =
            services.iter().map(|record| claim.place.service_log(&record.service.name)).collect();
        for path in entries.flatten().map(|entry| entry.path()) {
            if !known.contains(&path) {
                let _ = fs::remove_dir_all(path);
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

/// Removes all that a workspace has for itself.
pub(crate) fn remove_directory(place: &WorkspacePlace) -> io::Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match fs::remove_dir_all(&place.directory) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            // Whoever wants the workspace, and does not know yet that it is going, makes its lock anew.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries < REMOVE_TRIES_MAX => {}
            Err(error) => return Err(error),
        }
    }
    // Before the record goes, without which nobody would remove what a power cut brings back.
    place.directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn sync(directory: &Path) -> Result<(), ClaimError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(fail(directory))
}

fn fail(path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    let path = path.to_owned();
    move |source| ClaimError::File { path, source }
}

#[cfg(test)]
mod tests;
