//! What turns one list of lines into another, in bounded time whatever the lines are.
//!
//! The histogram algorithm finds what a person would call the change, but takes time with the product of both
//! sides. So texts that are too large for it are first cut at lines that each side has once; what lies between
//! two cuts and is still too large is replaced as a whole, which is exact too.

use std::collections::HashMap;
use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput};

use crate::limits::DIFF_PAIRS_MAX;

/// Lines that are replaced by others; never both empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Which, before.
    pub(crate) before: Range<usize>,
    /// By which, after.
    pub(crate) after: Range<usize>,
}

/// The edits between two texts, in order, with equal lines between them.
pub(crate) fn edits(before: &[&[u8]], after: &[&[u8]]) -> Vec<Edit> {
    let whole = trimmed(before, after, Edit { before: 0..before.len(), after: 0..after.len() });
    let mut edits = Edits { before, after, pairs_left: DIFF_PAIRS_MAX, found: Vec::new() };
    if whole.pairs() <= DIFF_PAIRS_MAX {
        edits.find_within(&whole);
    } else {
        for gap in gaps(before, after, &whole) {
            edits.find_within(&trimmed(before, after, gap));
        }
    }
    if is_exact(before, after, &edits.found) {
        edits.found
    } else if before == after {
        Vec::new()
    } else {
        vec![Edit { before: 0..before.len(), after: 0..after.len() }]
    }
}

impl Edit {
    fn pairs(&self) -> usize {
        self.before.len().saturating_mul(self.after.len())
    }
}

struct Edits<'a> {
    before: &'a [&'a [u8]],
    after: &'a [&'a [u8]],
    pairs_left: usize,
    found: Vec<Edit>,
}

impl Edits<'_> {
    fn find_within(&mut self, gap: &Edit) {
        if gap.before.is_empty() && gap.after.is_empty() {
            return;
        }
        let pairs = gap.pairs();
        if pairs <= 1 || pairs > self.pairs_left {
            self.add(gap.clone());
            return;
        }
        self.pairs_left -= pairs;
        let mut input = InternedInput::default();
        input.update_before(self.before.get(gap.before.clone()).unwrap_or_default().iter().copied());
        input.update_after(self.after.get(gap.after.clone()).unwrap_or_default().iter().copied());
        let mut diff = Diff::compute(Algorithm::Histogram, &input);
        diff.postprocess_lines(&input);
        for hunk in diff.hunks() {
            self.add(Edit {
                before: gap.before.start + hunk.before.start as usize
                    ..gap.before.start + hunk.before.end as usize,
                after: gap.after.start + hunk.after.start as usize..gap.after.start + hunk.after.end as usize,
            });
        }
    }

    /// Adds an edit, to the last where there is no line between them.
    fn add(&mut self, edit: Edit) {
        match self.found.last_mut() {
            Some(last) if last.before.end == edit.before.start && last.after.end == edit.after.start => {
                last.before.end = edit.before.end;
                last.after.end = edit.after.end;
            }
            _ => self.found.push(edit),
        }
    }
}

/// The range without what both sides share at its ends.
fn trimmed(before: &[&[u8]], after: &[&[u8]], range: Edit) -> Edit {
    let one = before.get(range.before.clone()).unwrap_or_default();
    let other = after.get(range.after.clone()).unwrap_or_default();
    let start = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let one = one.get(start..).unwrap_or_default();
    let other = other.get(start..).unwrap_or_default();
    let end = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    Edit {
        before: range.before.start + start..range.before.end - end,
        after: range.after.start + start..range.after.end - end,
    }
}

/// The parts of a range between lines that each side has once and in the same order.
fn gaps(before: &[&[u8]], after: &[&[u8]], range: &Edit) -> Vec<Edit> {
    let mut gaps = Vec::new();
    let mut here = (range.before.start, range.after.start);
    for (line, other) in longest_rise(&unique_in_both(before, after, range)) {
        gaps.push(Edit { before: here.0..line, after: here.1..other });
        here = (line + 1, other + 1);
    }
    gaps.push(Edit { before: here.0..range.before.end, after: here.1..range.after.end });
    gaps
}

