//! Hunks of a unified diff.

use super::{Cursor, ParseError};
use crate::section::{Hunk, Line, LineKind};

/// Whether a line is a hunk's first.
pub(super) fn is_header(line: &[u8]) -> bool {
    header(line).is_some()
}

/// Reads a hunk, with all the lines that its header promises.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<Hunk<'a>, ParseError> {
    let Some((old, new)) = header(cursor.peek()) else { return Err(cursor.error("no hunk")) };
    cursor.next_line();
    let mut hunk =
        Hunk { old_start: old.0, old_lines: old.1, new_start: new.0, new_lines: new.1, lines: Vec::new() };
    let (mut old_left, mut new_left) = (old.1, new.1);
    while old_left > 0 || new_left > 0 {
        if cursor.rest.is_empty() {
            return Err(cursor.error("the patch ends within a hunk"));
        }
        let line = line(cursor)?;
        let (in_old, in_new) = match line.kind {
            LineKind::Context => (1, 1),
            LineKind::Deleted => (1, 0),
            LineKind::Inserted => (0, 1),
        };
        if in_old > old_left || in_new > new_left {
            return Err(cursor.error("a hunk has more lines than its first says"));
        }
        (old_left, new_left) = (old_left - in_old, new_left - in_new);
        cursor.next_line();
        let line = without_end(cursor, line);
        hunk.lines.push(line);
    }
    if !hunk.lines.iter().any(|line| line.kind != LineKind::Context) {
        return Err(cursor.error("a hunk that changes nothing"));
    }
    Ok(hunk)
}

fn line<'a>(cursor: &Cursor<'a>) -> Result<Line<'a>, ParseError> {
    let whole = cursor.rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    if !whole.ends_with(b"\n") {
        return Err(cursor.error("the patch ends within a line"));
    }
    let (kind, text) = match whole.split_first() {
        // Programs that strip trailing spaces leave this of an empty line of context.
        Some((b'\n', _)) => (LineKind::Context, whole),
        Some((b' ', text)) => (LineKind::Context, text),
        Some((b'-', text)) => (LineKind::Deleted, text),
        Some((b'+', text)) => (LineKind::Inserted, text),
        _ => return Err(cursor.error("a line of a hunk begins with none of ` `, `-`, `+`")),
    };
    Ok(Line { kind, text })
}

/// Takes `\ No newline at end of file` behind a line, in whatever language it is.
fn without_end<'a>(cursor: &mut Cursor<'a>, line: Line<'a>) -> Line<'a> {
    if !cursor.rest.starts_with(b"\\ ") {
        return line;
    }
    cursor.next_line();
    Line { text: line.text.strip_suffix(b"\n").unwrap_or(line.text), ..line }
}

type Span = (usize, usize);

/// `@@ -start,lines +start,lines @@`; a single line's count is left out.
fn header(line: &[u8]) -> Option<(Span, Span)> {
    let rest = line.strip_prefix(b"@@ -")?;
    let (old, rest) = span(rest)?;
    let (new, rest) = span(rest.strip_prefix(b" +")?)?;
    rest.starts_with(b" @@").then_some((old, new))
}

fn span(text: &[u8]) -> Option<(Span, &[u8])> {
    let (start, rest) = number(text)?;
    match rest.strip_prefix(b",") {
        Some(rest) => number(rest).map(|(lines, rest)| ((start, lines), rest)),
        None => Some(((start, 1), rest)),
    }
}

fn number(text: &[u8]) -> Option<(usize, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    // Far beyond any file, and far from overflow.
    if digits.is_empty() || digits.len() > 12 {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().map(|number| (number, rest))
}
