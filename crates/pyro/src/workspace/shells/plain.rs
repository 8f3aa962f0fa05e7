//! What a person would see of a terminal's output, as text: escape sequences obeyed and gone, lines as they stand in the
//! end, what has scrolled away above. Memory follows the output's own length. Total: no bytes are an error.

use unicode_width::UnicodeWidthChar;
use vte::{Params, Parser, Perform};

use self::page::Page;

mod page;

/// The text that `bytes` leave on a terminal of this size, with all that has scrolled out of it.
pub(crate) fn plain(bytes: &[u8], columns: u16, rows: u16) -> String {
    let mut performer = Performer::new(columns, rows);
    Parser::new().advance(&mut performer, bytes);
    performer.page.to_text()
}

/// Obeys what moves a cursor or changes text; colors, titles and modes change nothing that can be read.
struct Performer {
    page: Page,
    /// What is behind the alternate screen.
    behind: Option<Page>,
    size: (usize, usize),
}

impl Performer {
    fn new(columns: u16, rows: u16) -> Performer {
        let size = (usize::from(columns.max(1)), usize::from(rows.max(1)));
        Performer { page: Page::new(size.0, size.1), behind: None, size }
    }

    /// Private modes: only the alternate screen changes what is seen.
    fn set_mode(&mut self, mode: usize, is_on: bool) {
        if !matches!(mode, 47 | 1047 | 1049) {
            return;
        }
        match (is_on, self.behind.take()) {
            (true, None) => {
                let fresh = Page::new(self.size.0, self.size.1);
                self.behind = Some(std::mem::replace(&mut self.page, fresh));
            }
            (false, Some(page)) => self.page = page,
            (_, behind) => self.behind = behind,
        }
    }
}

impl Perform for Performer {
    fn print(&mut self, character: char) {
        self.page.print(character, character.width().unwrap_or(0));
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            0x08 => self.page.left(1),
            b'\t' => self.page.tab(),
            b'\n' | 0x0b | 0x0c => self.page.line_feed(),
            b'\r' => self.page.carriage_return(),
            _ => {} // bells, shifts and the like show nothing
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _ignore: bool, action: char) {
        let numbers: Vec<usize> =
            params.iter().map(|param| usize::from(param.first().copied().unwrap_or(0))).collect();
        if intermediates == b"?" {
            if let 'h' | 'l' = action {
                numbers.iter().for_each(|mode| self.set_mode(*mode, action == 'h'));
            }
            return;
        }
        if !intermediates.is_empty() {
            return;
        }
        let first = numbers.first().copied().unwrap_or(0);
        let count = first.max(1);
        let second = numbers.get(1).copied().unwrap_or(0).max(1);
        match action {
            'A' => self.page.up(count),
            'B' | 'e' => self.page.down(count),
            'C' | 'a' => self.page.right(count),
            'D' => self.page.left(count),
            'E' => {
                self.page.down(count);
                self.page.carriage_return();
            }
            'F' => {
                self.page.up(count);
                self.page.carriage_return();
            }
            'G' | '`' => self.page.move_to_column(count - 1),
            'd' => self.page.move_to_row(count - 1),
            'H' | 'f' => {
                self.page.move_to_row(count - 1);
                self.page.move_to_column(second - 1);
            }
            'J' => self.page.erase_display(first),
            'K' => self.page.erase_line(first),
            'P' => self.page.delete(count),
            'X' => self.page.erase(count),
            '@' => self.page.insert(count),
            'L' => self.page.insert_lines(count),
            'M' => self.page.delete_lines(count),
            's' => self.page.save(),
            'u' => self.page.restore(),
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _ignore: bool, byte: u8) {
        match (intermediates, byte) {
            ([], b'7') => self.page.save(),
            ([], b'8') => self.page.restore(),
            ([], b'D') => self.page.line_feed(),
            ([], b'M') => self.page.up(1),
            ([], b'E') => {
                self.page.line_feed();
                self.page.carriage_return();
            }
            ([], b'c') => *self = Performer::new(to_u16(self.size.0), to_u16(self.size.1)),
            _ => {}
        }
    }
}

fn to_u16(size: usize) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(text: &str) -> String {
        plain(text.as_bytes(), 20, 5)
    }

