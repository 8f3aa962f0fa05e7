//! Bracket expressions of git's patterns (`[a-z]`, `[![:digit:]_]`), read as git's `wildmatch.c` does. Pure.

/// Which bytes an expression matches.
pub(super) type ByteSet = Box<[bool; 256]>;

/// Reads a bracket expression behind its `[`, and gives what is behind its `]`.
pub(super) fn parse(text: &[u8], ignores_case: bool) -> Option<(ByteSet, &[u8])> {
    let mut set = Box::new([false; 256]);
    let (mut rest, is_negated) = match text.split_first() {
        Some((b'!' | b'^', rest)) => (rest, true),
        _ => (text, false),
    };
    let mut previous: Option<u8> = None;
    let mut is_first = true;
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        match (byte, rest) {
            (b']', _) if !is_first => break,
            (b'\\', [escaped, behind @ ..]) => {
                rest = behind;
                add(&mut set, *escaped..=*escaped);
                previous = Some(*escaped);
            }
            (b'\\', []) => return None,
            (b'-', [end, behind @ ..]) if previous.is_some() && *end != b']' => {
                let start = previous.take()?;
                let (end, behind) = match (end, behind) {
                    (b'\\', [escaped, behind @ ..]) => (escaped, behind),
                    (b'\\', []) => return None,
                    _ => (end, behind),
                };
                rest = behind;
                add(&mut set, start..=*end);
            }
            (b'[', [b':', behind @ ..]) => {
                let end = behind.iter().position(|byte| *byte == b']')?;
                let (name, after) = behind.split_at(end);
                match name.strip_suffix(b":") {
                    Some(name) => {
                        add_class(&mut set, name)?;
                        rest = after.get(1..).unwrap_or_default();
                        previous = None;
                    }
                    // No class after all, but a set with `[` and `:` in it.
                    None => {
                        add(&mut set, b'['..=b'[');
                        previous = Some(b'[');
                    }
                }
            }
            (byte, _) => {
                add(&mut set, *byte..=*byte);
                previous = Some(*byte);
            }
        }
        is_first = false;
    }
    if ignores_case {
        for byte in b'A'..=b'Z' {
            let is_in = set.get(usize::from(byte)).copied().unwrap_or(false);
            if let Some(lower) = set.get_mut(usize::from(byte.to_ascii_lowercase())) {
                *lower |= is_in;
            }
        }
    }
    if is_negated {
        set.iter_mut().for_each(|is_in| *is_in = !*is_in);
    }
    Some((set, rest))
}

fn add(set: &mut [bool; 256], bytes: std::ops::RangeInclusive<u8>) {
    for byte in bytes {
        if let Some(is_in) = set.get_mut(usize::from(byte)) {
            *is_in = true;
        }
    }
}

/// Adds a class by its name; `None` when there is no such class.
fn add_class(set: &mut [bool; 256], name: &[u8]) -> Option<()> {
    let is_in: fn(&u8) -> bool = match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        // C's has the vertical tab, Rust's has not.
        b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    };
    (0..=255).filter(is_in).for_each(|byte| add(set, byte..=byte));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Option<String> {
        let (set, rest) = parse(text.as_bytes(), false)?;
        assert!(rest.is_empty());
        Some((b' '..=b'~').filter(|byte| set[usize::from(*byte)]).map(char::from).collect())
    }

    /// An expression means what git makes of it, also where shells differ.
    #[test]
    fn expressions_are_read() {
        for (text, expected) in [
            ("a-c]", Some("abc")),
            ("]a]", Some("]a")),
            ("a-]", Some("-a")),
            ("-a]", Some("-a")),
            ("\\]x]", Some("]x")),
            ("a\\-c]", Some("-ac")),
            ("[:digit:]_]", Some("0123456789_")),
            ("c-a]", Some("c")),
            ("[:nope:]]", None),
            ("a", None),
            ("]", None),
            ("\\", None),
        ] {
            let mut expected: Option<Vec<char>> = expected.map(|text| text.chars().collect());
            expected.iter_mut().for_each(|members| members.sort_unstable());
            assert_eq!(members(text), expected.map(|members| members.into_iter().collect()), "{text}");
        }
    }
}
