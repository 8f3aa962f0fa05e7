//! A file of somebody else's, read whole and replaced whole.
//!
//! It is never written in place: a reader sees the old file or the new one. Symbolic links are written through,
//! owner and mode stay, and what somebody else wrote meanwhile is not overwritten.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pyro::{Code, Failure};
use rustix::fs::{Access, Gid, OFlags, Uid};
use tempfile::NamedTempFile;

use super::limits::{BACKUPS_MAX, CONFIGURATION_BYTES_MAX, SYMLINK_HOPS_MAX};

/// A file as it was found.
#[derive(Debug)]
pub(super) struct Original {
    /// The file itself, behind all symbolic links.
    pub(super) target: PathBuf,
    found: Option<Found>,
}

#[derive(Debug)]
struct Found {
    content: Vec<u8>,
    metadata: Metadata,
}

impl Original {
    /// Reads a file, which may be missing.
    pub(super) fn read(path: &Path) -> Result<Original, Failure> {
        let unreadable = |error: io::Error| {
            Failure::new(Code::SourceUnusable, format!("{} cannot be read", path.display()))
                .because(error)
                .fix("make it a file that you can read")
        };
        let target = behind_links(path).map_err(unreadable)?;
        let metadata = match fs::metadata(&target) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Original { target, found: None });
            }
            Err(error) => return Err(unreadable(error)),
        };
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        let content = content_of(&target).map_err(unreadable)?;
        let Some(content) = content else {
            let bound = CONFIGURATION_BYTES_MAX / (1024 * 1024);
            return Err(Failure::new(
                Code::SourceUnusable,
                format!("{} is larger than {bound} MiB, which no configuration is", path.display()),
            )
            .fix("look at what is in it; nothing was written"));
        };
        Ok(Original { target, found: Some(Found { content, metadata }) })
    }

    /// Its bytes; none when it is missing.
    pub(super) fn content(&self) -> &[u8] {
        self.found.as_ref().map_or(&[], |found| &found.content)
    }

    pub(super) fn exists(&self) -> bool {
        self.found.is_some()
    }

    /// Whether it is in a directory, whatever links lead to it.
    pub(super) fn is_inside(&self, directory: &Path) -> bool {
        let real = self.target.ancestors().skip(1).find_map(|ancestor| fs::canonicalize(ancestor).ok());
        match (real, fs::canonicalize(directory)) {
            (Some(real), Ok(directory)) => real.starts_with(directory),
            _ => false,
        }
    }

    /// Puts new bytes in its place, and gives the path of the copy that was made of the old ones. A file that was
    /// missing gets `mode`.
    pub(super) fn replace(&self, content: &[u8], mode: u32) -> Result<Option<PathBuf>, Failure> {
        let directory = self.target.parent().unwrap_or(Path::new("/"));
        let unwritable = |error: io::Error| unwritable(&self.target, error);
        if self.found.is_none() {
            fs::create_dir_all(directory).map_err(unwritable)?;
        }
        let fresh = self.prepare(directory, content, mode)?;
        let backup = match &self.found {
            Some(found) => Some(self.back_up(directory, found)?),
            None => None,
        };
        if let Err(failure) = self.put(fresh) {
            if let Some(backup) = &backup {
                let _ = fs::remove_file(backup);
            }
            return Err(failure);
        }
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(unwritable)?;
        Ok(backup)
    }

    /// A file beside it that has all of it: bytes, owner, mode.
    fn prepare(&self, directory: &Path, content: &[u8], mode: u32) -> Result<NamedTempFile, Failure> {
        let unwritable = |error: io::Error| unwritable(&self.target, error);
        let mode = match &self.found {
            Some(found) => {
                is_writable(&self.target, &found.metadata).map_err(unwritable)?;
                found.metadata.mode()
            }
            None => mode,
        };
        let mut fresh =
            tempfile::Builder::new().prefix(".pyro-").tempfile_in(directory).map_err(unwritable)?;
        fresh.write_all(content).map_err(unwritable)?;
        if let Some(found) = &self.found {
            keep_owner(fresh.as_file(), &found.metadata).map_err(unwritable)?;
        }
        fresh.as_file().set_permissions(Permissions::from_mode(mode & 0o7777)).map_err(unwritable)?;
        fresh.as_file().sync_all().map_err(unwritable)?;
        Ok(fresh)
    }

    /// The last step: the file is as it was when it was read, and then it is the new one.
    fn put(&self, fresh: NamedTempFile) -> Result<(), Failure> {
        let changed = || {
            Failure::new(Code::ChangedMeanwhile, format!("{} has changed meanwhile", self.target.display()))
                .fix("run it again; nothing was written")
        };
        let Some(found) = &self.found else {
            return match fresh.persist_noclobber(&self.target) {
                Ok(_) => Ok(()),
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(changed()),
                Err(error) => Err(unwritable(&self.target, error.error)),
            };
        };
        match content_of(&self.target) {
            Ok(Some(content)) if content == found.content => {}
            _ => return Err(changed()),
        }
        fresh.persist(&self.target).map_err(|error| unwritable(&self.target, error.error))?;
        Ok(())
    }

    /// Copies the old bytes to a name beside it that is free.
    fn back_up(&self, directory: &Path, found: &Found) -> Result<PathBuf, Failure> {
        let unwritable = |error: io::Error| unwritable(&self.target, error);
        let name = self.target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for number in 1..=BACKUPS_MAX {
            let path = directory.join(format!("{name}.pyro-backup-{number}"));
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let mut copy = match opened {
                Ok(copy) => copy,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(unwritable(error)),
            };
            let written = copy
                .write_all(&found.content)
                .and_then(|()| keep_owner(&copy, &found.metadata))
                .and_then(|()| copy.set_permissions(Permissions::from_mode(found.metadata.mode() & 0o7777)))
                .and_then(|()| copy.sync_all());
            if let Err(error) = written {
                let _ = fs::remove_file(&path);
                return Err(unwritable(error));
            }
            return Ok(path);
        }
        Err(Failure::new(
            Code::TargetUnusable,
            format!("there are {BACKUPS_MAX} backups of {}", self.target.display()),
        )
        .fix("remove those that you need no more"))
    }
}

