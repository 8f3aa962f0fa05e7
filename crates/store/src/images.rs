//! Images that workspaces stand on, kept under the state directory for as long as one does, whatever happens
//! to the cache: the same files by another name where the file system allows, copies elsewhere.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::keep::{STAGED_SUFFIX, keep};
use crate::limits::IMAGE_KEY_BYTES_MAX;
use crate::{Directories, FileLock, LockMode, Store, StoreError};

const BLANK_PREFIX: &str = "blank-";

/// What an image is known by: letters, digits, `.`, `_` and `-`, a letter or digit first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageKey(String);

/// Text that is no key of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an image's key")]
pub struct InvalidImageKey(String);

/// An image that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptImage<'a> {
    /// The root image of an environment, by its digest.
    Base(&'a ImageKey),
    /// The blank disk under workspaces' own, by its recipe.
    Blank(&'a ImageKey),
}

impl ImageKey {
    /// Reads a key.
    pub fn parse(text: &str) -> Result<ImageKey, InvalidImageKey> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let fits = text.len() <= IMAGE_KEY_BYTES_MAX && !text.starts_with(BLANK_PREFIX);
        match first && fits && text.bytes().all(plain) {
            true => Ok(ImageKey(text.to_owned())),
            false => Err(InvalidImageKey(text.to_owned())),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl KeptImage<'_> {
    fn file_name(self) -> String {
        match self {
            KeptImage::Base(digest) => format!("{}.ext4", digest.as_str()),
            KeptImage::Blank(recipe) => format!("{BLANK_PREFIX}{}.ext4", recipe.as_str()),
        }
    }
}

impl Directories {
    /// Where an image is kept.
    pub fn kept_image(&self, image: KeptImage<'_>) -> PathBuf {
        self.bases().join(image.file_name())
    }

    /// Keeps the image at `path`, unless it is kept already; for who has a record that refers to it, under the
    /// birth lock. What is kept is whole and stored.
    pub(crate) fn keep_image(&self, path: &Path, image: KeptImage<'_>) -> io::Result<()> {
        keep(path, &self.kept_image(image))
    }
}

impl Store {
    /// Removes the kept images that no workspace stands on; gives their names.
    pub fn collect_images(&self, directories: &Directories) -> Result<Vec<OsString>, StoreError> {
        self.collect_images_within(directories, Duration::ZERO)
    }

    /// The same for who can wait.
    pub fn collect_images_within(
        &self,
        directories: &Directories,
        patience: Duration,
    ) -> Result<Vec<OsString>, StoreError> {
        let [state, _] = directories.birth_locks();
        // Somebody is keeping an image right now, perhaps: another time.
        match FileLock::take_within(&state, LockMode::Exclusive, patience) {
            Ok(_alone) => self.collect_images_alone(directories),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The same for who holds the birth lock.
    pub(crate) fn collect_images_alone(
        &self,
        directories: &Directories,
    ) -> Result<Vec<OsString>, StoreError> {
        let Ok(entries) = fs::read_dir(directories.bases()) else { return Ok(Vec::new()) };
        let kept: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        let used = self.images_in_use()?;
        let ours = |name: &OsString| {
            name.to_str().is_some_and(|name| name.ends_with(".ext4") || name.ends_with(STAGED_SUFFIX))
        };
        let unused = kept.into_iter().filter(|name| ours(name) && !used.contains(name));
        Ok(unused.filter(|name| fs::remove_file(directories.bases().join(name)).is_ok()).collect())
    }

    /// File names of the images that rows refer to, read without understanding the rows: a row that this
    /// release cannot read holds its images all the same.
    fn images_in_use(&self) -> Result<BTreeSet<OsString>, StoreError> {
        let query = || -> rusqlite::Result<BTreeSet<OsString>> {
            let mut statement = self.connection.prepare(
                "SELECT base_digest || '.ext4' FROM workspaces
                 UNION SELECT ?1 || blank_recipe || '.ext4' FROM workspaces",
            )?;
            statement.query_map([BLANK_PREFIX], |row| row.get::<_, String>(0).map(OsString::from))?.collect()
        };
        query().map_err(|error| self.fail(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key is a safe file name, and a base is never taken for a blank.
    #[test]
    fn only_keys_parse() {
        assert!(ImageKey::parse(&"0a".repeat(32)).is_ok());
        for bad in ["", ".", "../x", "a/b", "-x", "blank-x", "a b", &"x".repeat(129)] {
            assert!(ImageKey::parse(bad).is_err(), "{bad}");
        }
    }
}
