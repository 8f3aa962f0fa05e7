//! What a patch knows of a file: its mode in git's three kinds, and its bytes.

/// Kind of a file, as git keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileMode {
    /// A regular file.
    Regular,
    /// A regular file that its owner may execute.
    Executable,
    /// A symbolic link; its target stands for its bytes.
    Symlink,
}

impl FileMode {
    /// The mode of a regular file with these permission bits.
    pub fn of_permissions(mode: u32) -> FileMode {
        if mode & 0o100 == 0 { FileMode::Regular } else { FileMode::Executable }
    }

    /// Whether this is a symbolic link.
    pub fn is_symlink(self) -> bool {
        self == FileMode::Symlink
    }

    /// Six octal digits, as they stand in a patch.
    pub fn digits(self) -> &'static str {
        match self {
            FileMode::Regular => "100644",
            FileMode::Executable => "100755",
            FileMode::Symlink => "120000",
        }
    }

    /// Reads such digits. Regular files with other permissions (old patches have `100664`) count by their
    /// owner's executable bit, as git does; directories and submodules are no files.
    pub fn parse(digits: &[u8]) -> Option<FileMode> {
        let digits = std::str::from_utf8(digits).ok()?;
        if digits.is_empty() || digits.len() > 7 || !digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
        {
            return None;
        }
        let mode = u32::from_str_radix(digits, 8).ok()?;
        match mode & 0o170_000 {
            0o100_000 => Some(FileMode::of_permissions(mode)),
            0o120_000 => Some(FileMode::Symlink),
            _ => None,
        }
    }
}

/// One side of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side<'a> {
    /// Its mode.
    pub mode: FileMode,
    /// Its contents; the target of a symbolic link.
    pub bytes: &'a [u8],
}
