//! Files that are whole or absent: bounded reads, synced writes, free space. Its errors name the path and the act.
//! It never deletes anything.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A file or directory of the cache could not be read, written or trusted.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The filesystem is full (or the quota is used up).
    #[error("no space left on the filesystem of {}", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
    },
    /// There is less room than the work is known to need; nothing was begun.
    #[error(
        "{} has {} MiB free and {} MiB are needed",
        path.display(),
        available_bytes >> 20,
        needed_bytes >> 20
    )]
    LowSpace {
        /// The directory whose filesystem was looked at.
        path: PathBuf,
        /// What a user may still write there.
        available_bytes: u64,
        /// What the work needs at its peak.
        needed_bytes: u64,
    },
    /// The file is larger than anything this crate writes there.
    #[error("{} is larger than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// Any other failure of the operating system.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, an infinitive.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl DiskError {
    /// For `map_err`: keeps a full disk apart from every other failure.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { action, path, source },
        }
    }
}

/// Creates a directory and those above it. Nobody else may write in new ones.
pub(crate) fn create_dirs(path: &Path) -> Result<(), DiskError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(DiskError::io("create directory", path))
}

/// Creates a directory of exactly this mode, whatever the umask.
pub(crate) fn create_dir_of_mode(path: &Path, mode: u32) -> Result<(), DiskError> {
    fs::create_dir(path).map_err(DiskError::io("create directory", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(DiskError::io("set the mode of", path))
}

/// Creates a file that must not exist yet.
pub(crate) fn create_file(path: &Path) -> Result<File, DiskError> {
    File::options().read(true).write(true).create_new(true).open(path).map_err(DiskError::io("create", path))
}

/// Opens a file for reading.
pub(crate) fn open_file(path: &Path) -> Result<File, DiskError> {
    File::open(path).map_err(DiskError::io("open", path))
}

/// Writes a new file, makes it read-only and durable.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut file = create_file(path)?;
    file.write_all(bytes).map_err(DiskError::io("write", path))?;
    seal_file(&file, path)
}

/// Makes a finished file read-only for everybody (the VMM may run as another user) and durable.
pub(crate) fn seal_file(file: &File, path: &Path) -> Result<(), DiskError> {
    file.set_permissions(fs::Permissions::from_mode(0o444)).map_err(DiskError::io("make read-only", path))?;
    file.sync_all().map_err(DiskError::io("sync", path))
}

/// Makes a directory's entries durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(DiskError::io("sync directory", path))
}

/// Reads a whole file of bounded size; an absent one is `None`.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(DiskError::io("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(DiskError::io("read", path))?;
    if bytes.len() as u64 > bytes_max {
        return Err(DiskError::TooLarge { path: path.to_owned(), bytes_max });
    }
    Ok(Some(bytes))
}

/// A regular file's size; `None` when there is no regular file.
pub(crate) fn file_bytes(path: &Path) -> Option<u64> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

/// Refuses when the filesystem of `path` has less than `needed_bytes` for this user.
pub(crate) fn require_free(path: &Path, needed_bytes: u64) -> Result<(), DiskError> {
    let space = rustix::fs::statvfs(path)
        .map_err(|errno| DiskError::io("look at the free space of", path)(errno.into()))?;
    let available_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    if available_bytes < needed_bytes {
        return Err(DiskError::LowSpace { path: path.to_owned(), available_bytes, needed_bytes });
    }
    Ok(())
}

/// Whether the error says that there is no such file.
pub(crate) fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps: a full disk is told apart from other failures.
    #[test]
    fn a_full_disk_has_its_own_error() {
        let full = DiskError::io("write", "/x")(rustix::io::Errno::NOSPC.into());
        assert!(matches!(full, DiskError::Full { .. }));
        let quota = DiskError::io("write", "/x")(rustix::io::Errno::DQUOT.into());
        assert!(matches!(quota, DiskError::Full { .. }));
        let other = DiskError::io("write", "/x")(rustix::io::Errno::IO.into());
        assert!(matches!(other, DiskError::Io { .. }));
    }

    /// Keeps: a write that really meets a full disk is that error.
    #[test]
    fn a_full_disk_is_noticed() {
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let error = full.write_all(b"x").map_err(DiskError::io("write", "/dev/full")).unwrap_err();
        assert_eq!(error.to_string(), "no space left on the filesystem of /dev/full");
    }

    /// Keeps: nothing is begun where there is not enough room for it.
    #[test]
    fn low_space_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        require_free(directory.path(), 1).unwrap();
        let error = require_free(directory.path(), u64::MAX).unwrap_err();
        assert!(matches!(error, DiskError::LowSpace { needed_bytes: u64::MAX, .. }));
    }

    /// Keeps: a file that grew out of its limit is refused, an absent one is not an error.
    #[test]
    fn reads_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(read_bounded(&path, 3).unwrap().is_none());
        write_file(&path, b"abc").unwrap();
        assert_eq!(read_bounded(&path, 3).unwrap().unwrap(), b"abc");
        assert!(matches!(read_bounded(&path, 2), Err(DiskError::TooLarge { .. })));
    }
}
