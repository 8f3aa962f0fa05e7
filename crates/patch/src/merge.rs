//! Two changes of one text brought together, where they do not touch.

use std::ops::Range;

use crate::edits::{Edit, edits};
use crate::lines;

/// Both changes brought together, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Each change is in these bytes.
    Clean(Vec<u8>),
    /// In so many places the changes touch; nothing is brought together.
    Conflict(usize),
}

/// Brings together what `ours` and `theirs` have each made of `base`. Changes touch when no line of the base is
/// between them; the same change on both sides does not. Bytes that are no text, or too many, come together
/// only when one side has not changed or both are the same.
pub fn merge(base: &[u8], ours: &[u8], theirs: &[u8]) -> Merge {
    if ours == theirs || theirs == base {
        return Merge::Clean(ours.to_vec());
    }
    if ours == base {
        return Merge::Clean(theirs.to_vec());
    }
    if [base, ours, theirs].iter().any(|bytes| lines::is_binary(bytes) || lines::is_too_large(bytes)) {
        return Merge::Conflict(1);
    }
    let split = |bytes| lines::split(bytes).collect::<Vec<&[u8]>>();
    let (base, ours, theirs) = (split(base), split(ours), split(theirs));
    let mut ours = Track { lines: &ours, edits: edits(&base, &ours), next: 0, shift: (0, 0) };
    let mut theirs = Track { lines: &theirs, edits: edits(&base, &theirs), next: 0, shift: (0, 0) };
    let mut merged: Vec<&[u8]> = Vec::new();
    let mut conflicts = 0;
    let mut here = 0;
    while let Some(region) = next_region(&mut ours, &mut theirs) {
        merged.extend(base.get(here..region.start).unwrap_or_default());
        here = region.end;
        let original = base.get(region.clone()).unwrap_or_default();
        let (mine, other) = (ours.take(&region), theirs.take(&region));
        if mine == other || other == original {
            merged.extend(mine);
        } else if mine == original {
            merged.extend(other);
        } else {
            conflicts += 1;
        }
    }
    merged.extend(base.get(here..).unwrap_or_default());
    if conflicts > 0 { Merge::Conflict(conflicts) } else { Merge::Clean(merged.concat()) }
}

/// One side, and how far it is merged.
struct Track<'a> {
    lines: &'a [&'a [u8]],
    edits: Vec<Edit>,
    next: usize,
    /// A line of the base, and the line of this side that it is, behind all edits taken so far.
    shift: (usize, usize),
}

impl<'a> Track<'a> {
    fn peek(&self) -> Option<&Range<usize>> {
        self.edits.get(self.next).map(|edit| &edit.before)
    }

    /// Lines of this side for a region of the base whose edits have all been counted in.
    fn take(&mut self, region: &Range<usize>) -> &'a [&'a [u8]] {
        let start = self.shift.1 + (region.start - self.shift.0);
        // The last edit within the region says where this side is at its end.
        if let Some(last) = self.next.checked_sub(1).and_then(|last| self.edits.get(last))
            && last.before.end >= region.start
        {
            self.shift = (last.before.end, last.after.end);
        }
        let end = self.shift.1 + (region.end - self.shift.0);
        self.lines.get(start..end).unwrap_or_default()
    }
}

/// The next region of the base that edits of either side cover or touch, counted in on both tracks.
fn next_region<'a>(ours: &mut Track<'a>, theirs: &mut Track<'a>) -> Option<Range<usize>> {
    let start = match (ours.peek(), theirs.peek()) {
        (Some(one), Some(other)) => one.start.min(other.start),
        (Some(one), None) | (None, Some(one)) => one.start,
        (None, None) => return None,
    };
    let mut end = start;
    loop {
        let mut has_grown = false;
        for track in [&mut *ours, &mut *theirs] {
            while let Some(range) = track.peek()
                && range.start <= end
            {
                end = end.max(range.end);
                track.next += 1;
                has_grown = true;
            }
        }
        if !has_grown {
            return Some(start..end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(base: &str, ours: &str, theirs: &str) -> Result<String, usize> {
        match merge(base.as_bytes(), ours.as_bytes(), theirs.as_bytes()) {
            Merge::Clean(bytes) => Ok(String::from_utf8(bytes).unwrap()),
            Merge::Conflict(count) => Err(count),
        }
    }

    /// Changes apart come together; changes that touch are a conflict, and the same change is none.
    #[test]
    fn changes_come_together_where_they_do_not_touch() {
        let base = "a\nb\nc\nd\ne\n";
        assert_eq!(merged(base, "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n").unwrap(), "A\nb\nc\nd\nE\n");
        assert_eq!(merged(base, "A\nb\nc\nd\ne\n", "B\nb\nc\nd\ne\n"), Err(1));
        assert_eq!(merged(base, "A\nb\nc\nd\ne\n", "a\nB\nc\nd\ne\n"), Err(1));
        assert_eq!(merged(base, "A\nb\nc\nd\ne\n", "A\nb\nc\nd\nE\n").unwrap(), "A\nb\nc\nd\nE\n");
        assert_eq!(merged(base, "A\nb\nc\nd\nX\n", "B\nb\nc\nd\nY\n"), Err(2));
        assert_eq!(merged(base, "a\nc\nd\ne\n", "a\nb\nc\nd\ne\nf\n").unwrap(), "a\nc\nd\ne\nf\n");
        assert_eq!(merged("a\nb", "a\nb\n", "A\nb"), Err(1));
    }

    /// What is no text comes together only where there is nothing to decide.
    #[test]
    fn binaries_are_not_mixed() {
        assert_eq!(merged("a\0\nb\nc\n", "A\0\nb\nc\n", "a\0\nb\nC\n"), Err(1));
        assert_eq!(merged("a\0", "b\0", "a\0").unwrap(), "b\0");
        assert_eq!(merged("a\0", "a\0", "c\0").unwrap(), "c\0");
        assert_eq!(merged("a\0", "c\0", "c\0").unwrap(), "c\0");
    }
}
