//! Debian control data, deb-control(5): stanzas of `Field: value` lines. It reads text only and cannot fail: what is
//! not a field is skipped, and the caller says what it misses.

/// One stanza: its fields in order, without their continuation lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stanza<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Stanza<'a> {
    /// The value of a field, by its name in any case.
    pub(crate) fn get(&self, field: &str) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(field)).map(|(_, value)| *value)
    }
}

/// The stanzas of a text; empty ones are not given.
pub(crate) fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    text.split("\n\n")
        .map(|part| Stanza(part.lines().filter_map(field).collect()))
        .filter(|stanza| !stanza.0.is_empty())
}

fn field(line: &str) -> Option<(&str, &str)> {
    if line.starts_with([' ', '\t', '#']) {
        return None;
    }
    let (name, value) = line.split_once(':')?;
    Some((name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps: fields are found in any case, continuation lines and stray text are not fields.
    #[test]
    fn fields_are_found() {
        let text =
            "\n\nPackage: git\nVersion: 1:2.39\nDescription: fast\n continued: yes\nstray\n\nPackage: bash\n";
        let all: Vec<_> = stanzas(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("version"), Some("1:2.39"));
        assert_eq!(all[0].get(" continued"), None);
        assert_eq!(all[1].get("Package"), Some("bash"));
    }
}
