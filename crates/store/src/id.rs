//! Ids: short, lower-case, random.

use std::fmt;

use crate::limits::ID_CHARS;

/// The id of a VM: twelve lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmId(Digits);

/// The id of a workspace: twelve lower-case hexadecimal digits, the same for as long as it exists.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkspaceId(Digits);

/// The id of a layer of a disk, and of the image of a memory that was kept with it: twelve lower-case hexadecimal
/// digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(Digits);

/// Names a hold: twelve lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldToken(Digits);

/// The id of a shell in a workspace: twelve lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShellId(Digits);

/// Text that is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id")]
pub struct InvalidId(String);

/// What every id is made of.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Digits(String);

impl Digits {
    fn random() -> std::io::Result<Digits> {
        let mut bytes = [0u8; ID_CHARS / 2];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Digits(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    fn parse(text: &str) -> Result<Digits, InvalidId> {
        let valid = text.len() == ID_CHARS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Digits(text.to_owned())) } else { Err(InvalidId(text.to_owned())) }
    }
}

/// The same for every kind of id, each a type of its own.
macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// A new id from the kernel's random numbers.
            pub fn random() -> std::io::Result<$name> {
                Digits::random().map($name)
            }

            /// Reads an id.
            pub fn parse(text: &str) -> Result<$name, InvalidId> {
                Digits::parse(text).map($name)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

id!(VmId);
id!(WorkspaceId);
id!(LayerId);
id!(HoldToken);
id!(ShellId);

#[cfg(test)]
mod tests {
    use super::*;

    /// An id is a safe file name and nothing else is an id.
    #[test]
    fn only_ids_parse() {
        let id = VmId::random().unwrap();
        assert_eq!(VmId::parse(id.as_str()), Ok(id.clone()));
        assert!(WorkspaceId::parse(id.as_str()).is_ok() && LayerId::parse(id.as_str()).is_ok());
        assert_eq!(HoldToken::parse(id.as_str()).unwrap().to_string(), id.as_str());
        assert_ne!(VmId::random().unwrap(), id);
        for bad in ["", "..", "0123456789a", "0123456789abc", "0123456789AB", "0123456789a/", "0123456789é"]
        {
            assert!(VmId::parse(bad).is_err(), "{bad}");
        }
    }
}
