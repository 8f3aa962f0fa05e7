//! One path's part of a patch.

use crate::blob::BlobId;
use crate::edits::edits;
use crate::lines;
use crate::quote::quote;
use crate::refused::{Refused, classify};
use crate::side::Side;
use crate::stat::{FileStat, Lines};
use crate::summary::ChangeKind;
use crate::{binary, hunks};

/// How a patch is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// Lines around a change; `git apply` finds its place by them.
    pub context_lines: u16,
}

impl Default for RenderOptions {
    fn default() -> RenderOptions {
        RenderOptions { context_lines: 3 }
    }
}

/// A path's part of a patch, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its sections; empty when the sides are the same.
    pub patch: Vec<u8>,
    /// What happens to the path; `None` when nothing does.
    pub kind: Option<ChangeKind>,
    /// Lines or bytes that change.
    pub stat: FileStat,
}

/// The part of a patch that leads from one side of a path to the other, fit for `git apply` and for
/// `git apply --reverse`.
pub fn render(
    path: &[u8],
    before: Option<Side<'_>>,
    after: Option<Side<'_>>,
    options: &RenderOptions,
) -> Result<Rendered, Refused> {
    let is_symlink = [before, after].iter().flatten().any(|side| side.mode.is_symlink());
    if let Some(refused) = classify(path, is_symlink) {
        return Err(refused);
    }
    let mut stat = FileStat { path: path.to_vec(), lines: Lines::Text { inserted: 0, deleted: 0 } };
    let mut patch = Vec::new();
    let kind = match (before, after) {
        (Some(before), Some(after)) if before == after => None,
        (None, None) => None,
        (Some(before), Some(after)) if before.mode.is_symlink() != after.mode.is_symlink() => {
            // Git knows no change of a type: the one goes, the other comes.
            write_section(path, Some(before), None, options, &mut patch, &mut stat);
            write_section(path, None, Some(after), options, &mut patch, &mut stat);
            Some(ChangeKind::TypeChanged)
        }
        (before, after) => {
            write_section(path, before, after, options, &mut patch, &mut stat);
            Some(match (before, after) {
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Deleted,
                _ => ChangeKind::Modified,
            })
        }
    };
    Ok(Rendered { patch, kind, stat })
}

fn write_section(
    path: &[u8],
    before: Option<Side<'_>>,
    after: Option<Side<'_>>,
    options: &RenderOptions,
    patch: &mut Vec<u8>,
    stat: &mut FileStat,
) {
    let (old_name, new_name) = (quote("a/", path), quote("b/", path));
    let mut line = |parts: &[&[u8]]| {
        parts.iter().for_each(|part| patch.extend_from_slice(part));
        patch.push(b'\n');
    };
    line(&[b"diff --git ", &old_name, b" ", &new_name]);
    match (before, after) {
        (None, Some(after)) => line(&[b"new file mode ", after.mode.digits().as_bytes()]),
        (Some(before), None) => line(&[b"deleted file mode ", before.mode.digits().as_bytes()]),
        (Some(before), Some(after)) if before.mode != after.mode => {
            line(&[b"old mode ", before.mode.digits().as_bytes()]);
            line(&[b"new mode ", after.mode.digits().as_bytes()]);
        }
        _ => {}
    }
    let (old, new) = (bytes_of(before), bytes_of(after));
    let is_same = old == new;
    if is_same && before.is_some() && after.is_some() {
        return;
    }
    let id = |side: Option<Side<'_>>| side.map_or(BlobId::ZERO, |side| BlobId::of(side.bytes)).to_hex();
    let mode = match (before, after) {
        (Some(before), Some(after)) if before.mode == after.mode => format!(" {}", after.mode.digits()),
        _ => String::new(),
    };
    line(&[b"index ", id(before).as_bytes(), b"..", id(after).as_bytes(), mode.as_bytes()]);
    if is_same {
        // An empty file that comes or goes: its header says all.
        return;
    }
    if [old, new].iter().any(|side| lines::is_binary(side) || lines::is_too_large(side)) {
        line(&[b"GIT binary patch"]);
        binary::write_literal(new, patch);
        binary::write_literal(old, patch);
        stat.lines.add(Lines::Bytes { before: old.len() as u64, after: new.len() as u64 });
        return;
    }
    let end = |name: &[u8]| if name.contains(&b' ') { &b"\t"[..] } else { b"" };
    match before {
        Some(_) => line(&[b"--- ", &old_name, end(&old_name)]),
        None => line(&[b"--- /dev/null"]),
    }
    match after {
        Some(_) => line(&[b"+++ ", &new_name, end(&new_name)]),
        None => line(&[b"+++ /dev/null"]),
    }
    let old: Vec<&[u8]> = lines::split(old).collect();
    let new: Vec<&[u8]> = lines::split(new).collect();
    let edits = edits(&old, &new);
    hunks::write(&old, &new, &edits, usize::from(options.context_lines), patch);
    stat.lines.add(Lines::Text {
        inserted: edits.iter().map(|edit| edit.after.len() as u64).sum(),
        deleted: edits.iter().map(|edit| edit.before.len() as u64).sum(),
    });
}

fn bytes_of<'a>(side: Option<Side<'a>>) -> &'a [u8] {
    side.map_or(&[], |side| side.bytes)
}
