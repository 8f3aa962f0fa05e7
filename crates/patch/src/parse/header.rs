//! Headers of a file's part: names, modes and ids, and what they make of it together.

use super::names::{self, NO_FILE};
use super::{Cursor, ParseError, body, hunks};
use crate::section::{Body, Operation, Section};
use crate::side::FileMode;

/// What the lines of a git header say.
#[derive(Default)]
struct Header<'a> {
    default_name: Option<Vec<u8>>,
    /// Names behind `---` and `+++`; `Some(None)` is `/dev/null`.
    old_name: Option<Option<Vec<u8>>>,
    new_name: Option<Option<Vec<u8>>>,
    old_mode: Option<FileMode>,
    new_mode: Option<FileMode>,
    old_id: Option<&'a str>,
    new_id: Option<&'a str>,
    is_new: bool,
    is_deleted: bool,
    copy: (Option<Vec<u8>>, Option<Vec<u8>>),
    rename: (Option<Vec<u8>>, Option<Vec<u8>>),
}

/// Whether a plain unified diff begins here: two lines of names and a hunk.
pub(super) fn is_plain(cursor: &Cursor<'_>) -> bool {
    let mut ahead = *cursor;
    if !ahead.next_line().starts_with(b"--- ") || !ahead.next_line().starts_with(b"+++ ") {
        return false;
    }
    hunks::is_header(ahead.peek())
}

/// Reads a plain unified diff.
pub(super) fn plain<'a>(cursor: &mut Cursor<'a>) -> Result<Section<'a>, ParseError> {
    let start = *cursor;
    let mut name = |prefix: &[u8]| -> Result<Option<Vec<u8>>, ParseError> {
        let line = cursor.peek().strip_prefix(prefix).unwrap_or_default();
        let name = names::in_plain_line(line).ok_or_else(|| cursor.error("a quoted name is malformed"))?;
        cursor.next_line();
        if name == NO_FILE {
            return Ok(None);
        }
        // Without any directory there is none to take off, as git guesses too.
        if name.contains(&b'/') {
            let inner = names::stripped(&name).ok_or_else(|| start.error("a name ends in a slash"))?;
            // An absolute name is refused, not made relative.
            Ok(Some(if name.starts_with(b"/") { name } else { inner }))
        } else {
            Ok(Some(name))
        }
    };
    let (old, new) = (name(b"--- ")?, name(b"+++ ")?);
    let operation = match (old, new) {
        (None, None) => return Err(start.error("both names are /dev/null")),
        (None, Some(path)) => Operation::Create { path },
        (Some(path), None) => Operation::Delete { path },
        // `x` and `x.new`: the file is the shorter.
        (Some(old), Some(new)) => Operation::Modify { path: if new.starts_with(&old) { old } else { new } },
    };
    let body = body(cursor)?;
    finish(
        Section {
            operation,
            old_mode: None,
            new_mode: None,
            old_id: None,
            new_id: None,
            body,
            line: start.line,
        },
        &start,
    )
}

/// Reads git's own.
pub(super) fn git<'a>(cursor: &mut Cursor<'a>) -> Result<Section<'a>, ParseError> {
    let start = *cursor;
    let line = cursor.peek().strip_prefix(b"diff --git ").unwrap_or_default();
    let mut header = Header { default_name: names::in_git_line(line), ..Header::default() };
    cursor.next_line();
    while extended_line(cursor, &mut header)? {
        cursor.next_line();
    }
    let (old_mode, new_mode, old_id, new_id) =
        (header.old_mode, header.new_mode, header.old_id, header.new_id);
    let has_names = header.old_name.is_some() || header.new_name.is_some();
    let operation = operation(header).map_err(|what| start.error(what))?;
    let body = body(cursor)?;
    if has_names && body == Body::None {
        return Err(cursor.error("names of files without a hunk behind them"));
    }
    finish(Section { operation, old_mode, new_mode, old_id, new_id, body, line: start.line }, &start)
}

/// Reads one line of a git header; whether it was one.
fn extended_line<'a>(cursor: &Cursor<'a>, header: &mut Header<'a>) -> Result<bool, ParseError> {
    let line = cursor.peek();
    let (key, value) = KEYS
        .iter()
        .find_map(|key| line.strip_prefix(key.as_bytes()).map(|value| (*key, value)))
        .unwrap_or_default();
    let mode = || {
        FileMode::parse(value.trim_ascii_end())
            .ok_or_else(|| cursor.error("a mode of no file that can be patched"))
    };
    let moved = || names::in_extended_line(value).ok_or_else(|| cursor.error("a quoted name is malformed"));
    match key {
        "--- " => header.old_name = Some(file_name(cursor, value)?),
        "+++ " => header.new_name = Some(file_name(cursor, value)?),
        "old mode " => header.old_mode = Some(mode()?),
        "new mode " => header.new_mode = Some(mode()?),
        "deleted file mode " => (header.is_deleted, header.old_mode) = (true, Some(mode()?)),
        "new file mode " => (header.is_new, header.new_mode) = (true, Some(mode()?)),
        "copy from " => header.copy.0 = Some(moved()?),
        "copy to " => header.copy.1 = Some(moved()?),
        "rename from " | "rename old " => header.rename.0 = Some(moved()?),
        "rename to " | "rename new " => header.rename.1 = Some(moved()?),
        "index " => index_line(value, header).ok_or_else(|| cursor.error("an index line is malformed"))?,
        "similarity index " | "dissimilarity index " => {}
        _ => return Ok(false),
    }
    Ok(true)
}

