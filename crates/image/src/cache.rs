//! Where everything is in the cache directory, and the locks over it. It knows names, not contents.
//!
//! ```text
//! environments/linux-x86_64/debian_12-1.0.0/   environment.json vmlinux rootfs.ext4 .lock
//! environments/linux-x86_64/.debian_12-1.0.0.lock
//! kernels/6.1.192-2-0123456789ab/              kernel.json vmlinux modules/*.ko modules.tar
//! guest/0123456789ab/                          guest.json initramfs.cpio
//! */.partial-*                                 in the making, or left by a crash
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use crate::catalog::{EnvironmentName, PLATFORM};
use crate::disk::{DiskError, create_dirs};
use crate::limits::CACHE_ENTRIES_MAX;
use crate::lock::{Lock, LockError, Mode};
use crate::progress::Cancel;

/// The cache directory of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache at a path, which is made absolute: tools run in other directories. Nothing is created yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where environments are, of all platforms.
    pub fn environments_root(&self) -> PathBuf {
        self.root.join("environments")
    }

    /// Where environments of this platform are.
    pub fn environments_dir(&self) -> PathBuf {
        self.environments_root().join(PLATFORM)
    }

    /// Where an environment is or would be.
    pub fn environment_dir(&self, name: EnvironmentName) -> PathBuf {
        self.environments_dir().join(name.directory_name())
    }

    /// Where kernels are.
    pub fn kernels_dir(&self) -> PathBuf {
        self.root.join("kernels")
    }

    /// Where guests' initramfs files are.
    pub fn guest_dir(&self) -> PathBuf {
        self.root.join("guest")
    }

    /// The names in one of the directories that are not hidden.
    pub(crate) fn entries(&self, directory: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        let names = entries
            .flatten()
            .take(CACHE_ENTRIES_MAX)
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    pub(crate) fn create(&self) -> Result<(), DiskError> {
        [self.environments_dir(), self.kernels_dir(), self.guest_dir()]
            .iter()
            .try_for_each(|path| create_dirs(path))
    }

    /// Held shared while something is made that nothing refers to yet, exclusively while such things are removed.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.root.join(".lock")
    }

    /// Held by the one process that installs an environment.
    pub(crate) fn environment_lock_file(&self, directory_name: &str) -> PathBuf {
        self.environments_dir().join(format!(".{directory_name}.lock"))
    }

    /// Held by the one process that installs a kernel.
    pub(crate) fn lock_kernels(&self, cancel: &Cancel) -> Result<Lock, LockError> {
        create_dirs(&self.kernels_dir())?;
        Lock::wait(&self.kernels_dir().join(".lock"), Mode::Exclusive, cancel, || {})
    }

    /// Held by the one process that makes an initramfs.
    pub(crate) fn lock_guest(&self, cancel: &Cancel) -> Result<Lock, LockError> {
        create_dirs(&self.guest_dir())?;
        Lock::wait(&self.guest_dir().join(".lock"), Mode::Exclusive, cancel, || {})
    }
}
