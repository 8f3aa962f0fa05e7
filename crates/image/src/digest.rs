//! SHA-256 digests: the parsed type, and streams that compute one as bytes pass. It never decides what a digest is of.

use std::fmt;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, 64 lower-case hex digits in text and JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// The text is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest has 64 hex digits, this text has {characters} characters or others among them")]
pub struct NotADigest {
    /// How long the text was.
    pub characters: usize,
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 hex digits.
    pub fn parse(text: &str) -> Result<Self, NotADigest> {
        let refuse = || NotADigest { characters: text.chars().count() };
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| refuse())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }

    /// The first 12 hex digits, for names of directories.
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }

    /// A version-8 UUID (RFC 9562) made of this digest: the same content always has the same.
    pub fn uuid(&self) -> String {
        let mut bytes: [u8; 16] = std::array::from_fn(|index| self.0.get(index).copied().unwrap_or(0));
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        Self::parse(&text)
    }
}

/// Digests what passes through, on its way from a reader or to a writer.
pub(crate) struct Hashing<Stream> {
    stream: Stream,
    hasher: Sha256,
    bytes: u64,
}

impl<Stream> Hashing<Stream> {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, hasher: Sha256::new(), bytes: 0 }
    }

    /// The stream, the digest of all that passed, and how many bytes that was.
    pub(crate) fn finish(self) -> (Stream, Digest, u64) {
        (self.stream, Digest(self.hasher.finalize().into()), self.bytes)
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
    }
}

impl<Stream: Read> Read for Hashing<Stream> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.pass(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<Stream: Write> Write for Hashing<Stream> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(buffer)?;
        self.pass(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps: text and digest are the same thing, and nothing else parses.
    #[test]
    fn digests_parse_what_they_print() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
        for bad in ["", "ba78", &"g".repeat(64), &"é".repeat(32)] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    /// Keeps: the UUID of a content is always the same and a valid version 8.
    #[test]
    fn uuids_are_valid() {
        let uuid = Digest::of(b"abc").uuid();
        assert_eq!(uuid, "ba7816bf-8f01-8fea-8141-40de5dae2223");
    }

    /// Keeps: streamed digests are the digests of the bytes.
    #[test]
    fn streams_are_digested() {
        let mut reader = Hashing::new(&b"abc"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        let (_, digest, bytes) = reader.finish();
        assert_eq!((digest, bytes), (Digest::of(b"abc"), 3));
    }
}
