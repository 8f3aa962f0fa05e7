//! `template.json`: what a template was saved as, read back with suspicion.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{METADATA_FILE, TemplateError};
use crate::limits::TEMPLATE_METADATA_BYTES_MAX;

/// Format of the directory; another one is stale.
const FORMAT: u32 = 2;

/// A file as it was when it was saved. Its change time cannot be set back, so a file that was written to,
/// replaced, or made writable in between does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) bytes: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            bytes: meta.len(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// A disk as it was when it was saved. Its change time is left out: a workspace on that disk keeps it by a hard
/// link, which sets the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedDisk {
    /// What its owner calls it.
    pub(crate) id: String,
    bytes: u64,
    inode: u64,
    modified: (i64, i64),
}

impl SavedDisk {
    pub(crate) fn of(file: &File, id: &str) -> io::Result<Self> {
        let Identity { bytes, inode, modified, .. } = Identity::of(file)?;
        Ok(Self { id: id.to_owned(), bytes, inode, modified })
    }
}

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    format: u32,
    pub(crate) key: String,
    pub(crate) ram: Identity,
    pub(crate) state: Identity,
    pub(crate) state_sha256: String,
    pub(crate) disk: Option<SavedDisk>,
}

impl Metadata {
    pub(crate) fn new(
        key: String,
        ram: Identity,
        state: Identity,
        state_sha256: String,
        disk: Option<SavedDisk>,
    ) -> Self {
        Self { format: FORMAT, key, ram, state, state_sha256, disk }
    }

    pub(crate) fn read(directory: &Path) -> Result<Self, TemplateError> {
        let path = directory.join(METADATA_FILE);
        let stale = |reason| TemplateError::Stale { directory: directory.to_owned(), reason };
        let text = match read_bounded(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TemplateError::Absent { directory: directory.to_owned() });
            }
            Err(source) => return Err(TemplateError::File { path, source }),
        };
        let metadata: Self = serde_json::from_slice(&text).map_err(|_| stale("its metadata is damaged"))?;
        if metadata.format != FORMAT {
            return Err(stale("it has another format"));
        }
        Ok(metadata)
    }

    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let path = directory.join(METADATA_FILE);
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        File::open(&path)?.sync_all()
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(TEMPLATE_METADATA_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}
