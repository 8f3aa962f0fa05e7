//! Files that are kept under a second name: the same file where the file system allows, a copy elsewhere.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};

const COPY_BYTES: usize = 1024 * 1024;

/// Ends the names of copies that are not whole yet.
pub(crate) const STAGED_SUFFIX: &str = ".part";

/// Keeps the file at `path` as `place`, unless there is one already. What is there afterwards is whole and stored,
/// its name included.
pub(crate) fn keep(path: &Path, place: &Path) -> io::Result<()> {
    if place.try_exists()? {
        return Ok(());
    }
    match fs::hard_link(path, place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
        // Another file system, or one without links, or a file that the kernel does not let this user link.
        Err(_) => copy(path, place)?,
        Ok(()) => {}
    }
    place.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
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

    /// What is kept is the same file where it can be, and what is kept already is let be.
    #[test]
    fn files_are_kept_once() {
        let root = tempfile::tempdir().unwrap();
        let (from, other, place) =
            (root.path().join("from"), root.path().join("other"), root.path().join("to"));
        assert!(keep(&from, &place).is_err());
        fs::write(&from, b"x").unwrap();
        fs::write(&other, b"other").unwrap();
        keep(&from, &place).unwrap();
        keep(&other, &place).unwrap();
        assert_eq!(fs::metadata(&place).unwrap().ino(), fs::metadata(&from).unwrap().ino());
    }
}
