//! Patterns of one file, read and matched as git does (gitignore(5); `dir.c` and `wildmatch.c` of git). Pure.
//! Matching takes time in proportion to pattern times path, whatever the pattern.

use super::bracket::{self, ByteSet};

/// The patterns of one file.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    patterns: Vec<Pattern>,
    ignores_case: bool,
}

#[derive(Debug)]
struct Pattern {
    /// What has to match name by name; with `is_anywhere` one segment, for the last name alone.
    segments: Vec<Segment>,
    is_negated: bool,
    is_for_directories: bool,
    is_anywhere: bool,
}

/// What matches one name, or any number of them.
#[derive(Debug)]
enum Segment {
    /// `**` between slashes.
    Any,
    /// No wildcards.
    Plain(Vec<u8>),
    /// Anything that ends so.
    Ending(Vec<u8>),
    /// Everything else.
    Tokens(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Slash,
    Byte(u8),
    AnyByte,
    AnyBytes,
    Set(ByteSet),
}

impl Patterns {
    /// Reads a file. Every line is a pattern, or nothing; none is an error.
    pub(super) fn parse(text: &[u8], ignores_case: bool) -> Patterns {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let lines = text.split(|byte| *byte == b'\n');
        let patterns = lines.filter_map(|line| Pattern::parse(line, ignores_case)).collect();
        Patterns { patterns, ignores_case }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the last pattern that matches ignores a path, or keeps it; `None` when none does. The path is
    /// relative to the directory of the file.
    pub(super) fn judge(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        if self.patterns.is_empty() {
            return None;
        }
        let folded = self.ignores_case.then(|| path.to_ascii_lowercase());
        let path = folded.as_deref().unwrap_or(path);
        let names: Vec<_> = path.split(|byte| *byte == b'/').collect();
        let found = self.patterns.iter().rev().find(|pattern| pattern.matches(&names, is_directory))?;
        Some(!found.is_negated)
    }
}

impl Pattern {
    /// Reads a line; `None` for a line that matches nothing.
    fn parse(line: &[u8], ignores_case: bool) -> Option<Pattern> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first() == Some(&b'#') {
            return None;
        }
        // Git reads it as a C string.
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let line = without_trailing_spaces(line);
        let (line, is_negated) = match line.strip_prefix(b"!") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let (line, is_for_directories) = match line.strip_suffix(b"/") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let is_anywhere = !line.contains(&b'/');
        let line = line.strip_prefix(b"/").unwrap_or(line);
        let tokens = tokens(line, ignores_case).filter(|tokens| !tokens.is_empty())?;
        let segments = match is_anywhere {
            true => vec![Segment::of_name(&tokens)],
            false => tokens.split(|token| *token == Token::Slash).map(Segment::of_path).collect(),
        };
        Some(Pattern { segments, is_negated, is_for_directories, is_anywhere })
    }

    fn matches(&self, names: &[&[u8]], is_directory: bool) -> bool {
        if self.is_for_directories && !is_directory {
            return false;
        }
        match (self.is_anywhere, self.segments.as_slice(), names.last()) {
            (true, [segment], Some(name)) => segment.matches(name),
            (true, _, _) => false,
            (false, segments, _) => matches_path(segments, names),
        }
    }
}

impl Segment {
    fn of_path(tokens: &[Token]) -> Segment {
        match tokens.len() >= 2 && tokens.iter().all(|token| *token == Token::AnyBytes) {
            true => Segment::Any,
            false => Segment::of_name(tokens),
        }
    }

    fn of_name(tokens: &[Token]) -> Segment {
        let plain = |tokens: &[Token]| {
            let byte = |token: &Token| if let Token::Byte(byte) = token { Some(*byte) } else { None };
            tokens.iter().map(byte).collect::<Option<Vec<u8>>>()
        };
        if let Some(bytes) = plain(tokens) {
            return Segment::Plain(bytes);
        }
        if let Some((Token::AnyBytes, rest)) = tokens.split_first()
            && let Some(bytes) = plain(rest)
        {
            return Segment::Ending(bytes);
        }
        Segment::Tokens(tokens.to_vec())
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Segment::Any => true,
            Segment::Plain(bytes) => name == bytes,
            Segment::Ending(bytes) => name.ends_with(bytes),
            Segment::Tokens(tokens) => matches_all(
                tokens,
                name,
                |token| *token == Token::AnyBytes,
                |token, byte| match token {
                    Token::Byte(own) => own == byte,
                    Token::AnyByte => true,
                    Token::Set(set) => set.get(usize::from(*byte)).copied().unwrap_or(false),
                    Token::AnyBytes | Token::Slash => false,
                },
            ),
        }
    }
}

fn matches_path(segments: &[Segment], names: &[&[u8]]) -> bool {
    // `a/**` is everything in `a`, and not `a`: the last `**` stands for one name at least.
    let (segments, names) = match (segments.split_last(), names.split_last()) {
        (Some((Segment::Any, rest)), Some((_, above))) => {
            let behind = rest.len();
            return (0..=above.len()).any(|count| {
                let above = above.get(..count).unwrap_or_default();
                // Only as many names as the segments before can take need a try, unless one takes any number.
                (above.len() == behind || rest.iter().any(|segment| matches!(segment, Segment::Any)))
                    && matches_path_exactly(rest, above)
            });
        }
        _ => (segments, names),
    };
    matches_path_exactly(segments, names)
}

