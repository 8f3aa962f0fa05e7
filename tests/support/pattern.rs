//! Expected text with `...` for what differs from run to run: ids, paths, times.

/// Whether a line is as expected.
pub(crate) fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("...");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    true
}

/// Asserts that text has exactly the expected lines.
pub(crate) fn assert_matches(expected: &str, actual: &str) {
    let (patterns, lines): (Vec<_>, Vec<_>) =
        (expected.trim().lines().collect(), actual.trim_end().lines().collect());
    let same = patterns.len() == lines.len()
        && patterns.iter().zip(&lines).all(|(pattern, line)| matches(pattern.trim_start(), line));
    assert!(same, "expected:\n{}\n\ngot:\n{actual}", patterns.join("\n"));
}

/// The pattern is neither too strict nor too lax.
#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    assert!(matches("vm_id=... code=0 ms=...", "vm_id=ab12 code=0 ms=7"));
    assert!(matches("same", "same") && matches("...", ""));
    assert!(!matches("same", "same ") && !matches("a...c", "abd") && !matches("x=... y", "x=1 z"));
}