const KEYS: [&str; 15] = [
    "--- ",
    "+++ ",
    "old mode ",
    "new mode ",
    "deleted file mode ",
    "new file mode ",
    "copy from ",
    "copy to ",
    "rename from ",
    "rename to ",
    "rename old ",
    "rename new ",
    "index ",
    "similarity index ",
    "dissimilarity index ",
];

fn file_name(cursor: &Cursor<'_>, value: &[u8]) -> Result<Option<Vec<u8>>, ParseError> {
    let name = names::in_file_line(value).ok_or_else(|| cursor.error("a quoted name is malformed"))?;
    if name == NO_FILE {
        return Ok(None);
    }
    if name.starts_with(b"/") {
        return Err(cursor.error(names::fault(&name, false).unwrap_or_default()));
    }
    let inner = names::stripped(&name);
    inner.map(Some).ok_or_else(|| cursor.error("a name without a leading directory (`a/`, `b/`)"))
}

/// `old..new`, and the mode where it stays.
fn index_line<'a>(value: &'a [u8], header: &mut Header<'a>) -> Option<()> {
    let text = std::str::from_utf8(value).ok()?.trim_end();
    let (ids, mode) = match text.split_once(' ') {
        Some((ids, mode)) => (ids, Some(mode)),
        None => (text, None),
    };
    let (old, new) = ids.split_once("..")?;
    let is_id =
        |id: &str| !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id(old) || !is_id(new) {
        return None;
    }
    (header.old_id, header.new_id) = (Some(old), Some(new));
    if let Some(mode) = mode {
        header.old_mode = Some(FileMode::parse(mode.as_bytes())?);
    }
    Some(())
}

fn operation(header: Header<'_>) -> Result<Operation, String> {
    let fault = |what: &str| Err(what.to_owned());
    match (header.rename, header.copy) {
        ((Some(from), Some(to)), (None, None)) => return Ok(Operation::Rename { from, to }),
        ((None, None), (Some(from), Some(to))) => return Ok(Operation::Copy { from, to }),
        ((None, None), (None, None)) => {}
        _ => return fault("a rename or copy is not said in full"),
    }
    if header.is_new && header.is_deleted {
        return fault("a file that is both new and deleted");
    }
    let is_new = header.is_new || header.old_name == Some(None);
    let is_deleted = header.is_deleted || header.new_name == Some(None);
    if is_new && matches!(header.old_name, Some(Some(_))) {
        return fault("a new file that has a name before");
    }
    if is_deleted && matches!(header.new_name, Some(Some(_))) {
        return fault("a deleted file that has a name after");
    }
    let named = (header.old_name.flatten(), header.new_name.flatten());
    let path = match named {
        (Some(old), Some(new)) if old != new => return fault("two names, but no rename"),
        (Some(name), _) | (_, Some(name)) => {
            if header.default_name.as_ref().is_some_and(|default| *default != name) {
                return fault("names that do not agree with the first line");
            }
            name
        }
        (None, None) => match header.default_name {
            Some(name) => name,
            None => return fault("no name of a file can be made out"),
        },
    };
    Ok(match (is_new, is_deleted) {
        (true, true) => return fault("a file that is both new and deleted"),
        (true, false) => Operation::Create { path },
        (false, true) => Operation::Delete { path },
        (false, false) => Operation::Modify { path },
    })
}

/// Checks what header and body say together.
fn finish<'a>(section: Section<'a>, start: &Cursor<'_>) -> Result<Section<'a>, ParseError> {
    let is_symlink = [section.old_mode, section.new_mode].contains(&Some(FileMode::Symlink));
    for path in [section.operation.source(), section.operation.destination()].into_iter().flatten() {
        if let Some(fault) = names::fault(path, is_symlink) {
            return Err(start.error(fault));
        }
    }
    if let (Some(old), Some(new)) = (section.old_mode, section.new_mode)
        && old.is_symlink() != new.is_symlink()
    {
        return Err(start.error("a file does not become a symbolic link by a change of its mode"));
    }
    if let Body::Text(hunks) = &section.body {
        let sum = |lines: fn(&crate::section::Hunk<'_>) -> usize| hunks.iter().map(lines).sum::<usize>();
        match section.operation {
            Operation::Create { .. } if sum(|hunk| hunk.old_lines) > 0 => {
                return Err(start.error("a new file that depends on lines before"));
            }
            Operation::Delete { .. } if sum(|hunk| hunk.new_lines) > 0 => {
                return Err(start.error("a deleted file that has lines after"));
            }
            _ => {}
        }
    }
    Ok(section)
}
