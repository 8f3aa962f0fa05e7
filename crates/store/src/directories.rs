//! Where things are on disk. The one place that spells these names.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::{HoldToken, LayerId, ServiceName, ShellId, VmId, WorkspaceId};

/// Ends the name of a file with what a shell prints.
pub(crate) const SHELL_EXTENSION: &str = "shell";

/// The three directories of a user: state is kept, cache can be made again, runtime ends with the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// Kept: the database and the disks of VMs.
    pub state: PathBuf,
    /// Made again when lost: environments, kernels, templates.
    pub cache: PathBuf,
    /// Sockets and locks.
    pub runtime: PathBuf,
}

/// Where one workspace keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspacePlace {
    /// Everything it has, under the state directory.
    pub directory: PathBuf,
}

/// One of a command's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output, a terminal's too.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where one VM keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmPlace {
    /// Its disks, under the state directory.
    pub disks: PathBuf,
    /// Its socket, under the runtime directory.
    pub runtime: PathBuf,
}

impl Directories {
    /// Makes the directories that are missing, readable by the user alone.
    pub fn create(&self) -> Result<(), (PathBuf, io::Error)> {
        let owned = [
            self.vm_disks(),
            self.vm_runtimes(),
            self.parked(),
            self.workspaces(),
            self.bases(),
            self.layers(),
            self.memories(),
            self.holds(),
        ];
        for directory in [&self.state, &self.cache, &self.runtime].into_iter().chain(&owned) {
            create_private(directory).map_err(|error| (directory.clone(), error))?;
        }
        Ok(())
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.state.join("pyro.db")
    }

    /// Templates of booted guests.
    pub fn templates(&self) -> PathBuf {
        self.cache.join("templates")
    }

    /// The blank disk under every VM's own, made in one certain way.
    pub fn blank_disk(&self, recipe: &str) -> PathBuf {
        self.cache.join("blank").join(format!("{recipe}.ext4"))
    }

    /// Places of one VM.
    pub fn vm(&self, id: &VmId) -> VmPlace {
        VmPlace { disks: self.vm_disks().join(id.as_str()), runtime: self.vm_runtimes().join(id.as_str()) }
    }

    /// Place of one workspace.
    pub fn workspace(&self, id: &WorkspaceId) -> WorkspacePlace {
        WorkspacePlace { directory: self.workspaces().join(id.as_str()) }
    }

    /// One layer of a disk. What it stands on the database knows.
    pub fn layer(&self, id: &LayerId) -> PathBuf {
        self.layers().join(format!("{id}{LAYER_SUFFIX}"))
    }

    /// All layers: a file that is new there is there after a power cut once this directory was synced.
    pub fn layers(&self) -> PathBuf {
        self.state.join("layers")
    }

    /// The image of the memory that was kept when a layer was sealed: a directory.
    pub fn memory(&self, id: &LayerId) -> PathBuf {
        self.memories().join(id.as_str())
    }

    /// All images of memories.
    pub fn memories(&self) -> PathBuf {
        self.state.join("memories")
    }

    /// Where parked VMs show that they can be had.
    pub fn parked(&self) -> PathBuf {
        self.runtime.join("parked")
    }

    pub(crate) fn holds(&self) -> PathBuf {
        self.state.join("holds")
    }

    /// Locked by who holds layers.
    pub(crate) fn hold(&self, token: &HoldToken) -> PathBuf {
        self.holds().join(format!("{token}{HOLD_SUFFIX}"))
    }

    pub(crate) fn workspaces(&self) -> PathBuf {
        self.state.join("workspaces")
    }

    /// Images that workspaces stand on.
    pub fn bases(&self) -> PathBuf {
        self.state.join("bases")
    }

    pub(crate) fn vm_disks(&self) -> PathBuf {
        self.state.join("vms")
    }

    pub(crate) fn vm_runtimes(&self) -> PathBuf {
        self.runtime.join("vms")
    }

    /// Held shared while a VM's directories come and go, exclusively by who looks for leftovers. Two, since
    /// one state may be used with several runtime directories, and one runtime directory with several states.
    pub(crate) fn birth_locks(&self) -> [PathBuf; 2] {
        [self.state.join(BIRTH_LOCK), self.runtime.join(BIRTH_LOCK)]
    }
}

impl VmPlace {
    /// Both held by the shim for as long as it lives, one in each directory that it owns.
    pub(crate) fn locks(&self) -> [PathBuf; 2] {
        [self.disks.join("lock"), self.runtime.join("lock")]
    }

    /// Where clients reach the shim.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("shim.sock")
    }

    /// What the VM has written, as an overlay over the blank disk.
    pub fn scratch(&self) -> PathBuf {
        self.disks.join("scratch.qcow2")
    }

    /// Where the ticket of a parked VM is once somebody has taken it.
    pub fn claimed(&self) -> PathBuf {
        self.runtime.join("claimed")
    }

    /// Removes both directories; what is already gone is fine.
    pub fn remove(&self) -> io::Result<()> {
        for directory in [&self.disks, &self.runtime] {
            match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl WorkspacePlace {
    /// Held by the shim that runs the workspace, or by who removes it.
    pub(crate) fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Held by a client while it starts the workspace's shim, so that two do not.
    pub fn start_lock(&self) -> PathBuf {
        self.directory.join("start.lock")
    }

    /// Which process writes the disk, by boot, number and start.
    pub(crate) fn vmm(&self) -> PathBuf {
        self.directory.join("vmm")
    }

    /// Where schema 2 had the disk, which is a layer now.
    pub(crate) fn former_disk(&self) -> PathBuf {
        self.directory.join("disk.qcow2")
    }

    /// What is kept of its commands' outputs.
    pub fn history(&self) -> PathBuf {
        self.directory.join("history")
    }

    /// What is kept of what a shell prints.
    pub fn shell_output(&self, id: &ShellId) -> PathBuf {
        self.history().join(format!("{id}.{SHELL_EXTENSION}"))
    }

    /// The logs of its services.
    pub(crate) fn service_logs(&self) -> PathBuf {
        self.directory.join("services")
    }

    /// The log of a service, a directory.
    pub fn service_log(&self, name: &ServiceName) -> PathBuf {
        self.service_logs().join(name.as_str())
    }

    /// What is kept of one output of one command.
    pub fn output(&self, sequence: u64, stream: OutputStream) -> PathBuf {
        let extension = match stream {
            OutputStream::Stdout => "out",
            OutputStream::Stderr => "err",
        };
        self.history().join(format!("{sequence}.{extension}"))
    }
}

/// Makes a directory; one that is there must be the user's own, or others could change what pyro trusts.
fn create_private(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let metadata = fs::metadata(directory)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to another user (uid {})", metadata.uid())));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(io::Error::other("other users may write to it (chmod go-w)"));
    }
    Ok(())
}

/// In the state and in the runtime directory.
pub(crate) const BIRTH_LOCK: &str = "birth.lock";

/// Ends the names of layers' files.
pub(crate) const LAYER_SUFFIX: &str = ".qcow2";

/// Ends the names of holds' locks.
pub(crate) const HOLD_SUFFIX: &str = ".lock";

/// Group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory that others may write to is not trusted with locks, disks and templates.
    #[test]
    fn a_shared_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let directories = Directories { state: path("s"), cache: path("c"), runtime: path("r") };
        directories.create().unwrap();
        fs::set_permissions(path("r"), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(directories.create().unwrap_err().0, path("r"));
    }
}
