//! Where output may be cut: between characters. Pure.

/// Bytes of `bytes` that are whole characters, at most `chars_max` of them. What may be the beginning of a character is
/// left for later, unless nothing comes any more. Bytes that are no character count as one each.
pub(super) fn whole_chars(bytes: &[u8], chars_max: usize, is_last: bool) -> usize {
    let (mut taken, mut left) = (0, chars_max);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if left == 0 {
                return taken;
            }
            taken += character.len_utf8();
            left -= 1;
        }
        let invalid = chunk.invalid();
        let is_at_end = taken + invalid.len() == bytes.len();
        if invalid.is_empty() || (is_at_end && !is_last && is_beginning(invalid)) {
            continue;
        }
        if left == 0 {
            return taken;
        }
        taken += invalid.len();
        left -= 1;
    }
    taken
}

/// Bytes of `bytes` in front of the last so many characters.
pub(super) fn before_last(bytes: &[u8], chars_max: usize) -> usize {
    let chars = |chunk: std::str::Utf8Chunk<'_>| {
        chunk.valid().chars().count() + usize::from(!chunk.invalid().is_empty())
    };
    let all: usize = bytes.utf8_chunks().map(chars).sum();
    whole_chars(bytes, all.saturating_sub(chars_max), true)
}

/// Whether these bytes become a character if the right ones follow.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A character is given whole or not yet; bytes that are none are given at once.
    #[test]
    fn characters_are_not_cut() {
        let text = "aä€😀".as_bytes();
        for end in 0..=text.len() {
            let taken = whole_chars(&text[..end], 100, false);
            assert!(std::str::from_utf8(&text[..taken]).is_ok() && end - taken < 4);
        }
        assert_eq!(whole_chars(text, 2, false), 3);
        assert_eq!(whole_chars(&text[..2], 100, true), 2);
        assert_eq!(whole_chars(b"\xff\xfe", 100, false), 2);
        assert_eq!(whole_chars(b"a\xc3\xff", 100, false), 3);
        assert_eq!(whole_chars(b"abc", 0, true), 0);
        for (chars, front) in [(0, 10), (1, 6), (2, 3), (3, 1), (4, 0), (9, 0)] {
            assert_eq!(before_last(text, chars), front);
        }
        assert_eq!(before_last(b"a\xff\xfeb", 2), 2);
    }

    proptest! {
        /// However output is cut on its way, reading it piece by piece gives all of it, and no broken character.
        #[test]
        fn pieces_make_the_whole(text in "\\PC{0,60}", step in 1usize..9, chars in 1usize..7) {
            let bytes = text.as_bytes();
            let (mut at, mut seen) = (0, String::new());
            for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
                loop {
                    let taken = whole_chars(&bytes[at..end], chars, end == bytes.len());
                    if taken == 0 {
                        break;
                    }
                    seen.push_str(std::str::from_utf8(&bytes[at..at + taken]).unwrap());
                    at += taken;
                }
            }
            prop_assert_eq!(seen, text);
        }
    }
}
