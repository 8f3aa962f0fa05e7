//! Edits as the hunks of a unified diff.

use std::ops::Range;

use crate::edits::Edit;

/// Appends the hunks for these edits, with so many lines of context.
pub(crate) fn write(before: &[&[u8]], after: &[&[u8]], edits: &[Edit], context: usize, text: &mut Vec<u8>) {
    let mut rest = edits;
    while let Some(first) = rest.first() {
        let together = 1 + rest
            .iter()
            .zip(rest.iter().skip(1))
            .take_while(|(one, next)| next.before.start - one.before.end <= 2 * context)
            .count();
        let (hunk, behind) = rest.split_at(together);
        let last = hunk.last().unwrap_or(first);
        write_hunk(before, after, hunk, &with_context(first, last, context, before.len()), text);
        rest = behind;
    }
}

/// The lines of a hunk on both sides.
fn with_context(first: &Edit, last: &Edit, context: usize, before_lines: usize) -> Edit {
    let above = context.min(first.before.start);
    let below = context.min(before_lines - last.before.end);
    Edit {
        before: first.before.start - above..last.before.end + below,
        after: first.after.start - above..last.after.end + below,
    }
}

fn write_hunk(before: &[&[u8]], after: &[&[u8]], edits: &[Edit], bounds: &Edit, text: &mut Vec<u8>) {
    let header = format!("@@ -{} +{} @@\n", span(&bounds.before), span(&bounds.after));
    text.extend_from_slice(header.as_bytes());
    let mut here = bounds.before.start;
    for edit in edits {
        write_lines(b' ', before, here..edit.before.start, text);
        write_lines(b'-', before, edit.before.clone(), text);
        write_lines(b'+', after, edit.after.clone(), text);
        here = edit.before.end;
    }
    write_lines(b' ', before, here..bounds.before.end, text);
}

/// First line, counted from one, and number of lines; of no lines, the line before them.
fn span(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        count => format!("{},{count}", lines.start + 1),
    }
}

fn write_lines(mark: u8, lines: &[&[u8]], range: Range<usize>, text: &mut Vec<u8>) {
    for line in lines.get(range).unwrap_or_default() {
        text.push(mark);
        text.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            text.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}
