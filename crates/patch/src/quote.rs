//! Names as git writes them: as they are, or in double quotes with escapes where a byte would mislead.

/// The name as it stands in a header, with `prefix` (`a/`, `b/`) inside the quotes where there are some.
pub fn quote(prefix: &str, name: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(prefix.len() + name.len() + 2);
    if name.iter().all(|byte| is_plain(*byte)) {
        quoted.extend_from_slice(prefix.as_bytes());
        quoted.extend_from_slice(name);
        return quoted;
    }
    quoted.push(b'"');
    quoted.extend_from_slice(prefix.as_bytes());
    for byte in name {
        match letter_of(*byte) {
            Some(letter) => quoted.extend_from_slice(&[b'\\', letter]),
            None if is_plain(*byte) => quoted.push(*byte),
            None => quoted.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
    quoted.push(b'"');
    quoted
}

/// Reads a quoted name at the start of `text`; the name and what is behind it. `None` when it is not quoted,
/// or badly.
pub(crate) fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut name = Vec::new();
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        match byte {
            b'"' => return Some((name, rest)),
            b'\\' => {
                let (escape, behind) = rest.split_first()?;
                rest = behind;
                match byte_of(*escape) {
                    Some(byte) => name.push(byte),
                    None => {
                        let (low, behind) = rest.split_first_chunk::<2>()?;
                        rest = behind;
                        name.push(octal(*escape, *low)?);
                    }
                }
            }
            byte => name.push(*byte),
        }
    }
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// Escapes of one letter: the byte, and its letter.
const LETTERS: [(u8, u8); 9] = [
    (0x07, b'a'),
    (0x08, b'b'),
    (b'\t', b't'),
    (b'\n', b'n'),
    (0x0b, b'v'),
    (0x0c, b'f'),
    (b'\r', b'r'),
    (b'"', b'"'),
    (b'\\', b'\\'),
];

fn letter_of(byte: u8) -> Option<u8> {
    LETTERS.iter().find(|pair| pair.0 == byte).map(|pair| pair.1)
}

fn byte_of(letter: u8) -> Option<u8> {
    LETTERS.iter().find(|pair| pair.1 == letter).map(|pair| pair.0)
}

fn octal(first: u8, low: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'7').then(|| byte - b'0');
    let first = digit(first).filter(|value| *value <= 3)?;
    Some(first << 6 | digit(low[0])? << 3 | digit(low[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Names without surprises stay as they are; others look as git's do.
    #[test]
    fn quotes_like_git() {
        assert_eq!(quote("a/", b"x y-z"), b"a/x y-z");
        assert_eq!(quote("a/", b"t\tq\"b\\"), br#""a/t\tq\"b\\""#);
        assert_eq!(quote("", "é\u{1}".as_bytes()), br#""\303\251\001""#);
    }

    proptest! {
        /// Every name comes back from its quotes.
        #[test]
        fn quoting_round_trips(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            let quoted = quote("", &name);
            match unquote(&quoted) {
                Some((read, rest)) => { prop_assert_eq!(read, name); prop_assert!(rest.is_empty()); }
                None => prop_assert_eq!(quoted, name),
            }
        }

        /// No bytes make the reader panic.
        #[test]
        fn unquoting_is_total(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = unquote(&text);
            let _ = unquote(&[b"\"\\", &text[..]].concat());
        }
    }
}
