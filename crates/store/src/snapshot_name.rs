//! What people call a snapshot.

use std::fmt;

use crate::limits::SNAPSHOT_NAME_BYTES_MAX;
use crate::name::is_word;

/// What a workspace was made as.
const BASELINE: &str = "baseline";

/// A snapshot's name: a letter or digit, then letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotName(String);

/// Text that is no snapshot's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a snapshot's name: letters, digits, `.`, `_` and `-`, \
     a letter or digit first, {SNAPSHOT_NAME_BYTES_MAX} at most"
)]
pub struct InvalidSnapshotName(String);

impl SnapshotName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<SnapshotName, InvalidSnapshotName> {
        match is_word(text, SNAPSHOT_NAME_BYTES_MAX, b"._-") {
            true => Ok(SnapshotName(text.to_owned())),
            false => Err(InvalidSnapshotName(text.to_owned())),
        }
    }

    /// The name of what every workspace was made as: it can be gone back to, and is no one's to give.
    pub fn baseline() -> SnapshotName {
        SnapshotName(BASELINE.to_owned())
    }

    /// Whether it is that one.
    pub fn is_baseline(&self) -> bool {
        self.0 == BASELINE
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name can be typed and is a safe file name; the baseline's is one of them.
    #[test]
    fn only_names_parse() {
        for good in ["a", "before-upgrade", "A.b_c-D", "0123456789ab", &"x".repeat(64)] {
            assert!(!SnapshotName::parse(good).unwrap().is_baseline(), "{good}");
        }
        assert_eq!(SnapshotName::parse("baseline"), Ok(SnapshotName::baseline()));
        assert!(SnapshotName::baseline().is_baseline());
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(SnapshotName::parse(bad).is_err(), "{bad}");
        }
    }
}
