//! One section applied to one file's bytes, exactly or not at all.

use crate::binary::inflate;
use crate::blob::BlobId;
use crate::delta;
use crate::limits::{LINES_MOVED_PER_COMPARISON, SEARCH_COMPARISONS_MAX};
use crate::lines;
use crate::section::{BinaryData, Body, Encoding, Hunk, LineKind, Operation, Section};
use crate::side::FileMode;

/// What a section makes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is to be gone.
    Gone,
    /// It is to have these bytes.
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
        /// Its mode, where the patch sets it.
        mode: Option<FileMode>,
        /// The furthest that a hunk was found from where it said, in lines.
        offset_lines: usize,
    },
}

/// A section that does not fit a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// There is no file.
    #[error("there is no such file")]
    Missing,
    /// A file that should come is there.
    #[error("the file is already there")]
    Exists,
    /// The lines a hunk speaks of are not there.
    #[error("the lines of hunk {hunk} are not in the file")]
    HunkMisfit {
        /// Which, counted from one.
        hunk: usize,
    },
    /// The search for a hunk's place took too long.
    #[error("the place of hunk {hunk} takes too long to find")]
    SearchTooLong {
        /// Which, counted from one.
        hunk: usize,
    },
    /// More bytes would come out than allowed.
    #[error("the file would be larger than {bytes_max} bytes")]
    TooLarge {
        /// How many are allowed.
        bytes_max: usize,
    },
    /// Something stays of a file that should be gone.
    #[error("the file has more in it than the patch deletes")]
    Remainder,
    /// A binary part has no full ids on its index line, by which alone it can be trusted.
    #[error("a binary part has no full index line")]
    NoIndex,
    /// The bytes are not those the binary part is for.
    #[error("the file's bytes are not those that the binary part was made for")]
    WrongBytes,
    /// A binary part makes something else than it says.
    #[error("a binary part is damaged")]
    Damaged,
}

/// Applies a section to the bytes at its source: `None` where there is no file. At most `bytes_max` bytes come
/// out, whatever the patch says.
pub fn apply_file(
    section: &Section<'_>,
    before: Option<&[u8]>,
    bytes_max: usize,
) -> Result<Applied, ApplyError> {
    let before = match (&section.operation, before) {
        (Operation::Create { .. }, None) => &[],
        (Operation::Create { .. }, Some(_)) => return Err(ApplyError::Exists),
        (_, None) => return Err(ApplyError::Missing),
        (_, Some(before)) => before,
    };
    let (bytes, offset_lines) = match &section.body {
        Body::None => (before.to_vec(), 0),
        Body::Text(hunks) => apply_hunks(hunks, before, bytes_max)?,
        Body::Binary { forward, .. } => (apply_binary(section, forward, before, bytes_max)?, 0),
    };
    if bytes.len() > bytes_max {
        return Err(ApplyError::TooLarge { bytes_max });
    }
    if !matches!(section.operation, Operation::Delete { .. }) {
        return Ok(Applied::Bytes { bytes, mode: section.new_mode, offset_lines });
    }
    // Without a body, the header speaks of an empty file.
    if bytes.is_empty() { Ok(Applied::Gone) } else { Err(ApplyError::Remainder) }
}

