//! Looks through the archive of a root file system before it is trusted: is it whole, what is in it, how large will it be.
//! It extracts nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::digest::{Digest, Hashing};
use crate::disk::{DiskError, open_file};
use crate::limits::{
    ROOT_IMAGE_BLOCK_BYTES, ROOTFS_ENTRIES_MAX, ROOTFS_TAR_BYTES_MAX, STATUS_BYTES_MAX, TAR_BLOCK_BYTES,
};
use crate::manifest::{FileRecord, PackageRecord};
use crate::progress::{Cancel, Canceled};
use crate::stanza::{Stanza, stanzas};

/// A root file system's archive is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// It ends early: its end mark is missing, or its size is no multiple of a block.
    #[error("the root file system's archive ends early, after {bytes} bytes")]
    Truncated {
        /// Its size.
        bytes: u64,
    },
    /// It is no tar.
    #[error("the root file system's archive is malformed")]
    Malformed(#[source] io::Error),
    /// It is beyond a limit.
    #[error("the root file system's archive has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// It lacks packages that were asked for, or the list of them.
    #[error("the root file system lacks {what}")]
    Lacks {
        /// What it lacks.
        what: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The caller stopped the work.
    #[error(transparent)]
    Canceled(#[from] Canceled),
}

/// What is known of an archive once it was looked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rootfs {
    pub(crate) record: FileRecord,
    /// Every package, sorted by name.
    pub(crate) packages: Vec<PackageRecord>,
    /// How many entries it has, extension headers not counted.
    pub(crate) entries: u64,
    /// How much its files take on a disk.
    pub(crate) data_bytes: u64,
}

/// Where dpkg keeps what is installed.
const STATUS_PATH: &str = "var/lib/dpkg/status";

/// Looks through an archive that must hold these packages.
pub(crate) fn inspect(tar: &Path, packages: &[&str], cancel: &Cancel) -> Result<Rootfs, RootfsError> {
    let mut file = open_file(tar)?;
    let bytes = check_end(&mut file, tar)?;
    let mut scan = Scan { entries: 0, data_bytes: 0, packages: Vec::new() };
    let mut archive = tar::Archive::new(Hashing::new(BufReader::with_capacity(1 << 20, file)));
    for entry in archive.entries().map_err(RootfsError::Malformed)? {
        cancel.check()?;
        scan.take(entry.map_err(RootfsError::Malformed)?)?;
    }
    let digest = digest_rest(archive.into_inner(), bytes, tar)?;
    scan.require(packages)?;
    Ok(Rootfs {
        record: FileRecord { bytes, digest },
        packages: scan.packages,
        entries: scan.entries,
        data_bytes: scan.data_bytes,
    })
}

/// A tar ends in two blocks of zeros; what was cut has none, wherever it was cut.
fn check_end(file: &mut File, path: &Path) -> Result<u64, RootfsError> {
    let mut end = [1; 2 * TAR_BLOCK_BYTES as usize];
    let bytes = read_end(file, &mut end).map_err(DiskError::io("read", path))?;
    if bytes > ROOTFS_TAR_BYTES_MAX {
        return Err(RootfsError::TooLarge { what: "bytes", limit: ROOTFS_TAR_BYTES_MAX });
    }
    if !bytes.is_multiple_of(TAR_BLOCK_BYTES) || end.iter().any(|byte| *byte != 0) {
        return Err(RootfsError::Truncated { bytes });
    }
    Ok(bytes)
}

/// Fills the buffer with the file's last bytes, if it has so many, and gives its size.
fn read_end(file: &mut File, end: &mut [u8]) -> io::Result<u64> {
    let bytes = file.metadata()?.len();
    if bytes >= end.len() as u64 {
        file.seek(SeekFrom::Start(bytes - end.len() as u64))?;
        file.read_exact(end)?;
        file.rewind()?;
    }
    Ok(bytes)
}

/// The reader stops at the end mark; the digest is of the whole file.
fn digest_rest(
    mut reader: Hashing<BufReader<File>>,
    expected: u64,
    path: &Path,
) -> Result<Digest, RootfsError> {
    io::copy(&mut reader, &mut io::sink()).map_err(DiskError::io("read", path))?;
    let (_, digest, bytes) = reader.finish();
    if bytes != expected {
        return Err(RootfsError::Truncated { bytes });
    }
    Ok(digest)
}

struct Scan {
    entries: u64,
    data_bytes: u64,
    packages: Vec<PackageRecord>,
}

impl Scan {
    fn take(&mut self, entry: tar::Entry<'_, impl Read>) -> Result<(), RootfsError> {
        self.entries += 1;
        if self.entries > ROOTFS_ENTRIES_MAX {
            return Err(RootfsError::TooLarge { what: "entries", limit: ROOTFS_ENTRIES_MAX });
        }
        self.data_bytes = self.data_bytes.saturating_add(size_on_disk(&entry));
        let path = entry.path().map_err(RootfsError::Malformed)?.into_owned();
        if path.strip_prefix(".").unwrap_or(&path) == Path::new(STATUS_PATH) {
            self.packages = read_status(entry)?;
        }
        Ok(())
    }

    fn require(&self, packages: &[&str]) -> Result<(), RootfsError> {
        let installed: BTreeSet<_> = self.packages.iter().map(|package| package.name.as_str()).collect();
        if installed.is_empty() {
            return Err(RootfsError::Lacks { what: format!("a list of packages in {STATUS_PATH}") });
        }
        let lacking: Vec<_> =
            packages.iter().copied().filter(|package| !installed.contains(package)).collect();
        if !lacking.is_empty() {
            return Err(RootfsError::Lacks { what: format!("the packages {}", lacking.join(", ")) });
        }
        Ok(())
    }
}

/// Whole blocks for files and one for a directory; hard links take none.
fn size_on_disk(entry: &tar::Entry<'_, impl Read>) -> u64 {
    match entry.header().entry_type() {
        kind if kind.is_dir() => ROOT_IMAGE_BLOCK_BYTES,
        kind if kind.is_file() => {
            entry.size().checked_next_multiple_of(ROOT_IMAGE_BLOCK_BYTES).unwrap_or(u64::MAX)
        }
        _ => 0,
    }
}

fn read_status(entry: impl Read) -> Result<Vec<PackageRecord>, RootfsError> {
    let mut text = String::new();
    entry.take(STATUS_BYTES_MAX + 1).read_to_string(&mut text).map_err(RootfsError::Malformed)?;
    if text.len() as u64 > STATUS_BYTES_MAX {
        return Err(RootfsError::TooLarge { what: "bytes in the list of packages", limit: STATUS_BYTES_MAX });
    }
    let mut packages: Vec<_> = stanzas(&text).filter_map(|stanza| installed_package(&stanza)).collect();
    packages.sort();
    Ok(packages)
}

fn installed_package(stanza: &Stanza<'_>) -> Option<PackageRecord> {
    let field = |name| stanza.get(name).map(str::to_owned);
    let installed = stanza.get("Status")? == "install ok installed";
    let record = PackageRecord {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
    };
    installed.then_some(record)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small root file system's archive that holds these packages.
    pub(crate) fn tar_of(packages: &[&str]) -> Vec<u8> {
        let status: String = packages
            .iter()
            .map(|name| {
                format!(
                    "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n\n"
                )
            })
            .collect();
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in
            [("./etc/os-release", "ID=debian\n".repeat(500)), ("./var/lib/dpkg/status", status)]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn inspect_bytes(bytes: &[u8], packages: &[&str]) -> Result<Rootfs, RootfsError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tar");
        std::fs::write(&path, bytes).unwrap();
        inspect(&path, packages, &Cancel::new())
    }

    /// Keeps: the manifest's packages and digests are those of the archive.
    #[test]
    fn an_archive_is_inspected() {
        let tar = tar_of(&["git", "bash"]);
        let rootfs = inspect_bytes(&tar, &["git"]).unwrap();
        let names: Vec<_> = rootfs.packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["bash", "git"]);
        assert_eq!(rootfs.record, FileRecord { bytes: tar.len() as u64, digest: Digest::of(&tar) });
        assert_eq!(rootfs.entries, 2);
        assert_eq!(rootfs.data_bytes, 3 * 4096);
    }

    /// Keeps: an archive cut anywhere is never taken for a whole one.
    #[test]
    fn a_cut_archive_is_refused() {
        let tar = tar_of(&["git"]);
        for length in (0..tar.len()).step_by(256) {
            assert!(inspect_bytes(&tar[..length], &["git"]).is_err(), "{length} of {}", tar.len());
        }
    }

    /// Keeps: an archive without a package that was asked for is refused by that package's name.
    #[test]
    fn a_missing_package_is_named() {
        let error = inspect_bytes(&tar_of(&["bash"]), &["bash", "git"]).unwrap_err();
        assert_eq!(error.to_string(), "the root file system lacks the packages git");
        assert!(matches!(inspect_bytes(&tar_of(&[]), &[]), Err(RootfsError::Lacks { .. })));
    }
}
