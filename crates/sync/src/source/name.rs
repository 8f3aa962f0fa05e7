//! Names from disks and archives as people see them. It only shows: nothing is decided by a shown name.

use std::fmt::{Display, Formatter, Result, Write};

use crate::limits::SHOWN_NAME_CHARACTERS_MAX;

/// Bytes of a name or path; shown in one line, without control characters, and cut when long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// Takes any bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Name {
        Name(bytes.into())
    }

    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.0.is_empty() {
            return f.write_char('.');
        }
        let mut left = SHOWN_NAME_CHARACTERS_MAX;
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if left == 0 {
                    return f.write_char('…');
                }
                left -= 1;
                // A name must not steer the terminal that shows it, nor turn its text around.
                let steers = matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                if character.is_control() || steers {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    f.write_char(character)?;
                }
            }
            if left == 0 && !chunk.invalid().is_empty() {
                return f.write_char('…');
            }
            left = left.saturating_sub(1);
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name from an archive never steers the terminal, and never fills it.
    #[test]
    fn shown_names_are_harmless() {
        assert_eq!(Name::new("naïve \x1b[2J\n").to_string(), "naïve \\u{1b}[2J\\n");
        assert_eq!(Name::new(vec![b'a', 0xff, b'b']).to_string(), "a\\xffb");
        assert_eq!(Name::new("a\u{202e}b").to_string(), "a\\u{202e}b");
        assert_eq!(Name::new("").to_string(), ".");
        assert!(Name::new(vec![b'a'; 5000]).to_string().chars().count() <= SHOWN_NAME_CHARACTERS_MAX + 1);
        assert!(Name::new(vec![0xff; 5000]).to_string().len() <= 5 * SHOWN_NAME_CHARACTERS_MAX);
    }
}
