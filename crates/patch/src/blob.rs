//! The name git gives a file's bytes: the SHA-1 of a header and the bytes.

use sha1::{Digest, Sha1};

/// Name of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobId([u8; 20]);

impl BlobId {
    /// What stands for no file.
    pub const ZERO: BlobId = BlobId([0; 20]);

    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> BlobId {
        let mut hash = Sha1::new();
        hash.update(format!("blob {}\0", bytes.len()));
        hash.update(bytes);
        BlobId(hash.finalize().into())
    }

    /// Forty hexadecimal digits, lower case.
    pub fn to_hex(self) -> String {
        use std::fmt::Write;
        let mut hex = String::with_capacity(40);
        for byte in self.0 {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blobs are named as git names them.
    #[test]
    fn names_are_gits() {
        assert_eq!(BlobId::of(b"").to_hex(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(BlobId::of(b"hello\n").to_hex(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