fn unwritable(target: &Path, error: io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::NoSpace,
        _ => Code::TargetUnusable,
    };
    Failure::new(code, format!("{} cannot be written", target.display()))
        .because(error)
        .fix("make it and its directory writable, or add what `pyro host print-config` prints by hand")
}

/// All bytes, or nothing where there are too many.
fn content_of(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut content = Vec::new();
    file.take(CONFIGURATION_BYTES_MAX + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= CONFIGURATION_BYTES_MAX).then_some(content))
}

/// Follows symbolic links to the file itself, which may be missing.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for hops in 0..SYMLINK_HOPS_MAX {
        match fs::read_link(&path) {
            // Absolute targets replace the path, relative ones begin beside it.
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                // A relative target leaves dots in the path, which nobody has to read.
                let directory = path.parent().filter(|_| hops > 0).map(fs::canonicalize);
                return Ok(match (directory, path.file_name()) {
                    (Some(Ok(directory)), Some(name)) => directory.join(name),
                    _ => path,
                });
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

/// A rename would replace a file that somebody made read-only: that is to be respected.
fn is_writable(path: &Path, metadata: &Metadata) -> io::Result<()> {
    if metadata.mode() & 0o222 == 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is read-only"));
    }
    match rustix::fs::access(path, Access::WRITE_OK) {
        // Somebody has removed it, which the last step finds.
        Err(rustix::io::Errno::NOENT) => Ok(()),
        checked => Ok(checked?),
    }
}

