//! Reads patches: git's own, and plain unified diffs. What is between the files' parts is skipped as git does;
//! a part that is malformed is an error with its line, never skipped.

mod binary;
mod header;
mod hunks;
mod names;

use crate::limits::SECTIONS_MAX;
use crate::section::{Body, Patch, Section};

/// A patch that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the patch: {what}")]
pub struct ParseError {
    /// The line, counted from one; of a patch without any, the last.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl<'a> Patch<'a> {
    /// Reads a patch. Time and memory are in proportion to its length, which is the caller's to bound.
    pub fn parse(text: &'a [u8]) -> Result<Patch<'a>, ParseError> {
        let mut cursor = Cursor { rest: text, line: 1 };
        let mut sections = Vec::new();
        while !cursor.rest.is_empty() {
            if let Some(section) = next_section(&mut cursor)? {
                if sections.len() == SECTIONS_MAX {
                    return Err(cursor.error("more files than a patch may have"));
                }
                sections.push(section);
            }
        }
        if sections.is_empty() {
            return Err(cursor.error("there is no diff in it"));
        }
        Ok(Patch { sections })
    }
}

/// The section that begins here; else one line is skipped.
fn next_section<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Section<'a>>, ParseError> {
    if cursor.rest.starts_with(b"diff --git ") {
        return header::git(cursor).map(Some);
    }
    if header::is_plain(cursor) {
        return header::plain(cursor).map(Some);
    }
    if hunks::is_header(cursor.peek()) {
        return Err(cursor.error("a hunk without the names of files before it"));
    }
    cursor.next_line();
    Ok(None)
}

/// The lines of a patch, and where in it we are.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Cursor<'a> {
    /// The line here without its line feed; empty at the end.
    fn peek(&self) -> &'a [u8] {
        self.rest.split(|byte| *byte == b'\n').next().unwrap_or_default()
    }

    /// Takes the line with its line feed, where it has one.
    fn next_line(&mut self) -> &'a [u8] {
        let line = self.rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        self.rest = self.rest.get(line.len()..).unwrap_or_default();
        self.line += 1;
        line
    }

    fn error(&self, what: impl Into<String>) -> ParseError {
        ParseError { line: self.line, what: what.into() }
    }
}

/// What comes behind a header that leaves it open.
fn body<'a>(cursor: &mut Cursor<'a>) -> Result<Body<'a>, ParseError> {
    if hunks::is_header(cursor.peek()) {
        let mut all = Vec::new();
        while hunks::is_header(cursor.peek()) {
            all.push(hunks::read(cursor)?);
        }
        return Ok(Body::Text(all));
    }
    if cursor.peek() == b"GIT binary patch" {
        return binary::read(cursor);
    }
    if cursor.peek().starts_with(b"Binary files ") || cursor.peek().starts_with(b"Files ") {
        return Err(
            cursor.error("says that a binary file differs, but not how (make it with `git diff --binary`)")
        );
    }
    Ok(Body::None)
}
