//! Where things are on disk. The one place that spells these names.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::VmId;

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

/// Where one VM keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmPlace {
    /// Its disks, under the state directory.
    pub disks: PathBuf,
    /// Its lock and socket, under the runtime directory.
    pub runtime: PathBuf,
}

impl Directories {
    /// Makes the directories that are missing, readable by the user alone.
    pub fn create(&self) -> Result<(), (PathBuf, io::Error)> {
        for directory in [&self.state, &self.cache, &self.runtime, &self.vm_disks(), &self.vm_runtimes()] {
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

    pub(crate) fn vm_disks(&self) -> PathBuf {
        self.state.join("vms")
    }

    pub(crate) fn vm_runtimes(&self) -> PathBuf {
        self.runtime.join("vms")
    }

    /// Held shared while a VM's directories come into being, exclusively by who looks for leftovers.
    pub(crate) fn birth_lock(&self) -> PathBuf {
        self.runtime.join("birth.lock")
    }
}

impl VmPlace {
    /// Held by the shim for as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("lock")
    }

    /// Where clients reach the shim.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("shim.sock")
    }

    /// What the VM has written, as an overlay over the blank disk.
    pub fn scratch(&self) -> PathBuf {
        self.disks.join("scratch.qcow2")
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

fn create_private(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}
