//! Kernels: taken out of Debian's package, installed beside the environments and shared by them. A kernel's directory is
//! whole or absent. It never runs anything of the package.

mod bzimage;
mod compression;
mod elf;
mod error;
mod modules;
mod package;
#[cfg(test)]
pub(crate) mod stand;

use std::path::{Path, PathBuf};

pub use error::KernelError;
use serde::{Deserialize, Serialize};

use crate::archive::KernelPackage;
use crate::cache::Cache;
use crate::digest::Digest;
use crate::disk::file_bytes;
use crate::manifest::{FileRecord, ManifestError, read_manifest};
use crate::partial::Partial;
use crate::progress::{Cancel, Progress};
use crate::tools::Tools;

/// The version of `kernel.json` this crate writes and reads.
const MANIFEST_VERSION: u32 = 1;
pub(crate) const MANIFEST_NAME: &str = "kernel.json";

/// `kernel.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelManifest {
    /// Of this file's format.
    pub manifest_version: u32,
    /// The Debian package.
    pub package: String,
    /// Its version.
    pub package_version: String,
    /// What `uname -r` says in a guest.
    pub release: String,
    /// Of the package's file.
    pub deb_digest: Digest,
    /// The decompressed kernel.
    pub vmlinux: FileRecord,
    /// The modules a guest loads at boot, in load order.
    pub modules: Vec<ModuleRecord>,
    /// All modules of the package, as a tar without compression.
    pub modules_tar: FileRecord,
}

/// One module of [`KernelManifest::modules`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleRecord {
    /// Its name, with underscores.
    pub name: String,
    /// The file under `modules/`.
    pub file: FileRecord,
}

/// An installed kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    directory: PathBuf,
    key: String,
    manifest: KernelManifest,
}

impl Kernel {
    /// Opens the installed kernel of a key; `None` when there is none, an error when it is not whole.
    pub fn open(cache: &Cache, key: &str) -> Result<Option<Self>, KernelError> {
        let directory = cache.kernels_dir().join(key);
        let Some(manifest) = read_manifest::<KernelManifest>(&directory.join(MANIFEST_NAME))? else {
            return Ok(None);
        };
        let kernel = Self { directory, key: key.to_owned(), manifest };
        kernel.check()?;
        Ok(Some(kernel))
    }

    /// Names the kernel among all kernels: version and digest of its package.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The kernel's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is known of it.
    pub fn manifest(&self) -> &KernelManifest {
        &self.manifest
    }

    /// The ELF a VMM starts.
    pub fn vmlinux(&self) -> PathBuf {
        self.directory.join("vmlinux")
    }

    /// All modules of the package, for guests that want more than those of the initramfs.
    pub fn modules_tar(&self) -> PathBuf {
        self.directory.join("modules.tar")
    }

    /// Where the module of a record is.
    pub fn module_path(&self, module: &ModuleRecord) -> PathBuf {
        self.directory.join("modules").join(module.file_name())
    }

    /// Every file is there and as large as recorded. Contents were digested when they were written.
    fn check(&self) -> Result<(), ManifestError> {
        let manifest = &self.manifest;
        if manifest.manifest_version != MANIFEST_VERSION {
            let (found, path) = (manifest.manifest_version, self.directory.join(MANIFEST_NAME));
            return Err(ManifestError::Version { path, found, known: MANIFEST_VERSION });
        }
        let modules = manifest.modules.iter().map(|module| (self.module_path(module), module.file.bytes));
        let files =
            [(self.vmlinux(), manifest.vmlinux.bytes), (self.modules_tar(), manifest.modules_tar.bytes)];
        for (path, bytes) in modules.chain(files) {
            let found = file_bytes(&path);
            if found != Some(bytes) {
                return Err(ManifestError::File { path, found, recorded: bytes });
            }
        }
        Ok(())
    }
}

impl ModuleRecord {
    /// The module's file name.
    pub fn file_name(&self) -> String {
        format!("{}.ko", self.name)
    }
}

/// What the digests of installed kernels' packages are, so that they are not downloaded again. A damaged kernel is not here.
pub(crate) fn digests_here(cache: &Cache) -> Vec<Digest> {
    let keys = cache.entries(&cache.kernels_dir());
    let open = |key: String| Kernel::open(cache, &key).ok().flatten();
    keys.into_iter().filter_map(open).map(|kernel| kernel.manifest.deb_digest).collect()
}

/// The kernel of a package: the installed one, or installed now from the downloaded file.
pub(crate) fn ensure_kernel(
    cache: &Cache,
    package: &KernelPackage,
    tools: &Tools,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Kernel, KernelError> {
    let key = format!("{}-{}", package.version, package.deb_digest.short());
    let _lock = cache.lock_kernels(cancel)?;
    // A damaged one is replaced: its manifest does not vouch for it.
    if let Ok(Some(kernel)) = Kernel::open(cache, &key) {
        return Ok(kernel);
    }
    let deb = package.deb.as_deref().ok_or(KernelError::NotDownloaded { name: package.name.clone() })?;
    let partial = Partial::create(&cache.kernels_dir(), &key, tools)?;
    package::unpack(package, deb, partial.path(), tools, progress, cancel)?;
    partial.install(&cache.kernels_dir().join(&key))?;
    let incomplete = KernelError::Incomplete { what: "manifest after its installation" };
    Kernel::open(cache, &key)?.ok_or(incomplete)
}
