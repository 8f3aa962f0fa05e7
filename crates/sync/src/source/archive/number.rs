//! Numbers of tar headers and PAX attributes. Pure.

use pyro_proto::tree::Mtime;

/// Reads a header's number: octal digits between spaces and NULs, nothing for zero, or two's complement in
/// base 256 where the first bit is set (tar(5)).
pub(super) fn parse(field: &[u8]) -> Option<i64> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            // The bit beside the marker is the sign.
            let first = i64::from(first & 0x7f) - if first & 0x40 != 0 { 0x80 } else { 0 };
            rest.iter().try_fold(first, |number, byte| number.checked_mul(256)?.checked_add(i64::from(*byte)))
        }
        _ => {
            let field = field.split(|byte| *byte == 0).find(|part| !part.is_empty()).unwrap_or_default();
            field.trim_ascii().iter().try_fold(0_i64, |number, byte| match byte {
                b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
                _ => None,
            })
        }
    }
}

/// Reads a decimal number without sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// Reads a PAX time: seconds, with a fraction where it is exact to more (pax(1)).
pub(super) fn time(text: &[u8]) -> Option<Mtime> {
    let (text, is_negative) = match text.strip_prefix(b"-") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    Some(match (is_negative, nanoseconds) {
        (false, nanoseconds) => Mtime { seconds, nanoseconds },
        (true, 0) => Mtime { seconds: -seconds, nanoseconds },
        (true, nanoseconds) => Mtime { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are read as all tars write them, and never guessed.
    #[test]
    fn header_numbers() {
        for (field, number) in [
            (b"0000644\0".as_slice(), Some(0o644)),
            (b" 644 \0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"8", None),
            (b"-1", None),
            (b"6 4", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(parse(field), number, "{field:?}");
        }
    }

    /// Times before 1970 and parts of seconds stay what they are.
    #[test]
    fn pax_times() {
        let time = |text: &str| time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(time("-0.25"), Some((-1, 750_000_000)));
        assert_eq!(time("-3"), Some((-3, 0)));
        assert!([".5", "", "-", "1e3", "1.x", "99999999999999999999"].iter().all(|bad| time(bad).is_none()));
    }
}
