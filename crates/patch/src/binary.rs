//! Bytes of any kind in a patch: deflated, in base 85, whole.

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use crate::base85;

/// Appends one direction: all bytes of the side that it leads to.
pub(crate) fn write_literal(bytes: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(format!("literal {}\n", bytes.len()).as_bytes());
    base85::encode(&deflate(bytes), text);
    text.push(b'\n');
}

/// Inflates to exactly `expected` bytes; `None` when it is anything else.
pub(crate) fn inflate(deflated: &[u8], expected: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(expected).ok()?.checked_add(1)?;
    ZlibDecoder::new(deflated).take(bound).read_to_end(&mut bytes).ok()?;
    (bytes.len() == expected).then_some(bytes)
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
