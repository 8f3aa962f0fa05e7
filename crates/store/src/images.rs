//! Images that workspaces stand on, kept under the state directory for as long as one does, whatever happens
//! to the cache: the same files by another name where the file system allows, copies elsewhere.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};

use crate::limits::IMAGE_KEY_BYTES_MAX;
use crate::{Directories, FileLock, LockMode, Store, StoreError};

const COPY_BYTES: usize = 1024 * 1024;
const STAGED_SUFFIX: &str = ".part";
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
        let place = self.kept_image(image);
        if place.try_exists()? {
            return Ok(());
        }
        match fs::hard_link(path, &place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            // Another file system, or one without links, or a file that the kernel does not let this user link.
            Err(_) => copy(path, &place)?,
            Ok(()) => {}
        }
        File::open(self.bases())?.sync_all()
    }
}

impl Store {
    /// Removes the kept images that no workspace stands on; gives their names.
    pub fn collect_images(&self, directories: &Directories) -> Result<Vec<OsString>, StoreError> {
        let [state, _] = directories.birth_locks();
        // Somebody is keeping an image right now, perhaps: another time.
        match FileLock::try_take(&state, LockMode::Exclusive) {
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

/// Copies beside the place, stores, renames. Holes stay holes: a blank disk is nearly nothing else.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut staged = to.to_owned().into_os_string();
    staged.push(format!(".{}{STAGED_SUFFIX}", std::process::id()));
    let staged = PathBuf::from(staged);
    let copied = copy_data(from, &staged).and_then(|()| fs::rename(&staged, to));
    if copied.is_err() {
        // What cannot be removed now is collected with the images nobody uses.
        let _ = fs::remove_file(&staged);
    }
    copied
}

fn copy_data(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let sink = File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let bytes = source.metadata()?.len();
    sink.set_len(bytes)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while let Some((start, end)) = data_from(&source, at)? {
        at = start;
        while at < end.min(bytes) {
            let room = usize::try_from(end.min(bytes) - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let piece = buffer.get_mut(..room).unwrap_or_default();
            source.read_exact_at(piece, at)?;
            sink.write_all_at(piece, at)?;
            at += room as u64;
        }
    }
    sink.sync_all()
}

/// The next stretch of data from `offset` on; `None` behind the last.
fn data_from(file: &File, offset: u64) -> io::Result<Option<(u64, u64)>> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => Ok(Some((start, seek(file, SeekFrom::Hole(start))?))),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// A copy has every byte and every hole, and is only there once it is whole.
    #[test]
    fn copies_are_sparse_and_whole() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[7; 5000], 3 << 20).unwrap();
        file.write_all_at(b"end", (64 << 20) - 3).unwrap();
        copy(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 4 << 20);
        assert!(copy(&root.path().join("missing"), &root.path().join("other")).is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }

    /// A key is a safe file name, and a base is never taken for a blank.
    #[test]
    fn only_keys_parse() {
        assert!(ImageKey::parse(&"0a".repeat(32)).is_ok());
        for bad in ["", ".", "../x", "a/b", "-x", "blank-x", "a b", &"x".repeat(129)] {
            assert!(ImageKey::parse(bad).is_err(), "{bad}");
        }
    }
}
