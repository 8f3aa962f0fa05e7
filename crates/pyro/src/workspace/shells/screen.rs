//! The screen of a full-screen program, by a terminal emulator that is fed with all that is kept of a shell's output.

use std::num::NonZeroU16;

use pyro_proto::agent::TerminalSize;
use vt100::{MouseProtocolMode, Parser};

/// What a terminal shows now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Its lines, without what is empty at their ends.
    pub text: String,
    /// Line of the cursor, from 0.
    pub cursor_row: u16,
    /// Column of the cursor, from 0.
    pub cursor_column: u16,
    /// Whether a program has the screen for itself, as editors do.
    pub is_alternate: bool,
}

/// The screen that `bytes` leave on a terminal of this size.
pub(super) fn screen(bytes: &[u8], size: TerminalSize) -> Screen {
    let parser = fed(bytes, size);
    let screen = parser.screen();
    let (cursor_row, cursor_column) = screen.cursor_position();
    let text = rows(screen, size.columns);
    Screen { text, cursor_row, cursor_column, is_alternate: screen.alternate_screen() }
}

/// Its lines as they stand, also where a text goes on from one to the next: the cursor's line is counted among them.
fn rows(screen: &vt100::Screen, columns: u16) -> String {
    let rows: Vec<String> = screen.rows(0, columns.max(1)).collect();
    rows.join("\n").trim_end_matches('\n').to_owned()
}

/// The bytes that make another terminal of this size show the same, and take the same keys.
pub(super) fn redraw(bytes: &[u8], size: TerminalSize) -> Vec<u8> {
    let parser = fed(bytes, size);
    let screen = parser.screen();
    let mut drawn = if screen.alternate_screen() { b"\x1b[?1049h".to_vec() } else { Vec::new() };
    drawn.extend(screen.state_formatted().into_bytes());
    drawn
}

fn fed(bytes: &[u8], size: TerminalSize) -> Parser {
    let side = |side: u16| NonZeroU16::new(side).unwrap_or(NonZeroU16::MIN);
    let mut parser = Parser::new(side(size.rows), side(size.columns), 0);
    parser.process(bytes);
    parser
}

/// Taken back whether it was set or not: colors, the shape of the cursor, the region that scrolls, reports of focus. Where
/// it was not set nothing changes.
const ALWAYS_RESET: &[u8] = b"\x1b[?1004l\x1b7\x1b[r\x1b8\x1b[0 q\x1b[m";

/// The modes that programs have set on a terminal that shows their output, to be taken back when it shows something
/// else.
pub struct TerminalModes(Parser);

impl TerminalModes {
    /// Of a terminal that shows nothing special yet.
    pub fn new() -> TerminalModes {
        // Modes do not depend on the size.
        TerminalModes(fed(b"", TerminalSize { rows: 24, columns: 80 }))
    }

    /// Takes what the terminal is sent.
    pub fn watch(&mut self, bytes: &[u8]) {
        self.0.process(bytes);
    }

    /// The bytes that take all modes back.
    pub fn resets(&self) -> Vec<u8> {
        let screen = self.0.screen();
        let mut resets = Vec::new();
        let mut reset = |is_set: bool, sequence: &[u8]| {
            if is_set {
                resets.extend_from_slice(sequence);
            }
        };
        let has_mouse = screen.mouse_protocol_mode() != MouseProtocolMode::None;
        reset(has_mouse, b"\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l");
        reset(screen.bracketed_paste(), b"\x1b[?2004l");
        reset(screen.application_keypad(), b"\x1b>");
        reset(screen.application_cursor(), b"\x1b[?1l");
        reset(screen.alternate_screen(), b"\x1b[?1049l");
        reset(screen.hide_cursor(), b"\x1b[?25h");
        resets.extend_from_slice(ALWAYS_RESET);
        resets
    }
}

impl Default for TerminalModes {
    fn default() -> Self {
        TerminalModes::new()
    }
}

impl std::fmt::Debug for TerminalModes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TerminalModes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: TerminalSize = TerminalSize { rows: 5, columns: 20 };

    /// A program that has the screen for itself is seen as it stands, and can be drawn anew.
    #[test]
    fn a_screen_is_what_stands() {
        let output = b"before\r\n\x1b[?1049h\x1b[2J\x1b[2;3Hhello\x1b[4;1H~";
        let seen = screen(output, SIZE);
        assert_eq!(seen.text, "\n  hello\n\n~");
        assert_eq!((seen.cursor_row, seen.cursor_column, seen.is_alternate), (3, 1, true));
        assert_eq!(screen(&redraw(output, SIZE), SIZE), seen);
    }

    /// A text that goes on in the next line is two lines of a screen.
    #[test]
    fn rows_are_lines() {
        let seen = screen("x".repeat(25).as_bytes(), SIZE);
        assert_eq!(seen.text, format!("{}\nxxxxx", "x".repeat(20)));
        assert_eq!((seen.cursor_row, seen.cursor_column), (1, 5));
    }

    /// Whatever modes a program leaves, they are taken back, and none that it has not set.
    #[test]
    fn modes_are_taken_back() {
        let mut modes = TerminalModes::new();
        assert_eq!(modes.resets(), ALWAYS_RESET);
        modes.watch(b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[?1000h\x1b[?1006h\x1b[?1h\x1b=");
        let resets = String::from_utf8(modes.resets()).unwrap();
        for reset in ["\x1b[?1049l", "\x1b[?25h", "\x1b[?2004l", "\x1b[?1000l", "\x1b[?1l", "\x1b>"] {
            assert!(resets.contains(reset), "{reset:?}");
        }
        modes.watch(resets.as_bytes());
        assert_eq!(modes.resets(), ALWAYS_RESET);
    }

    proptest! {
        /// No output makes the emulator panic, whatever the size.
        #[test]
        fn emulation_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..3000), rows in 1u16..60, columns in 1u16..200) {
            let size = TerminalSize { rows, columns };
            let _ = (screen(&bytes, size), redraw(&bytes, size));
        }

        /// The same of sequences that make sense.
        #[test]
        fn sequences_are_total(parts in proptest::collection::vec("(\x1b\\[\\??[0-9]{0,5};?[0-9]{0,5}[A-Za-z@`]|[a-z日\u{301}]{0,9}|\r|\n|\x08|\t|\x1b[78DMEc])", 0..200), columns in 1u16..30, rows in 1u16..10) {
            let bytes = parts.concat().into_bytes();
            let size = TerminalSize { rows, columns };
            let _ = (screen(&bytes, size), redraw(&bytes, size));
        }
    }
}
