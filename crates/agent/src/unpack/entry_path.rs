//! Paths of an archive: made only by a parser that lets none of them leave the image.

use super::UnpackError;
use crate::limits::ARCHIVE_PATH_DEPTH_MAX;

/// A path below the image's root; empty for the root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryPath {
    components: Vec<Vec<u8>>,
}

impl EntryPath {
    /// Parses an archive's bytes; leading slashes and dots mean nothing, a step upwards is refused.
    pub(crate) fn parse(bytes: &[u8]) -> Result<EntryPath, UnpackError> {
        let damaged =
            |why: &str| Err(UnpackError::Damaged(format!("{:?} {why}", String::from_utf8_lossy(bytes))));
        let mut components = Vec::new();
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return damaged("steps out of its directory"),
                _ if component.len() > 255 || component.contains(&0) => return damaged("is no path"),
                _ if components.len() >= ARCHIVE_PATH_DEPTH_MAX => return damaged("is too deep"),
                _ => components.push(component.to_vec()),
            }
        }
        Ok(EntryPath { components })
    }

    /// The directory above and the last component; `None` for the root.
    pub(crate) fn split(&self) -> Option<(&[Vec<u8>], &[u8])> {
        self.components.split_last().map(|(name, parent)| (parent, name.as_slice()))
    }

    /// The whole path, relative to the root.
    pub(crate) fn joined(&self) -> Vec<u8> {
        joined(&self.components)
    }
}

/// Components as one relative path; `.` for none.
pub(crate) fn joined(components: &[Vec<u8>]) -> Vec<u8> {
    if components.is_empty() { b".".to_vec() } else { components.join(&b'/') }
}

impl std::fmt::Display for EntryPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&[b"/", self.components.join(&b'/').as_slice()].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No path of an archive leads out of the image.
    #[test]
    fn paths_stay_inside() {
        for (text, path) in [("./a/b/", "a/b"), ("/etc//passwd", "etc/passwd"), ("./", "."), ("a/./b", "a/b")]
        {
            assert_eq!(EntryPath::parse(text.as_bytes()).unwrap().joined(), path.as_bytes(), "{text}");
        }
        for text in ["..", "a/../b", "/..", "a/..", &"a/".repeat(300), &"a".repeat(256), "a\0b"] {
            assert!(EntryPath::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(EntryPath::parse(b"/").unwrap().split().is_none());
    }
}
