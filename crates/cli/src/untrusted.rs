//! Text from a guest or an archive on its way to a terminal.

/// Text in which nothing can move a cursor or change a color: controls are shown as `\x1b` and the like.
/// Line feeds stay, so that several lines remain several lines.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '\n' | '\t' => out.push(character),
            '\r' => {}
            c if is_invisible(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Controls, and the marks that turn the direction of text.
fn is_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    /// Nothing a guest writes reaches a terminal as an escape sequence.
    #[test]
    fn escapes_are_shown_not_obeyed() {
        assert_eq!(printable(b"a\x1b[31mb\r\n\x07"), "a\\u{1b}[31mb\n\\u{7}");
        assert_eq!(printable("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
    }
}
