//! What people call a workspace: its name and its labels, made only by parsing.

use std::collections::BTreeMap;
use std::fmt;

use crate::WorkspaceId;
use crate::limits::{LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX};

/// A workspace's name: a letter or digit, then letters, digits, `.`, `_` and `-`; never of an id's form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkspaceName(String);

/// A label's key: formed as a name is, with `/` as well.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelKey(String);

/// A label's value: any text on one line, also an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelValue(String);

/// A workspace's labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<LabelKey, LabelValue>);

/// Text that is no name or label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// A character that does not belong, or none at all.
    #[error(
        "`{0}` is not a workspace's name: letters, digits, `.`, `_` and `-`, \
         a letter or digit first, {NAME_BYTES_MAX} at most"
    )]
    Name(String),
    /// It could be taken for an id.
    #[error("`{0}` has the form of an id")]
    LooksLikeId(String),
    /// A label's key.
    #[error(
        "`{0}` is not a label's key: letters, digits, `.`, `_`, `-` and `/`, \
         a letter or digit first, {LABEL_KEY_BYTES_MAX} at most"
    )]
    LabelKey(String),
    /// A label's value.
    #[error("a label's value is one line of {LABEL_VALUE_BYTES_MAX} bytes at most")]
    LabelValue,
    /// More labels than a workspace may have.
    #[error("{0} labels: a workspace has {LABELS_MAX} at most")]
    LabelCount(usize),
}

impl WorkspaceName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<WorkspaceName, InvalidName> {
        if !is_word(text, NAME_BYTES_MAX, b"._-") {
            return Err(InvalidName::Name(text.to_owned()));
        }
        if WorkspaceId::parse(text).is_ok() {
            return Err(InvalidName::LooksLikeId(text.to_owned()));
        }
        Ok(WorkspaceName(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LabelKey {
    /// Reads a key.
    pub fn parse(text: &str) -> Result<LabelKey, InvalidName> {
        match is_word(text, LABEL_KEY_BYTES_MAX, b"._-/") {
            true => Ok(LabelKey(text.to_owned())),
            false => Err(InvalidName::LabelKey(text.to_owned())),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LabelValue {
    /// Reads a value.
    pub fn parse(text: &str) -> Result<LabelValue, InvalidName> {
        match text.len() <= LABEL_VALUE_BYTES_MAX && !text.chars().any(char::is_control) {
            true => Ok(LabelValue(text.to_owned())),
            false => Err(InvalidName::LabelValue),
        }
    }

    /// The value as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Labels {
    /// Labels from texts; of a key that comes twice, the last value counts.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Labels, InvalidName> {
        let mut labels = BTreeMap::new();
        for (key, value) in pairs {
            labels.insert(LabelKey::parse(key)?, LabelValue::parse(value)?);
        }
        Labels::new(labels)
    }

    /// These labels, if they are not too many.
    pub fn new(labels: BTreeMap<LabelKey, LabelValue>) -> Result<Labels, InvalidName> {
        if labels.len() > LABELS_MAX {
            return Err(InvalidName::LabelCount(labels.len()));
        }
        Ok(Labels(labels))
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&LabelKey, &LabelValue)> {
        self.0.iter()
    }

    /// One label's value.
    pub fn get(&self, key: &LabelKey) -> Option<&LabelValue> {
        self.0.get(key)
    }

    /// The labels themselves.
    pub fn into_map(self) -> BTreeMap<LabelKey, LabelValue> {
        self.0
    }
}

impl fmt::Display for WorkspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A letter or digit, then letters, digits and some punctuation.
pub(crate) fn is_word(text: &str, bytes_max: usize, punctuation: &[u8]) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let fits = text.len() <= bytes_max;
    first && fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || punctuation.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name can be typed, is a safe file name, and is never mistaken for an id.
    #[test]
    fn only_names_parse() {
        for good in ["a", "fix-1", "A.b_c-D", "0123456789a", "0123456789abc", &"x".repeat(64)] {
            assert!(WorkspaceName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(matches!(WorkspaceName::parse(bad), Err(InvalidName::Name(_))), "{bad}");
        }
        assert!(matches!(WorkspaceName::parse("0123456789ab"), Err(InvalidName::LooksLikeId(_))));
    }

    /// Labels are bounded in every dimension.
    #[test]
    fn labels_are_bounded() {
        assert!(Labels::parse([("team/x", "any text = here"), ("empty", "")]).is_ok());
        assert!(Labels::parse([("", "x")]).is_err());
        assert_eq!(Labels::parse([("k", "two\nlines")]), Err(InvalidName::LabelValue));
        assert_eq!(Labels::parse([("k", "x".repeat(257).as_str())]), Err(InvalidName::LabelValue));
        let many: Vec<String> = (0..=LABELS_MAX).map(|n| format!("k{n}")).collect();
        let all = Labels::parse(many.iter().map(|key| (key.as_str(), "")));
        assert_eq!(all, Err(InvalidName::LabelCount(LABELS_MAX + 1)));
    }
}
