//! Ids: short, lower-case, random.

use std::fmt;

use crate::limits::ID_CHARS;

/// The id of a VM: twelve lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmId(String);

/// Text that is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a VM id")]
pub struct InvalidVmId(String);

impl VmId {
    /// A new id from the kernel's random numbers.
    pub fn random() -> std::io::Result<VmId> {
        let mut bytes = [0u8; ID_CHARS / 2];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(VmId(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Reads an id.
    pub fn parse(text: &str) -> Result<VmId, InvalidVmId> {
        let valid = text.len() == ID_CHARS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(VmId(text.to_owned())) } else { Err(InvalidVmId(text.to_owned())) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An id is a safe file name and nothing else is an id.
    #[test]
    fn only_ids_parse() {
        let id = VmId::random().unwrap();
        assert_eq!(VmId::parse(id.as_str()), Ok(id.clone()));
        assert_ne!(VmId::random().unwrap(), id);
        for bad in ["", "..", "0123456789a", "0123456789abc", "0123456789AB", "0123456789a/", "0123456789é"]
        {
            assert!(VmId::parse(bad).is_err(), "{bad}");
        }
    }
}
