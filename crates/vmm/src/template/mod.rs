//! Templates: a machine saved where its guest waits for the host, to be forked instead of booted.
//!
//! On disk a template is a directory of three or four files: `ram` (sparse, mode 0444), `state` (QEMU's device
//! state), `template.json`, and `disk.qcow2` where the guest stands on a disk of the template's own. It comes into being by one rename of a whole, synced directory, and is never
//! written afterwards. [`Template::open`] refuses one that is not what was saved; the caller then makes it
//! anew.

mod draft;
mod key;
mod metadata;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

pub use draft::Draft;
pub(crate) use draft::DraftId;
pub use key::{KeyInputs, TemplateKey, host_processor};
use metadata::{Identity, Metadata, SavedDisk};

use crate::limits::TEMPLATE_STATE_BYTES_MAX;

pub(crate) const RAM_FILE: &str = "ram";
pub(crate) const STATE_FILE: &str = "state";
pub(crate) const DISK_FILE: &str = "disk.qcow2";
pub(crate) const METADATA_FILE: &str = "template.json";

/// A template cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// There is none.
    #[error("there is no template at {}", directory.display())]
    Absent {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// It is not what was saved, or was saved for something else: make it anew.
    #[error("the template at {} is stale: {reason}", directory.display())]
    Stale {
        /// Where it is.
        directory: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
    /// A file of it failed.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl TemplateError {
    /// True when making the template anew is the cure.
    pub fn wants_rebuild(&self) -> bool {
        matches!(self, TemplateError::Absent { .. } | TemplateError::Stale { .. })
    }
}

/// A template that can be forked.
#[derive(Debug, Clone)]
pub struct Template {
    directory: PathBuf,
    metadata: Metadata,
}

/// The disk a template's guest stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateDisk<'a> {
    /// The file, a layer that is never written.
    pub path: PathBuf,
    /// The name it was given.
    pub id: &'a str,
}

impl Template {
    /// Opens the template in `directory` if it is whole, is the one that was saved there, and has `key`.
    ///
    /// # Errors
    /// [`TemplateError::wants_rebuild`] tells whether to make it anew.
    pub fn open(directory: &Path, key: &TemplateKey) -> Result<Self, TemplateError> {
        let metadata = Metadata::read(directory)?;
        let template = Self { directory: directory.to_owned(), metadata };
        let stale = |reason| TemplateError::Stale { directory: directory.to_owned(), reason };
        if template.metadata.key != key.as_str() {
            return Err(stale("it was saved for another machine"));
        }
        template.ram()?;
        template.state()?;
        if let Some(disk) = &template.metadata.disk {
            template.check_disk(disk)?;
        }
        Ok(template)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The disk its guest stands on, where it has one.
    pub fn disk(&self) -> Option<TemplateDisk<'_>> {
        let disk = self.metadata.disk.as_ref()?;
        Some(TemplateDisk { path: self.directory.join(DISK_FILE), id: &disk.id })
    }

    /// What [`Draft::add_note`] has put beside it.
    ///
    /// # Errors
    /// [`TemplateError::Stale`] when it is not there, or longer than `bytes_max`.
    pub fn note(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, TemplateError> {
        let mut note = Vec::new();
        let failed = |source| TemplateError::File { path: self.directory.join(name), source };
        self.open_file(name)?.take(bytes_max + 1).read_to_end(&mut note).map_err(failed)?;
        if note.len() as u64 > bytes_max {
            return Err(self.stale("a file of it is too long"));
        }
        Ok(note)
    }

    /// Bytes of guest memory and of device state.
    pub fn size_bytes(&self) -> (u64, u64) {
        (self.metadata.ram.bytes, self.metadata.state.bytes)
    }

    /// Opens the memory file, read-only, and checks that it is the one that was saved.
    pub(crate) fn ram(&self) -> Result<File, TemplateError> {
        self.open_checked(RAM_FILE, &self.metadata.ram)
    }

    /// Opens the state file, read-only, and checks that it is the one that was saved.
    pub(crate) fn state(&self) -> Result<File, TemplateError> {
        if self.metadata.state.bytes > TEMPLATE_STATE_BYTES_MAX {
            return Err(self.stale("its device state is too large"));
        }
        let mut file = self.open_checked(STATE_FILE, &self.metadata.state)?;
        let failed = |source| TemplateError::File { path: self.directory.join(STATE_FILE), source };
        if draft::digest(&file).map_err(failed)? != self.metadata.state_sha256 {
            return Err(self.stale("its device state is damaged"));
        }
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    fn check_disk(&self, saved: &SavedDisk) -> Result<(), TemplateError> {
        let file = self.open_file(DISK_FILE)?;
        let failed = |source| TemplateError::File { path: self.directory.join(DISK_FILE), source };
        let now = SavedDisk::of(&file, &saved.id).map_err(failed)?;
        if &now == saved { Ok(()) } else { Err(self.stale("its disk was changed")) }
    }

    fn open_checked(&self, name: &str, saved: &Identity) -> Result<File, TemplateError> {
        let file = self.open_file(name)?;
        let failed = |source| TemplateError::File { path: self.directory.join(name), source };
        let now = Identity::of(&file).map_err(failed)?;
        if &now == saved { Ok(file) } else { Err(self.stale("a file of it was changed")) }
    }

    fn open_file(&self, name: &str) -> Result<File, TemplateError> {
        let path = self.directory.join(name);
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.stale("a file of it is gone")),
            Err(source) => Err(TemplateError::File { path, source }),
        }
    }

    fn stale(&self, reason: &'static str) -> TemplateError {
        TemplateError::Stale { directory: self.directory.clone(), reason }
    }
}

#[cfg(test)]
mod tests;