fn apply_binary(
    section: &Section<'_>,
    forward: &BinaryData,
    before: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, ApplyError> {
    let (Some(old), Some(new)) = (section.old_id, section.new_id) else { return Err(ApplyError::NoIndex) };
    if old.len() != 40 || new.len() != 40 {
        return Err(ApplyError::NoIndex);
    }
    let is_create = matches!(section.operation, Operation::Create { .. });
    let is_delete = matches!(section.operation, Operation::Delete { .. });
    let is_named = |id: &str, bytes: &[u8], is_nothing: bool| {
        let name = if is_nothing { BlobId::ZERO } else { BlobId::of(bytes) };
        name.to_hex().eq_ignore_ascii_case(id)
    };
    if !is_named(old, before, is_create) {
        return Err(ApplyError::WrongBytes);
    }
    if forward.inflated_bytes > bytes_max {
        return Err(ApplyError::TooLarge { bytes_max });
    }
    let data = inflate(&forward.deflated, forward.inflated_bytes).ok_or(ApplyError::Damaged)?;
    let after = match forward.encoding {
        Encoding::Literal => data,
        Encoding::Delta => delta::apply(&data, before, bytes_max).ok_or(ApplyError::Damaged)?,
    };
    if is_named(new, &after, is_delete) { Ok(after) } else { Err(ApplyError::Damaged) }
}

/// Text under change: its lines, and which of them a hunk has already made.
struct Image<'a> {
    lines: Vec<(&'a [u8], bool)>,
}

fn apply_hunks<'a>(
    hunks: &'a [Hunk<'a>],
    before: &'a [u8],
    bytes_max: usize,
) -> Result<(Vec<u8>, usize), ApplyError> {
    let mut image = Image { lines: lines::split(before).map(|line| (line, false)).collect() };
    let mut furthest = 0;
    let mut comparisons_left = SEARCH_COMPARISONS_MAX;
    for (index, hunk) in hunks.iter().enumerate() {
        let side = |without: LineKind| {
            let lines = hunk.lines.iter().filter(move |line| line.kind != without);
            lines.map(|line| line.text).collect::<Vec<&[u8]>>()
        };
        let (old, new) = (side(LineKind::Inserted), side(LineKind::Deleted));
        let expected = hunk.new_start.saturating_sub(1);
        let place = image.find(hunk, &old, expected, &mut comparisons_left);
        let place = match place {
            Ok(Some(place)) => place,
            Ok(None) => return Err(ApplyError::HunkMisfit { hunk: index + 1 }),
            Err(Exhausted) => return Err(ApplyError::SearchTooLong { hunk: index + 1 }),
        };
        furthest = furthest.max(place.abs_diff(expected));
        if old.len() != new.len() {
            // Moving what is behind costs too, if less than comparing it.
            let moved = (image.lines.len() - place) / LINES_MOVED_PER_COMPARISON;
            let left = comparisons_left.checked_sub(moved);
            comparisons_left = left.ok_or(ApplyError::SearchTooLong { hunk: index + 1 })?;
        }
        image.lines.splice(place..place + old.len(), new.into_iter().map(|line| (line, true)));
    }
    let bytes: usize = image.lines.iter().map(|(line, _)| line.len()).sum();
    if bytes > bytes_max {
        return Err(ApplyError::TooLarge { bytes_max });
    }
    let mut after = Vec::with_capacity(bytes);
    image.lines.iter().for_each(|(line, _)| after.extend_from_slice(line));
    Ok((after, furthest))
}

struct Exhausted;

impl Image<'_> {
    /// The place of a hunk nearest to where it says, the later one first where two are as near (git's
    /// `find_pos`). A hunk without context above it is at the beginning, one without any below at the end.
    fn find(
        &self,
        hunk: &Hunk<'_>,
        old: &[&[u8]],
        expected: usize,
        comparisons_left: &mut usize,
    ) -> Result<Option<usize>, Exhausted> {
        let Some(last) = self.lines.len().checked_sub(old.len()) else { return Ok(None) };
        let is_at_start = hunk.old_start <= 1;
        let is_at_end = hunk.lines.last().is_some_and(|line| line.kind != LineKind::Context);
        let mut fits = |place: usize| -> Result<bool, Exhausted> {
            if (is_at_start && place != 0) || (is_at_end && place != last) {
                return Ok(false);
            }
            for (line, wanted) in self.lines.iter().skip(place).zip(old) {
                *comparisons_left = comparisons_left.checked_sub(1).ok_or(Exhausted)?;
                // What a hunk has made is no other hunk's context.
                if line.1 || line.0 != *wanted {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        if is_at_start || is_at_end {
            let place = if is_at_start { 0 } else { last };
            return Ok(fits(place)?.then_some(place));
        }
        let start = expected.min(last);
        if fits(start)? {
            return Ok(Some(start));
        }
        for distance in 1..=start.max(last - start) {
            let later = start + distance;
            if later <= last && fits(later)? {
                return Ok(Some(later));
            }
            if let Some(earlier) = start.checked_sub(distance)
                && fits(earlier)?
            {
                return Ok(Some(earlier));
            }
        }
        Ok(None)
    }
}