    /// Colors, titles and bells are gone; carriage returns and backspaces have had their way.
    #[test]
    fn what_is_left_is_what_is_seen() {
        assert_eq!(seen("\x1b]0;title\x07\x1b[1;32mroot\x1b[0m:/# ls\r\n"), "root:/# ls\n");
        assert_eq!(seen("10%\r50%\r100%\r\ndone"), "100%\ndone");
        assert_eq!(seen("abc\x08\x08X"), "aXc");
        assert_eq!(seen("wrong\x1b[2K\rright"), "right");
        assert_eq!(seen("a\tb"), "a       b");
        assert_eq!(seen("one\r\ntwo\x1b[A\x1b[3GE"), "onE\ntwo");
        assert_eq!(seen("ab\x1b[1P"), "ab");
        assert_eq!(seen("abcd\x1b[3D\x1b[2P"), "ad");
        assert_eq!(seen("\x1bPq#0\x1b\\x\x1b(By"), "xy");
        assert_eq!(seen("$ "), "$ ");
    }

    /// What scrolls away stays; a line that wraps stays one line; a cleared screen is cleared.
    #[test]
    fn lines_scroll_and_wrap() {
        let many: String = (0..50).map(|n| format!("{n}\r\n")).collect();
        assert_eq!(seen(&many), many.replace('\r', ""));
        assert_eq!(seen(&"x".repeat(50)), "x".repeat(50));
        assert_eq!(seen("old\r\nold\x1b[H\x1b[2Jnew"), "new");
        // What has scrolled out of the screen is not reached by a cursor any more.
        assert_eq!(seen("1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\x1b[99AX"), "1\n2\n3X\n4\n5\n6\n7");
    }

    /// What is erased behind a full line leaves the line whole, and what is written where a line went on is a line of its own.
    #[test]
    fn erased_lines_go_on_nowhere() {
        let (full, long) = ("x".repeat(20), "x".repeat(25));
        assert_eq!(seen(&format!("{full}\x1b[K\r\nnext")), format!("{full}\nnext"));
        assert_eq!(seen(&format!("{full}\x1b[J\r\nnext")), format!("{full}\nnext"));
        assert_eq!(seen(&format!("{full}\x1b[Kon")), format!("{full}on"));
        for erased in ["\x1b[K", "\x1b[2K", "\x1b[J"] {
            assert_eq!(seen(&format!("{long}\r{erased}next")), format!("{full}\nnext"), "{erased:?}");
        }
        assert_eq!(seen(&format!("{long}\x1b[A\r\x1b[Kup")), "up\nxxxxx");
        assert_eq!(seen(&format!("{long}\x1b[H\x1b[2Ja\r\nb")), "a\nb");
        assert_eq!(seen(&format!("{long}\x1b[1Jb")), format!("\n{}b", " ".repeat(5)));
        // Only the end of it goes.
        assert_eq!(seen(&format!("{long}\x08\x08\x1b[Ky")), format!("{full}xxxy"));
    }

    /// Wide characters take two places, combining ones none; a full-screen program leaves nothing behind.
    #[test]
    fn characters_keep_their_places() {
        assert_eq!(seen("日本\x08\x08x"), "日x");
        assert_eq!(seen("e\u{301}\x08o"), "o");
        assert_eq!(seen("ae\u{301}"), "ae\u{301}");
        assert_eq!(seen("before\r\n\x1b[?1049h\x1b[Hvim\x1b[?1049lafter"), "before\nafter");
        assert_eq!(seen("before\r\n\x1b[?1049h\x1b[Hvim"), "vim");
        assert_eq!(plain(b"\xff\xfea", 20, 5), "\u{fffd}\u{fffd}a");
    }

    proptest! {
        /// No bytes make it panic, and none make much of little.
        #[test]
        fn rendering_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..2000), columns in 0u16..300, rows in 0u16..100) {
            let _ = plain(&bytes, columns, rows);
        }

        /// The same of sequences that make sense.
        #[test]
        fn sequences_are_total(parts in proptest::collection::vec("(\x1b\\[[0-9]{0,5};?[0-9]{0,5}[A-Za-z@`]|[a-z日]{0,9}|\r|\n|\x08|\t|\x1b[78DMEc])", 0..200), columns in 1u16..30, rows in 1u16..10) {
            let text = parts.concat();
            let seen = plain(text.as_bytes(), columns, rows);
            prop_assert!(!seen.contains('\x1b'));
        }
    }
}
