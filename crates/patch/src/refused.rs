//! Paths that git takes from no patch: those that would reach its own directory, or out of the tree.

/// Why git refuses a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no relative path of plain names.
    #[error("is no relative path of plain names")]
    NotRelative,
    /// A name that some file system takes for `.git`.
    #[error("reaches into .git")]
    GitDirectory,
    /// A symbolic link in the place of `.gitmodules`.
    #[error("makes .gitmodules a symbolic link")]
    GitModulesLink,
}

/// Whether git refuses this path, as `verify_path` of its `read-cache.c` does where the disk may be of any
/// kind: file systems of Windows and macOS have more spellings of `.git` than one.
pub fn classify(path: &[u8], is_symlink: bool) -> Option<Refused> {
    if path.is_empty() || path.contains(&0) {
        return Some(Refused::NotRelative);
    }
    for name in path.split(|byte| *byte == b'/') {
        if matches!(name, b"" | b"." | b"..") {
            return Some(Refused::NotRelative);
        }
        // Windows takes a backslash for a separator.
        for part in name.split(|byte| *byte == b'\\') {
            if is_git_directory(part) {
                return Some(Refused::GitDirectory);
            }
            if is_symlink && is_git_modules(part) {
                return Some(Refused::GitModulesLink);
            }
        }
    }
    None
}

fn is_git_directory(name: &[u8]) -> bool {
    is_spelling_of(name, b".git") || is_spelling_of(name, b"git~1") || without_ignored(name) == b".git"
}

fn is_git_modules(name: &[u8]) -> bool {
    is_spelling_of(name, b".gitmodules")
        || is_short_name_of_git_modules(name)
        || without_ignored(name) == b".gitmodules"
}

/// Whether NTFS takes `name` for `plain`: in any case, with dots and spaces behind it, or a stream's name.
fn is_spelling_of(name: &[u8], plain: &[u8]) -> bool {
    name.split_at_checked(plain.len())
        .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(plain) && is_ignored_tail(rest))
}

fn is_ignored_tail(rest: &[u8]) -> bool {
    let named = rest.split(|byte| *byte == b':').next().unwrap_or_default();
    named.iter().all(|byte| matches!(byte, b'.' | b' '))
}

/// Names of eight letters that NTFS makes up: `gitmod~1` to `~4`, or `gi7eba` cut short, `~` and digits.
fn is_short_name_of_git_modules(name: &[u8]) -> bool {
    let Some((short, rest)) = name.split_at_checked(8) else { return false };
    if !is_ignored_tail(rest) {
        return false;
    }
    let short = short.to_ascii_lowercase();
    if let [stem @ .., b'~', b'1'..=b'4'] = &short[..]
        && stem == b"gitmod"
    {
        return true;
    }
    let Some(tilde) = short.iter().position(|byte| *byte == b'~') else { return false };
    let (stem, digits) = short.split_at(tilde);
    b"gi7eba".starts_with(stem)
        && matches!(digits, [b'~', b'1'..=b'9', more @ ..] if more.iter().all(u8::is_ascii_digit))
}

/// The name in lower case without the characters that HFS+ ignores (git's `utf8.c`, `next_hfs_char`).
fn without_ignored(name: &[u8]) -> Vec<u8> {
    let Ok(name) = std::str::from_utf8(name) else { return Vec::new() };
    let kept = name.chars().filter(|letter| {
        !matches!(letter,
            '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
    });
    kept.collect::<String>().to_ascii_lowercase().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every spelling of `.git` that git knows is refused, at any depth, and nothing that merely looks alike.
    #[test]
    fn spellings_of_git_are_refused() {
        for bad in [
            ".git",
            ".GIT",
            "a/.git",
            "a/.Git/hooks/x",
            ".git.",
            ".git ",
            ".git . .",
            "git~1",
            "GIT~1/x",
            ".git::$INDEX_ALLOCATION",
            ".git:x",
            "a\\.git\\config",
            ".g\u{200c}it",
            "\u{feff}.git",
        ] {
            assert_eq!(classify(bad.as_bytes(), false), Some(Refused::GitDirectory), "{bad}");
        }
        for good in
            [".gitignore", "git", "git~2", ".github/x", "a.git", ".git-x", "x/.gitmodules", ".gi", " .git"]
        {
            assert_eq!(classify(good.as_bytes(), false), None, "{good}");
        }
        for bad in ["", "/a", "a/../b", "..", "a//b", "a/", "./a", "a\0"] {
            assert_eq!(classify(bad.as_bytes(), false), Some(Refused::NotRelative), "{bad}");
        }
        for bad in [".gitmodules", "a/.GITMODULES", "gitmod~1", "GI7EBA~1", "gi7e~123", ".gitmodules:x"] {
            assert_eq!(classify(bad.as_bytes(), true), Some(Refused::GitModulesLink), "{bad}");
            assert_eq!(classify(bad.as_bytes(), false), None, "{bad}");
        }
        assert_eq!(classify(b"gitmod~5", true), None);
    }
}
