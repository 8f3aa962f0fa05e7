//! Names in headers: quoted or not, with their first directory (`a/`, `b/`) taken off.

use crate::quote::unquote;
use crate::refused::classify;

/// Whether a name in a header is no file at all.
pub(super) const NO_FILE: &[u8] = b"/dev/null";

/// The name without its first directory; `None` when it has none.
pub(super) fn stripped(name: &[u8]) -> Option<Vec<u8>> {
    let slash = name.iter().position(|byte| *byte == b'/')?;
    // Git takes slashes in a row for one.
    let rest = name.get(slash..)?;
    let start = rest.iter().position(|byte| *byte != b'/')?;
    Some(rest.get(start..)?.to_vec())
}

/// The name behind `--- ` or `+++ ` in a git header: up to a tab, or in quotes.
pub(super) fn in_file_line(text: &[u8]) -> Option<Vec<u8>> {
    if text.starts_with(b"\"") {
        return unquote(text).map(|(name, _)| name);
    }
    Some(text.split(|byte| *byte == b'\t').next().unwrap_or_default().to_vec())
}

/// The name behind `rename from ` and its kin: the whole line, or in quotes.
pub(super) fn in_extended_line(text: &[u8]) -> Option<Vec<u8>> {
    if text.starts_with(b"\"") { unquote(text).map(|(name, _)| name) } else { Some(text.to_vec()) }
}

/// The name in a plain diff, without the time of day that may stand behind it.
pub(super) fn in_plain_line(text: &[u8]) -> Option<Vec<u8>> {
    let name = in_file_line(text)?;
    if text.starts_with(b"\"") {
        return Some(name);
    }
    let name = name.strip_suffix(b"\r").map_or(name.clone(), <[u8]>::to_vec);
    Some(without_time(&name).to_vec())
}

/// The one name that both halves of a `diff --git` line agree on, when they do.
pub(super) fn in_git_line(text: &[u8]) -> Option<Vec<u8>> {
    if text.starts_with(b"\"") {
        let (first, rest) = unquote(text)?;
        let first = stripped(&first)?;
        let rest = rest.strip_prefix(b" ")?;
        let second = in_extended_line(rest)?;
        return (stripped(&second)? == first).then_some(first);
    }
    // The line's spaces and the names' look the same, so every split is tried.
    for (space, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b' ') {
        let (first, rest) = text.split_at_checked(space)?;
        let rest = rest.get(1..)?;
        // Names of one length, but for the quotes: nothing to compare otherwise.
        let second = if rest.starts_with(b"\"") {
            let Some((second, b"")) = unquote(rest) else { continue };
            second
        } else if rest.len() == first.len() {
            rest.to_vec()
        } else {
            continue;
        };
        if let (Some(first), Some(second)) = (stripped(first), stripped(&second))
            && first == second
        {
            return Some(first);
        }
    }
    None
}

/// What is wrong with a path, in words, if anything.
pub(super) fn fault(path: &[u8], is_symlink: bool) -> Option<String> {
    let refused = classify(path, is_symlink)?;
    Some(format!("the path \"{}\" {refused}", path.escape_ascii()))
}

/// `name 2024-01-01 00:00:00.000000000 +0000` without the time.
fn without_time(name: &[u8]) -> &[u8] {
    let words: Vec<&[u8]> = name.split(|byte| *byte == b' ').collect();
    let is_time = |word: &[u8], separator: u8| {
        word.len() >= 8
            && word.first().is_some_and(u8::is_ascii_digit)
            && word.contains(&separator)
            && word.iter().all(|byte| byte.is_ascii_digit() || *byte == separator || *byte == b'.')
    };
    let dated = |date: &[u8], time: &[u8]| is_time(date, b'-') && is_time(time, b':');
    let zoned = |zone: &[u8]| matches!(zone, [b'+' | b'-', digits @ ..] if digits.len() == 4 && digits.iter().all(u8::is_ascii_digit));
    let tail = match words[..] {
        [_, .., date, time, zone] if words.len() > 3 && dated(date, time) && zoned(zone) => {
            date.len() + time.len() + zone.len() + 3
        }
        [_, .., date, time] if words.len() > 2 && dated(date, time) => date.len() + time.len() + 2,
        _ => 0,
    };
    let rest = name.get(..name.len() - tail).unwrap_or(name);
    if tail == 0 { rest } else { rest.trim_ascii_end() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two names of a `diff --git` line are told apart wherever git can.
    #[test]
    fn git_lines_are_split() {
        let name = |line: &str| in_git_line(line.as_bytes()).map(|name| String::from_utf8(name).unwrap());
        assert_eq!(name("a/x b/x").as_deref(), Some("x"));
        assert_eq!(name("a/x b/x b/x b/x").as_deref(), Some("x b/x"));
        assert_eq!(name("\"a/t\\tx\" \"b/t\\tx\"").as_deref(), Some("t\tx"));
        assert_eq!(name("a/x \"b/x\"").as_deref(), Some("x"));
        assert_eq!(name("a/x b/y"), None);
        assert_eq!(name(""), None);
    }

    /// Times behind names go; names that look a little like it stay.
    #[test]
    fn times_are_taken_off() {
        let name =
            |line: &str| in_plain_line(line.as_bytes()).map(|name| String::from_utf8(name).unwrap()).unwrap();
        assert_eq!(name("a/x\t2024-01-01 10:00:00"), "a/x");
        assert_eq!(name("a/x y 2024-01-01 10:00:00.5 +0200"), "a/x y");
        assert_eq!(name("a/x 2024-01-01"), "a/x 2024-01-01");
        assert_eq!(name("2024-01-01 10:00:00"), "2024-01-01 10:00:00");
    }
}