/// Lines that each side has once, with their places, by their places before.
fn unique_in_both(before: &[&[u8]], after: &[&[u8]], range: &Edit) -> Vec<(usize, usize)> {
    // How often before and after, and where last.
    let mut seen: HashMap<&[u8], (usize, usize, usize, usize)> = HashMap::new();
    for (place, line) in before.iter().enumerate().take(range.before.end).skip(range.before.start) {
        let entry = seen.entry(line).or_default();
        (entry.0, entry.1) = (entry.0 + 1, place);
    }
    for (place, line) in after.iter().enumerate().take(range.after.end).skip(range.after.start) {
        let entry = seen.entry(line).or_default();
        (entry.2, entry.3) = (entry.2 + 1, place);
    }
    let mut pairs: Vec<(usize, usize)> = seen
        .into_values()
        .filter(|(often, _, often_after, _)| *often == 1 && *often_after == 1)
        .map(|(_, place, _, place_after)| (place, place_after))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// The longest choice of these pairs in which the second numbers rise too (patience sorting).
fn longest_rise(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // Of each length the pair that ends it lowest, by index, and for each pair the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut previous: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    let second = |index: usize| pairs.get(index).map_or(0, |pair| pair.1);
    for (index, pair) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| second(*end) < pair.1);
        previous.push(length.checked_sub(1).and_then(|shorter| ends.get(shorter).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut rise = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(index) = next {
        rise.extend(pairs.get(index));
        next = previous.get(index).copied().flatten();
    }
    rise.reverse();
    rise
}

/// Whether everything outside the edits is the same on both sides: what a patch's exactness rests on, so it is
/// not left to a library's word.
fn is_exact(before: &[&[u8]], after: &[&[u8]], edits: &[Edit]) -> bool {
    let mut here = (0, 0);
    for edit in edits {
        let same = before.get(here.0..edit.before.start);
        if same.is_none() || same != after.get(here.1..edit.after.start) {
            return false;
        }
        here = (edit.before.end, edit.after.end);
    }
    let same = before.get(here.0..);
    same.is_some() && same == after.get(here.1..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn edits_of(before: &[String], after: &[String]) -> (Vec<Edit>, Duration) {
        let before: Vec<&[u8]> = before.iter().map(String::as_bytes).collect();
        let after: Vec<&[u8]> = after.iter().map(String::as_bytes).collect();
        let start = Instant::now();
        let edits = edits(&before, &after);
        (edits, start.elapsed())
    }

    fn numbers(count: u64, line: impl Fn(u64) -> u64) -> Vec<String> {
        (0..count).map(|n| line(n).to_string()).collect()
    }

    fn random(seed: u64, of: u64) -> impl Fn(u64) -> u64 {
        move |n| (n.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % of
    }

    /// No text makes a diff take long: none of the shapes that are known to be hard, below and above the size
    /// where texts are cut.
    #[test]
    fn hard_shapes_are_bounded() {
        for lines in [5_000u64, 60_000] {
            let odd_differ =
                |more: u64| numbers(lines, move |n| if n % 2 == 0 { n } else { more * lines + n });
            let pairs = [
                (odd_differ(1), odd_differ(3)),
                (numbers(lines, |n| n), numbers(lines, |n| lines - n)),
                (numbers(lines, random(1, 2)), numbers(lines, random(2, 2))),
                (numbers(lines, random(1, 70)), numbers(lines, random(2, 70))),
                (numbers(lines, random(1, 2000)), numbers(lines, random(2, 2000))),
                (numbers(lines, random(1, lines)), numbers(lines, random(2, lines))),
                (numbers(lines, |n| n % 64), numbers(lines, |n| (n * 7) % 65)),
                (numbers(lines, |n| n % 2), numbers(lines, |n| n % 3 % 2)),
            ];
            for (index, (before, after)) in pairs.iter().enumerate() {
                let (edits, took) = edits_of(before, after);
                assert!(!edits.is_empty());
                assert!(took < Duration::from_secs(10), "shape {index} of {lines} lines: {took:?}");
            }
        }
    }

    /// In a large text, small changes far apart stay small.
    #[test]
    fn large_texts_have_small_edits() {
        let before = numbers(100_000, |n| n);
        let mut after = before.clone();
        for line in [99_999, 70_000, 50_000, 10] {
            after[line] = "changed".into();
        }
        after.insert(60_000, "inserted".into());
        after.remove(20);
        let (edits, _) = edits_of(&before, &after);
        assert_eq!(edits.len(), 6);
        assert!(edits.iter().all(|edit| edit.before.len() <= 1 && edit.after.len() <= 1), "{edits:?}");
    }
}
