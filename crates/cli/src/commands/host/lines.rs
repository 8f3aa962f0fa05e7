//! A change as the lines that it takes and gives. Lines around it are not shown: they may hold secrets of others.

/// The differing middle of two texts, each line behind its sign.
pub(super) fn changed(old: &str, new: &str) -> String {
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    let same_head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = old.len().min(new.len()) - same_head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest);
    let same_tail = tail.take_while(|(old, new)| old == new).count();
    let middle = |lines: &[&str], sign: char| -> String {
        let middle = lines.get(same_head..lines.len() - same_tail).unwrap_or_default();
        middle.iter().map(|line| format!("{sign}{line}\n")).collect()
    };
    format!("@@ line {} @@\n{}{}", same_head + 1, middle(&old, '-'), middle(&new, '+'))
}

#[cfg(test)]
mod tests {
    use super::changed;

    /// Only what differs is shown, with the line it begins at.
    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(changed("a\nb\nc\n", "a\nx\ny\nc\n"), "@@ line 2 @@\n-b\n+x\n+y\n");
        assert_eq!(changed("", "a\n"), "@@ line 1 @@\n+a\n");
        assert_eq!(changed("a\na\n", "a\na\na\n"), "@@ line 3 @@\n+a\n");
        assert_eq!(changed("a\n", "a\n"), "@@ line 2 @@\n");
    }
}
