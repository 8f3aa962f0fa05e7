//! What people call a service.

use std::fmt;

use crate::limits::SERVICE_NAME_BYTES_MAX;
use crate::name::is_word;

/// A service's name: a letter or digit, then letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(String);

/// Text that is no service's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a service's name: letters, digits, `.`, `_` and `-`, \
     a letter or digit first, {SERVICE_NAME_BYTES_MAX} at most"
)]
pub struct InvalidServiceName(String);

impl ServiceName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<ServiceName, InvalidServiceName> {
        match is_word(text, SERVICE_NAME_BYTES_MAX, b"._-") {
            true => Ok(ServiceName(text.to_owned())),
            false => Err(InvalidServiceName(text.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name can be typed and is a safe name of a directory.
    #[test]
    fn only_names_parse() {
        for good in ["a", "web-1", "A.b_c-D", &"x".repeat(64)] {
            assert_eq!(ServiceName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "..", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(ServiceName::parse(bad).is_err(), "{bad}");
        }
    }
}
