//! Binary parts: deflated bytes in base 85, forward and mostly back.

use super::{Cursor, ParseError};
use crate::base85;
use crate::section::{BinaryData, Body, Encoding};

/// Reads what is behind `GIT binary patch`.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<Body<'a>, ParseError> {
    cursor.next_line();
    let Some(forward) = data(cursor)? else {
        return Err(cursor.error("a binary part without `literal` or `delta`"));
    };
    let reverse = data(cursor)?;
    Ok(Body::Binary { forward, reverse })
}

fn data(cursor: &mut Cursor<'_>) -> Result<Option<BinaryData>, ParseError> {
    let line = cursor.peek();
    let (encoding, size) = if let Some(size) = line.strip_prefix(b"literal ") {
        (Encoding::Literal, size)
    } else if let Some(size) = line.strip_prefix(b"delta ") {
        (Encoding::Delta, size)
    } else {
        return Ok(None);
    };
    let size = std::str::from_utf8(size.trim_ascii_end()).ok().and_then(|size| size.parse().ok());
    let Some(inflated_bytes) = size else { return Err(cursor.error("a binary part of no known size")) };
    cursor.next_line();
    let mut deflated = Vec::new();
    loop {
        if cursor.rest.is_empty() {
            return Err(cursor.error("the patch ends within a binary part"));
        }
        let line = cursor.peek();
        if line.is_empty() {
            cursor.next_line();
            return Ok(Some(BinaryData { encoding, inflated_bytes, deflated }));
        }
        if base85::decode_line(line, &mut deflated).is_none() {
            return Err(cursor.error("a line of a binary part is malformed"));
        }
        cursor.next_line();
    }
}
