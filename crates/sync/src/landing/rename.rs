//! A rename to a name that nothing has. It must never write over anything, on any file system.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

/// Renames to a name where nothing may be.
pub(crate) fn rename_new(from: impl AsFd, name: &[u8], to: impl AsFd, new_name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::renameat_with(&from, name, &to, new_name, RenameFlags::NOREPLACE) {
        // NFS among others knows no flags (renameat2(2)).
        Err(Errno::INVAL | Errno::NOSYS) => claim_and_rename(from, name, to, new_name),
        result => result,
    }
}

/// The same by means that every file system has: the new name is taken by something that fails when it is
/// there, a link or an empty directory.
fn claim_and_rename(from: impl AsFd, name: &[u8], to: impl AsFd, new_name: &[u8]) -> Result<(), Errno> {
    let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        rustix::fs::linkat(&from, name, &to, new_name, AtFlags::empty())?;
        return rustix::fs::unlinkat(&from, name, AtFlags::empty());
    }
    rustix::fs::mkdirat(&to, new_name, Mode::RWXU)?;
    rustix::fs::renameat(&from, name, &to, new_name).inspect_err(|_| {
        // Only if it is still empty, and so still ours.
        rustix::fs::unlinkat(&to, new_name, AtFlags::REMOVEDIR).ok();
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    type Rename = fn(&File, &[u8], &File, &[u8]) -> Result<(), Errno>;

    /// A file, link or directory gets a new name, and nothing that has the name is written over; with the
    /// flags of the kernel and without.
    #[test]
    fn nothing_is_written_over() {
        let ways: [Rename; 2] =
            [|a, b, c, d| rename_new(a, b, c, d), |a, b, c, d| claim_and_rename(a, b, c, d)];
        for rename in ways {
            let root = tempfile::tempdir().unwrap();
            let at = |name: &str| root.path().join(name);
            fs::write(at("file"), "file").unwrap();
            fs::create_dir(at("directory")).unwrap();
            fs::write(at("directory/in"), "in").unwrap();
            std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
            fs::create_dir(at("empty")).unwrap();
            let directory = File::open(root.path()).unwrap();
            for name in ["file", "directory", "link"] {
                for taken in ["file", "directory", "link", "empty"] {
                    let result = rename(&directory, name.as_bytes(), &directory, taken.as_bytes());
                    assert!(name == taken || result == Err(Errno::EXIST), "{name} to {taken}: {result:?}");
                }
                let new = format!("new-{name}");
                rename(&directory, name.as_bytes(), &directory, new.as_bytes()).unwrap();
                assert!(at(name).symlink_metadata().is_err() && at(&new).symlink_metadata().is_ok());
                rename(&directory, new.as_bytes(), &directory, name.as_bytes()).unwrap();
            }
            assert_eq!(fs::read(at("file")).unwrap(), b"file");
            assert_eq!(fs::read(at("directory/in")).unwrap(), b"in");
        }
    }
}