fn keep_owner(file: &File, metadata: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) == (metadata.uid(), metadata.gid()) {
        return Ok(());
    }
    let changed =
        rustix::fs::fchown(file, Some(Uid::from_raw(metadata.uid())), Some(Gid::from_raw(metadata.gid())));
    changed.map_err(|error| io::Error::other(format!("its owner cannot be kept: {error}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A missing file is made with its directories, for its owner alone, and has no backup.
    #[test]
    fn a_missing_file_is_made() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c.json");
        let original = Original::read(&path).unwrap();
        assert!(!original.exists() && original.content().is_empty());
        assert_eq!(original.replace(b"new", 0o600).unwrap(), None);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(names(path.parent().unwrap()), ["c.json"]);
    }

    /// Mode and owner stay, and every backup has a name of its own, with the same mode.
    #[test]
    fn mode_and_owner_stay() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("c");
        fs::write(&path, "0").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        // Only root can give a file away.
        let strange = std::os::unix::fs::chown(&path, Some(12), Some(34)).is_ok();
        for number in 1..=3_u32 {
            let backup = Original::read(&path)
                .unwrap()
                .replace(number.to_string().as_bytes(), 0o600)
                .unwrap()
                .unwrap();
            assert_eq!(backup, root.path().join(format!("c.pyro-backup-{number}")));
            assert_eq!(fs::read(&backup).unwrap(), (number - 1).to_string().as_bytes());
            for file in [&path, &backup] {
                let metadata = fs::metadata(file).unwrap();
                assert_eq!(metadata.mode() & 0o7777, 0o640);
                assert!(!strange || (metadata.uid(), metadata.gid()) == (12, 34));
            }
        }
    }

    /// Links of dotfile managers stay links: the file behind them is written, be it there or not.
    #[test]
    fn links_are_written_through() {
        let root = tempfile::tempdir().unwrap();
        let (dotfiles, home) = (root.path().join("dotfiles"), root.path().join("home"));
        fs::create_dir(&dotfiles).unwrap();
        fs::create_dir(&home).unwrap();
        fs::write(dotfiles.join("mcp"), "old").unwrap();
        symlink("../dotfiles/mcp", home.join("mcp.json")).unwrap();
        symlink(dotfiles.join("later"), home.join("other.json")).unwrap();
        let backup = Original::read(&home.join("mcp.json")).unwrap().replace(b"new", 0o600).unwrap().unwrap();
        assert_eq!(fs::read(dotfiles.join("mcp")).unwrap(), b"new");
        assert_eq!(fs::canonicalize(backup.parent().unwrap()).unwrap(), fs::canonicalize(&dotfiles).unwrap());
        assert_eq!(Original::read(&home.join("other.json")).unwrap().replace(b"made", 0o600).unwrap(), None);
        assert_eq!(fs::read(dotfiles.join("later")).unwrap(), b"made");
        assert!(home.join("mcp.json").is_symlink() && home.join("other.json").is_symlink());
        symlink("loop", home.join("loop")).unwrap();
        assert_eq!(Original::read(&home.join("loop")).unwrap_err().code, Code::SourceUnusable);
    }

    /// What somebody else wrote after it was read is not overwritten, and no backup or piece of it is left.
    #[test]
    fn changes_of_others_are_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let (there, missing) = (root.path().join("there"), root.path().join("missing"));
        fs::write(&there, "old").unwrap();
        let originals = [Original::read(&there).unwrap(), Original::read(&missing).unwrap()];
        fs::write(&there, "theirs").unwrap();
        fs::write(&missing, "theirs").unwrap();
        for original in originals {
            assert_eq!(original.replace(b"ours", 0o600).unwrap_err().code, Code::ChangedMeanwhile);
            assert_eq!(fs::read(&original.target).unwrap(), b"theirs");
        }
        let original = Original::read(&there).unwrap();
        fs::remove_file(&there).unwrap();
        assert_eq!(original.replace(b"ours", 0o600).unwrap_err().code, Code::ChangedMeanwhile);
        assert_eq!(names(root.path()), ["missing"]);
    }

    /// A read-only file stays as it is, even where its directory can be written.
    #[test]
    fn a_read_only_file_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("c");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        let failure = Original::read(&path).unwrap().replace(b"new", 0o600).unwrap_err();
        assert_eq!((failure.code, failure.cause.as_deref()), (Code::TargetUnusable, Some("it is read-only")));
        assert_eq!(names(root.path()), ["c"]);
    }

    /// A directory that nothing can be written to is told. Not even root writes to this one.
    #[test]
    fn a_directory_that_cannot_be_written_is_told() {
        let original = Original::read(Path::new("/proc/self/nothing.json")).unwrap();
        assert_eq!(original.replace(b"new", 0o600).unwrap_err().code, Code::TargetUnusable);
    }

    /// Neither directories nor pipes nor what has no end is read.
    #[test]
    fn only_files_of_a_sane_size_are_read() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Original::read(root.path()).unwrap_err().code, Code::SourceUnusable);
        assert_eq!(Original::read(Path::new("/dev/zero")).unwrap_err().code, Code::SourceUnusable);
        let path = root.path().join("huge");
        File::create(&path).unwrap().set_len(CONFIGURATION_BYTES_MAX + 1).unwrap();
        let failure = Original::read(&path).unwrap_err();
        assert!(failure.message.ends_with("is larger than 16 MiB, which no configuration is"), "{failure}");
    }
}