fn matches_path_exactly(segments: &[Segment], names: &[&[u8]]) -> bool {
    matches_all(
        segments,
        names,
        |segment| matches!(segment, Segment::Any),
        |segment, name| segment.matches(name),
    )
}

/// Matches items with parts of which some stand for any number of items. Only the last such part is ever
/// tried again: what an earlier one could take, it can leave to that one.
fn matches_all<P, I>(
    parts: &[P],
    items: &[I],
    is_any: impl Fn(&P) -> bool,
    is_match: impl Fn(&P, &I) -> bool,
) -> bool {
    let (mut part, mut item) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    loop {
        match (parts.get(part), items.get(item)) {
            (None, None) => return true,
            (Some(own), _) if is_any(own) => {
                again = Some((part + 1, item));
                part += 1;
                continue;
            }
            (Some(own), Some(next)) if is_match(own, next) => {
                (part, item) = (part + 1, item + 1);
                continue;
            }
            _ => {}
        }
        let Some((behind, taken)) = again.filter(|(_, taken)| *taken < items.len()) else { return false };
        again = Some((behind, taken + 1));
        (part, item) = (behind, taken + 1);
    }
}

/// Spaces at the end do not count, unless the last is escaped.
fn without_trailing_spaces(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        match byte {
            b'\\' => {
                at += 1;
                if at >= line.len() {
                    return line;
                }
                end = at + 1;
            }
            b' ' => {}
            _ => end = at + 1,
        }
        at += 1;
    }
    line.get(..end).unwrap_or(line)
}

/// Reads a pattern's characters; `None` when it can match nothing.
fn tokens(pattern: &[u8], ignores_case: bool) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        tokens.push(match byte {
            b'/' => Token::Slash,
            b'?' => Token::AnyByte,
            b'*' => Token::AnyBytes,
            b'[' => {
                let (set, behind) = bracket::parse(rest, ignores_case)?;
                rest = behind;
                Token::Set(set)
            }
            b'\\' => {
                let (byte, behind) = rest.split_first()?;
                rest = behind;
                match byte {
                    b'/' => Token::Slash,
                    byte => Token::Byte(fold(*byte, ignores_case)),
                }
            }
            byte => Token::Byte(fold(*byte, ignores_case)),
        });
    }
    Some(tokens)
}

fn fold(byte: u8, ignores_case: bool) -> u8 {
    if ignores_case { byte.to_ascii_lowercase() } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str, path: &str) -> Option<bool> {
        let (path, is_directory) = match path.strip_suffix('/') {
            Some(path) => (path, true),
            None => (path, false),
        };
        Patterns::parse(text.as_bytes(), false).judge(path.as_bytes(), is_directory)
    }

    /// Patterns mean what git's manual says they mean.
    #[test]
    fn patterns_of_the_manual() {
        for (text, path) in [
            ("*.o", "a/b.o"),
            ("/x", "x"),
            ("a/b", "a/b"),
            ("**/foo", "a/b/foo"),
            ("**/foo", "foo"),
            ("a/**/b", "a/b"),
            ("a/**/b", "a/x/y/b"),
            ("abc/**", "abc/x/y"),
            ("foo/", "a/foo/"),
            ("\\#a", "#a"),
            ("\\!a", "!a"),
            ("a\\ ", "a "),
            ("a   ", "a"),
            ("a\r", "a"),
            ("[[:digit:]x-z]", "y"),
            ("[]a]", "]"),
            ("{a,b}", "{a,b}"),
            ("a**b", "axxb"),
            ("*a*b*c", "xaybzc"),
            ("\u{feff}bom", "bom"),
        ] {
            assert_eq!(judge(text, path), Some(true), "{text:?} {path:?}");
        }
        for (text, path) in [
            ("/x", "a/x"),
            ("a/b", "c/a/b"),
            ("abc/**", "abc/"),
            ("foo/", "foo"),
            ("#a", "#a"),
            ("a\\", "a\\"),
            ("a\\", "a"),
            ("[a", "[a"),
            ("a*b", "a"),
            ("a/*", "a/b/c"),
            ("[!a]", "a"),
            ("{a,b}", "a"),
            ("[[:nope:]]", "n"),
            ("", "a"),
            ("/", "a/"),
            ("!", "a"),
        ] {
            assert_eq!(judge(text, path), None, "{text:?} {path:?}");
        }
        assert_eq!(judge("*\n!a", "a"), Some(false));
        assert!(Patterns::parse(b"ReadMe[A-C]", true).judge(b"README\x62", false) == Some(true));
    }

    /// A pattern made to be slow is not.
    #[test]
    fn no_pattern_is_slow() {
        let text = "a*".repeat(2000) + "b";
        assert_eq!(judge(&text, &"a".repeat(4000)), None);
        let text = "**/a/".repeat(1000) + "b";
        assert_eq!(judge(&text, &("a/".repeat(255) + "c")), None);
        let text = "**/".repeat(1000) + "**";
        assert_eq!(judge(&text, &("a/".repeat(255) + "c")), Some(true));
    }
}
