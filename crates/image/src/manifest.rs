//! The JSON files that vouch for what is installed. A manifest is written last and read first: what it does not vouch for
//! is not installed.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk::{DiskError, read_bounded, write_file};
use crate::limits::MANIFEST_BYTES_MAX;

/// The version of `environment.json` this crate writes and reads.
pub(crate) const ENVIRONMENT_MANIFEST_VERSION: u32 = 1;

/// A manifest, or a file it vouches for, is not what was installed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not the JSON this version writes.
    #[error("{} is not a valid manifest", path.display())]
    Syntax {
        /// The manifest.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Another version wrote it.
    #[error("{} has format {found}, this version knows {known}", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It is of something else than its place says.
    #[error("{} is the manifest of {found}", path.display())]
    Other {
        /// The manifest.
        path: PathBuf,
        /// What it names.
        found: String,
    },
    /// A file is gone or has another size.
    #[error("{} has {} bytes, {recorded} were installed", path.display(), found.unwrap_or(0))]
    File {
        /// The file.
        path: PathBuf,
        /// Its size; absent when there is no such file.
        found: Option<u64>,
        /// The size that was recorded.
        recorded: u64,
    },
    /// It cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A file's size and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content.
    pub digest: Digest,
}

/// `environment.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentManifest {
    /// Of this file's format.
    pub manifest_version: u32,
    /// The environment's name, `debian:12`.
    pub name: String,
    /// The environment's version.
    pub version: String,
    /// The distribution's name, `debian`.
    pub distribution: String,
    /// The distribution's release, `12`.
    pub release: String,
    /// Where it runs, `linux-x86_64`.
    pub platform: String,
    /// Where its packages came from.
    pub source: SourceRecord,
    /// When it was installed, UTC, RFC 3339.
    pub created: String,
    /// The packages people expect.
    pub default_packages: Vec<String>,
    /// Every package in it.
    pub packages: Vec<PackageRecord>,
    /// The kernel it was installed with.
    pub kernel: KernelRecord,
    /// The archive of its files, which is not kept.
    pub rootfs_tar: FileRecord,
    /// `rootfs.ext4`.
    pub rootfs: FileRecord,
    /// `vmlinux`.
    pub vmlinux: FileRecord,
}

/// The archive an environment is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// The archive's address.
    pub archive: String,
    /// The suite, `bookworm`.
    pub suite: String,
    /// The date of the suite's release file, as the archive signed it.
    pub date: String,
    /// Every `sources.list` line that was used.
    pub sources: Vec<String>,
}

/// One package of an environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, `all` where it has none.
    pub architecture: String,
}

/// The kernel an environment was installed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelRecord {
    /// Its directory's name under `kernels`.
    pub key: String,
    /// The Debian package.
    pub package: String,
    /// The package's version.
    pub package_version: String,
    /// What `uname -r` says in a guest.
    pub release: String,
}

/// Reads a manifest; `None` when there is none.
pub(crate) fn read_manifest<Manifest: DeserializeOwned>(
    path: &Path,
) -> Result<Option<Manifest>, ManifestError> {
    let Some(bytes) = read_bounded(path, MANIFEST_BYTES_MAX)? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| ManifestError::Syntax { path: path.to_owned(), source })
}

/// Writes a new manifest, durably.
pub(crate) fn write_manifest(path: &Path, manifest: &impl Serialize) -> Result<(), DiskError> {
    let text = serde_json::to_string_pretty(manifest).map_err(|error| DiskError::Io {
        action: "encode",
        path: path.to_owned(),
        source: io::Error::other(error),
    })?;
    write_file(path, format!("{text}\n").as_bytes())
}
