//! Records of extended headers (POSIX.1-2001 pax): `LENGTH KEY=VALUE\n`, values being bytes of any kind.
//! Parsed by their lengths, since a value (a file's capabilities, say) may hold newlines.

use super::UnpackError;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// What extended headers say of an entry; later ones win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pax {
    /// Takes in the records of one header.
    pub(crate) fn take(&mut self, mut records: &[u8]) -> Result<(), UnpackError> {
        while !records.is_empty() {
            let (key, value, rest) =
                record(records).ok_or_else(|| damaged("an extended header breaks off"))?;
            self.set(key, value)?;
            records = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), UnpackError> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(id(value)?),
            b"gid" => self.gid = Some(id(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(damaged("pax sparse files are not supported"));
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(20).position(|byte| *byte == b' ')?;
    let length = std::str::from_utf8(records.get(..space)?).ok()?.parse::<usize>().ok()?;
    let (whole, rest) = records.split_at_checked(length)?;
    let body = whole.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((body.get(..equals)?, body.get(equals + 1..)?, rest))
}

fn number(value: &[u8]) -> Result<u64, UnpackError> {
    let digits =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| damaged("an extended header holds no number"))
}

fn id(value: &[u8]) -> Result<u32, UnpackError> {
    u32::try_from(number(value)?).map_err(|_| damaged("a user or group id is too large"))
}

/// `SECONDS[.FRACTION]`, which may be negative.
fn time(value: &[u8]) -> Result<(i64, u32), UnpackError> {
    let bad = || damaged("an extended header holds no time");
    let text = std::str::from_utf8(value).map_err(|_| bad())?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| bad())?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: u32 = digits.parse().map_err(|_| bad())?;
    match (text.starts_with('-'), nanoseconds) {
        (true, 1..) => Ok((seconds.saturating_sub(1), 1_000_000_000 - nanoseconds)),
        _ => Ok((seconds, nanoseconds)),
    }
}

fn damaged(why: &str) -> UnpackError {
    UnpackError::Damaged(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values are bytes: a newline in one does not end it.
    #[test]
    fn records_are_parsed_by_length() {
        let mut pax = Pax::default();
        let capability = b"\x01\x00\x00\n=\n";
        let key = b"SCHILY.xattr.security.capability";
        let length = key.len() + capability.len() + 2 + 3;
        let mut records = b"14 path=a\nb/c\n18 mtime=-1.25\n".to_vec();
        records = [records.get(..14).unwrap(), b"15 mtime=-1.25\n", b"12 uid=4242\n"].concat();
        records.extend_from_slice(format!("{length} ").as_bytes());
        records.extend_from_slice(&[key.as_slice(), b"=", capability, b"\n"].concat());
        pax.take(&records).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a\nb/c"[..]));
        assert_eq!((pax.mtime, pax.uid), (Some((-2, 750_000_000)), Some(4242)));
        assert_eq!(pax.xattrs, [(b"security.capability".to_vec(), capability.to_vec())]);
    }

    proptest! {
        /// No extended header makes the parser panic or loop.
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0usize..300) {
            let _ = Pax::default().take(&bytes);
            let mut framed = format!("{length} mtime=").into_bytes();
            framed.extend_from_slice(&bytes);
            let _ = Pax::default().take(&framed);
        }
    }
}
