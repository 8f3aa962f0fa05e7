//! What a git patch cannot carry. Each of these is named to whoever asked for the patch.

use std::collections::BTreeMap;

/// Something that a git patch has no words for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Inexpressible {
    /// A directory that comes with nothing in it.
    #[error("an empty directory that was added")]
    EmptyDirectoryAdded,
    /// A directory that had nothing in it goes.
    #[error("an empty directory that was deleted")]
    EmptyDirectoryDeleted,
    /// Permissions of a directory.
    #[error("permissions of a directory")]
    DirectoryMode,
    /// Permissions of a file beyond its executable bit, or setuid, setgid and sticky.
    #[error("permissions beyond the executable bit")]
    PermissionBits,
    /// A device, pipe or socket.
    #[error("a device, pipe or socket")]
    SpecialFile,
}

/// What is at a path, as far as this question goes. Modes are permission bits, `0o7777` at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeShape {
    /// A directory of this mode.
    Directory(u32),
    /// A regular file of this mode.
    File(u32),
    /// A symbolic link.
    Symlink,
    /// A device, pipe or socket.
    Special,
}

/// What of this change a patch loses. Whether a directory is empty shows only in all changes together: that is
/// what [`EmptyDirectories`] finds.
pub fn lost_in_patch(before: Option<NodeShape>, after: Option<NodeShape>) -> Option<Inexpressible> {
    use NodeShape::{Directory, File, Special};
    match (before, after) {
        (Some(Special), _) | (_, Some(Special)) => Some(Inexpressible::SpecialFile),
        (Some(Directory(before)), Some(Directory(after))) if before != after => {
            Some(Inexpressible::DirectoryMode)
        }
        (Some(Directory(_)), Some(Directory(_))) => None,
        (_, Some(Directory(mode))) if !is_usual(mode | 0o111) || mode & 0o111 != 0o111 => {
            Some(Inexpressible::DirectoryMode)
        }
        (Some(File(before)), Some(File(after))) if before == after => None,
        (Some(File(before)), Some(File(after))) if before & 0o100 == after & 0o100 => {
            Some(Inexpressible::PermissionBits)
        }
        (_, Some(File(mode))) if !is_usual(mode) => Some(Inexpressible::PermissionBits),
        _ => None,
    }
}

/// Whether a mode is what a new file gets, under one of the usual masks (022, 002, 0).
fn is_usual(mode: u32) -> bool {
    matches!(mode, 0o644 | 0o664 | 0o666 | 0o755 | 0o775 | 0o777)
}

/// Finds the directories among all changes that come or go without a file in them.
#[derive(Clone, Debug, Default)]
pub struct EmptyDirectories {
    directories: BTreeMap<Vec<u8>, Inexpressible>,
}

impl EmptyDirectories {
    /// A directory comes.
    pub fn added(&mut self, path: &[u8]) {
        self.directories.insert(path.to_vec(), Inexpressible::EmptyDirectoryAdded);
    }

    /// A directory goes.
    pub fn deleted(&mut self, path: &[u8]) {
        self.directories.insert(path.to_vec(), Inexpressible::EmptyDirectoryDeleted);
    }

    /// A file or link that comes or goes, which git makes or removes directories for. To be told behind its
    /// directories, as a stream of changes has them.
    pub fn has_file(&mut self, path: &[u8], comes: bool) {
        let carried =
            if comes { Inexpressible::EmptyDirectoryAdded } else { Inexpressible::EmptyDirectoryDeleted };
        let mut rest = path;
        while let Some(slash) = rest.iter().rposition(|byte| *byte == b'/') {
            rest = rest.get(..slash).unwrap_or_default();
            if self.directories.get(rest) == Some(&carried) {
                self.directories.remove(rest);
            }
        }
    }

    /// Those that no patch carries, once all changes are in.
    pub fn finish(self) -> impl Iterator<Item = (Vec<u8>, Inexpressible)> {
        self.directories.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever git has no words for is named, and nothing else.
    #[test]
    fn losses_are_named() {
        use NodeShape::{Directory, File, Special, Symlink};
        let cases = [
            (None, Some(File(0o644)), None),
            (None, Some(File(0o600)), Some(Inexpressible::PermissionBits)),
            (None, Some(File(0o4755)), Some(Inexpressible::PermissionBits)),
            (Some(File(0o644)), Some(File(0o755)), None),
            (Some(File(0o644)), Some(File(0o600)), Some(Inexpressible::PermissionBits)),
            (Some(File(0o600)), Some(File(0o600)), None),
            (Some(File(0o600)), Some(File(0o700)), Some(Inexpressible::PermissionBits)),
            (Some(Directory(0o755)), Some(Directory(0o700)), Some(Inexpressible::DirectoryMode)),
            (None, Some(Directory(0o755)), None),
            (None, Some(Directory(0o1777)), Some(Inexpressible::DirectoryMode)),
            (Some(Special), None, Some(Inexpressible::SpecialFile)),
            (Some(File(0o644)), Some(Symlink), None),
            (Some(File(0o600)), None, None),
        ];
        for (before, after, lost) in cases {
            assert_eq!(lost_in_patch(before, after), lost, "{before:?} {after:?}");
        }
    }

    /// A directory is carried by the files in it, at any depth, and otherwise named.
    #[test]
    fn empty_directories_are_found() {
        let mut empty = EmptyDirectories::default();
        empty.added(b"a");
        empty.added(b"a/b");
        empty.added(b"a/c");
        empty.deleted(b"d");
        empty.deleted(b"e");
        empty.has_file(b"a/b/f", true);
        empty.has_file(b"d/f", false);
        empty.has_file(b"e/f", true);
        let found: Vec<_> = empty.finish().collect();
        assert_eq!(
            found,
            [
                (b"a/c".to_vec(), Inexpressible::EmptyDirectoryAdded),
                (b"e".to_vec(), Inexpressible::EmptyDirectoryDeleted)
            ]
        );
    }
}
