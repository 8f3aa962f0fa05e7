//! Templates: a machine saved where its guest waits for the host, to be forked instead of booted.
//!
//! On disk a template is a directory of three files: `ram` (sparse, mode 0444), `state` (QEMU's device
//! state) and `template.json`. It comes into being by one rename of a whole, synced directory, and is never
//! written afterwards. [`Template::open`] refuses one that is not what was saved; the caller then makes it
//! anew.

mod draft;
mod key;
mod metadata;

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

pub use draft::Draft;
pub(crate) use draft::DraftId;
pub use key::{KeyInputs, TemplateKey, host_processor};
use metadata::Metadata;

use crate::limits::TEMPLATE_STATE_BYTES_MAX;

pub(crate) const RAM_FILE: &str = "ram";
pub(crate) const STATE_FILE: &str = "state";
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
        Ok(template)
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
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

    fn open_checked(&self, name: &str, saved: &metadata::Identity) -> Result<File, TemplateError> {
        let path = self.directory.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.stale("a file of it is gone"));
            }
            Err(source) => return Err(TemplateError::File { path, source }),
        };
        let now = metadata::Identity::of(&file).map_err(|source| TemplateError::File { path, source })?;
        if &now == saved { Ok(file) } else { Err(self.stale("a file of it was changed")) }
    }

    fn stale(&self, reason: &'static str) -> TemplateError {
        TemplateError::Stale { directory: self.directory.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::machine::{Accelerator, Shape};

    fn key() -> TemplateKey {
        let shape = Shape::new(Accelerator::Tcg, 1, 128).unwrap();
        TemplateKey::new(&KeyInputs { shape, vmm: "test", parts: &[] })
    }

    fn saved(parent: &Path) -> Template {
        let draft = Draft::create(&parent.join("t"), 128 << 20).unwrap();
        draft.state().write_all(b"state").unwrap();
        draft.finish(&key()).unwrap()
    }

    #[test]
    fn a_saved_template_opens() {
        // Promise: what was saved whole can be forked.
        let parent = tempfile::tempdir().unwrap();
        let template = saved(parent.path());
        let again = Template::open(template.directory(), &key()).unwrap();
        assert_eq!(again.size_bytes(), (128 << 20, 5));
        let names = fs::read_dir(parent.path()).unwrap().count();
        assert_eq!(names, 1, "no temporary sibling is left");
    }

    #[test]
    fn an_unfinished_template_leaves_nothing() {
        // Promise: a template is never half there.
        let parent = tempfile::tempdir().unwrap();
        drop(Draft::create(&parent.path().join("t"), 128 << 20).unwrap());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        let error = Template::open(&parent.path().join("t"), &key()).unwrap_err();
        assert!(matches!(error, TemplateError::Absent { .. }));
    }

    #[test]
    fn a_changed_template_is_refused() {
        // Promise: a template somebody touched is made anew, not run.
        for (name, change) in [(RAM_FILE, 0), (STATE_FILE, 0), (RAM_FILE, 1), (METADATA_FILE, 2)] {
            let parent = tempfile::tempdir().unwrap();
            let template = saved(parent.path());
            let path = template.directory().join(name);
            match change {
                0 => {
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, b"other").unwrap();
                }
                1 => fs::remove_file(&path).unwrap(),
                _ => {
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, b"{").unwrap();
                }
            }
            let error = Template::open(template.directory(), &key()).unwrap_err();
            assert!(error.wants_rebuild(), "{name} {change}: {error}");
        }
    }

    #[test]
    fn a_template_of_another_machine_is_refused() {
        // Promise: a template is only used for the machine it was saved from.
        let parent = tempfile::tempdir().unwrap();
        let template = saved(parent.path());
        let shape = Shape::new(Accelerator::Tcg, 2, 128).unwrap();
        let other = TemplateKey::new(&KeyInputs { shape, vmm: "test", parts: &[] });
        assert!(Template::open(template.directory(), &other).unwrap_err().wants_rebuild());
    }

    #[test]
    fn saving_over_a_template_replaces_it() {
        // Promise: making a stale template anew works where the old one is.
        let parent = tempfile::tempdir().unwrap();
        saved(parent.path());
        let template = saved(parent.path());
        assert!(Template::open(template.directory(), &key()).is_ok());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
