//! PAX attributes of an entry (pax(1), "pax Extended Header"), and those among them that matter. Pure.

use super::error::Refusal;

/// Key and value, in order; values may hold any bytes.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// Reads records of `length key=value\n`.
    pub(super) fn parse(text: &[u8]) -> Result<Attributes, Refusal> {
        let mut records = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (record, behind) = split_record(rest).ok_or(Refusal::Attributes)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(Refusal::Attributes)?;
            let (key, value) = record.split_at(equals);
            records.push((key.to_vec(), value.get(1..).unwrap_or_default().to_vec()));
            rest = behind;
        }
        Ok(Attributes { records })
    }

    /// The value of a key; the last one counts, and an empty one is none.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        let found = self.records.iter().rev().find(|(own, _)| own == key.as_bytes());
        found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    /// All keys and values, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Whether some key changes what an entry is, and not just who made it.
    pub(super) fn matter(&self) -> bool {
        self.iter().any(|(key, _)| {
            matches!(key, b"path" | b"linkpath" | b"size" | b"mtime") || key.starts_with(b"GNU.sparse.")
        })
    }
}

/// A record without its length and line end, and what is behind it.
fn split_record(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let length = super::number::decimal(text.get(..space)?)?;
    let (record, rest) = text.split_at_checked(usize::try_from(length).ok()?)?;
    Some((record.get(space + 1..)?.strip_suffix(b"\n")?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values are bytes, whatever they are; a record that breaks the format is an error.
    #[test]
    fn records_are_read() {
        let attributes = Attributes::parse(b"12 path=a\nb\n9 x=1=\n\xff\n6 y=1\n5 y=\n").unwrap();
        assert_eq!(attributes.get("path"), Some(b"a\nb".as_slice()));
        assert_eq!(attributes.get("x"), Some(b"1=\n\xff".as_slice()));
        assert_eq!(attributes.get("y"), None);
        for bad in [b"5 a=1".as_slice(), b"6 a=1", b"99 a=1\n", b"a=1\n", b"4 a\n", b"0 a=1\n", b"2 \n"] {
            assert!(Attributes::parse(bad).is_err(), "{bad:?}");
        }
    }
}
