//! Environments that are installed: found, checked against their manifests, and held while a VM uses them. It never
//! changes one.

use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::catalog::{EnvironmentName, PLATFORM};
use crate::disk::{DiskError, file_bytes};
use crate::kernel::{Kernel, KernelError};
use crate::lock::{Lock, LockError, Mode};
use crate::manifest::{ENVIRONMENT_MANIFEST_VERSION, EnvironmentManifest, ManifestError, read_manifest};
use crate::progress::Cancel;

pub(crate) const MANIFEST_NAME: &str = "environment.json";
pub(crate) const ROOTFS_NAME: &str = "rootfs.ext4";
pub(crate) const VMLINUX_NAME: &str = "vmlinux";
pub(crate) const HOLD_NAME: &str = ".lock";

/// An installed environment: its manifest is valid and its files have the recorded sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledEnvironment {
    name: EnvironmentName,
    directory: PathBuf,
    manifest: EnvironmentManifest,
}

/// An environment cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstalledError {
    /// It was never pulled, or was removed.
    #[error("environment {name} is not installed")]
    NotInstalled {
        /// Its name.
        name: EnvironmentName,
    },
    /// It is there, and not as it was installed. Pulling it again repairs it.
    #[error("environment {name} is damaged")]
    Damaged {
        /// Its name.
        name: EnvironmentName,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// Its kernel is gone or damaged. Pulling it again repairs it.
    #[error("the kernel {key} of environment {name} is damaged")]
    Kernel {
        /// The environment's name.
        name: EnvironmentName,
        /// The kernel.
        key: String,
        /// What is wrong; absent when it is simply gone.
        #[source]
        source: Option<Box<KernelError>>,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Keeps an environment from being removed. Dropping it lets go, and so does the end of the process.
#[derive(Debug)]
pub struct Hold {
    _lock: Lock,
}

impl InstalledEnvironment {
    /// The installed environment of this name. It reads one small file and looks at sizes: fit for every command.
    pub fn open(cache: &Cache, name: EnvironmentName) -> Result<Self, InstalledError> {
        let directory = cache.environment_dir(name);
        match read(&directory, name) {
            Ok(Some(manifest)) => Ok(Self { name, directory, manifest }),
            Ok(None) => Err(InstalledError::NotInstalled { name }),
            Err(source) => Err(InstalledError::Damaged { name, source }),
        }
    }

    /// Its name.
    pub fn name(&self) -> EnvironmentName {
        self.name
    }

    /// What is known of it.
    pub fn manifest(&self) -> &EnvironmentManifest {
        &self.manifest
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its manifest's file.
    pub fn manifest_path(&self) -> PathBuf {
        self.directory.join(MANIFEST_NAME)
    }

    /// Its root image, read-only.
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join(ROOTFS_NAME)
    }

    /// Its kernel.
    pub fn vmlinux(&self) -> PathBuf {
        self.directory.join(VMLINUX_NAME)
    }

    /// Its kernel with modules, for [`crate::ensure_guest`].
    pub fn kernel(&self, cache: &Cache) -> Result<Kernel, InstalledError> {
        let key = &self.manifest.kernel.key;
        let damaged = |source: Option<KernelError>| InstalledError::Kernel {
            name: self.name,
            key: key.clone(),
            source: source.map(Box::new),
        };
        Kernel::open(cache, key).map_err(|error| damaged(Some(error)))?.ok_or_else(|| damaged(None))
    }

    /// Keeps it from being removed while the result lives. Fails if it was removed in between.
    pub fn hold(&self) -> Result<Hold, InstalledError> {
        let path = self.directory.join(HOLD_NAME);
        // Only a removal holds it exclusively, and for milliseconds.
        let lock = Lock::wait_existing(&path, Mode::Shared, &Cancel::new()).map_err(|error| match error {
            LockError::Disk(error) => InstalledError::Disk(error),
            LockError::Canceled(_) => InstalledError::NotInstalled { name: self.name },
        })?;
        // Whoever removed it has moved the directory away before letting go.
        match lock {
            Some(lock) if lock.is_of(&path) => Ok(Hold { _lock: lock }),
            _ => Err(InstalledError::NotInstalled { name: self.name }),
        }
    }
}

/// Every environment of the catalog, installed or not, in catalog order.
pub fn list(cache: &Cache) -> Vec<(EnvironmentName, Result<InstalledEnvironment, InstalledError>)> {
    EnvironmentName::all().map(|name| (name, InstalledEnvironment::open(cache, name))).collect()
}

fn read(directory: &Path, name: EnvironmentName) -> Result<Option<EnvironmentManifest>, ManifestError> {
    let path = directory.join(MANIFEST_NAME);
    let Some(manifest) = read_manifest::<EnvironmentManifest>(&path)? else {
        return missing_manifest(directory, path);
    };
    if manifest.manifest_version != ENVIRONMENT_MANIFEST_VERSION {
        let found = manifest.manifest_version;
        return Err(ManifestError::Version { path, found, known: ENVIRONMENT_MANIFEST_VERSION });
    }
    let spec = name.spec();
    let told = (manifest.name.as_str(), manifest.version.as_str(), manifest.platform.as_str());
    if told != (spec.name, spec.version, PLATFORM) {
        return Err(ManifestError::Other { path, found: format!("{} {} {}", told.0, told.1, told.2) });
    }
    for (file, recorded) in [(ROOTFS_NAME, manifest.rootfs.bytes), (VMLINUX_NAME, manifest.vmlinux.bytes)] {
        let path = directory.join(file);
        let found = file_bytes(&path);
        if found != Some(recorded) {
            return Err(ManifestError::File { path, found, recorded });
        }
    }
    Ok(Some(manifest))
}

/// A directory without a manifest is not an environment that was never pulled.
fn missing_manifest(directory: &Path, path: PathBuf) -> Result<Option<EnvironmentManifest>, ManifestError> {
    if directory.is_dir() {
        return Err(ManifestError::File { path, found: None, recorded: 0 });
    }
    Ok(None)
}
