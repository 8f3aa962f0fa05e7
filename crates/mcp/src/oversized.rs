//! The id of a message that is too long to be kept: found while its bytes go by, so that it can be refused by name.

use rmcp::model::RequestId;
use serde_json::Value;

/// Bytes of an id that is worth finding.
const ID_BYTES_MAX: usize = 256;

/// Looks at the bytes of one JSON object.
#[derive(Debug, Default)]
pub(crate) struct IdFinder {
    depth: u32,
    in_string: bool,
    is_escaped: bool,
    /// The text of the current key, or of the id.
    text: Vec<u8>,
    stage: Stage,
    id: Option<RequestId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Before or in a key of the outermost object.
    #[default]
    Key,
    /// Behind a key, in a value that is none of ours.
    Value,
    /// In the value of `id`.
    Id,
}

impl IdFinder {
    /// Takes the next bytes.
    pub(crate) fn look(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.take(*byte));
    }

    /// The id, if there was one.
    pub(crate) fn finish(mut self) -> Option<RequestId> {
        self.end_of_id();
        self.id
    }

    fn take(&mut self, byte: u8) {
        if self.in_string {
            let ends = byte == b'"' && !self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            self.in_string = !ends;
            return self.keep(byte);
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 && self.stage == Stage::Key {
                    self.text.clear();
                }
                self.keep(byte);
            }
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end_of_id();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == 1 && self.stage == Stage::Key => {
                self.stage = if self.text == b"\"id\"" { Stage::Id } else { Stage::Value };
                self.text.clear();
            }
            b',' if self.depth == 1 => {
                self.end_of_id();
                self.stage = Stage::Key;
            }
            byte if !byte.is_ascii_whitespace() => self.keep(byte),
            _ => {}
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.stage != Stage::Value && self.text.len() < ID_BYTES_MAX {
            self.text.push(byte);
        }
    }

    fn end_of_id(&mut self) {
        if self.stage != Stage::Id {
            return;
        }
        self.id = match serde_json::from_slice(&self.text) {
            Ok(Value::String(text)) => Some(RequestId::String(text.into())),
            Ok(Value::Number(number)) => number.as_i64().map(RequestId::Number),
            _ => None,
        };
        self.stage = Stage::Value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<RequestId> {
        let mut finder = IdFinder::default();
        // Byte by byte: pieces end anywhere.
        text.as_bytes().chunks(1).for_each(|byte| finder.look(byte));
        finder.finish()
    }

    /// The id is found wherever it stands, and nothing else is taken for it.
    #[test]
    fn ids_are_found() {
        assert_eq!(found(r#"{"id":7,"params":{"id":8}}"#), Some(RequestId::Number(7)));
        assert_eq!(
            found(r#"{"params":{"id":8,"x":"\"id\":9"},"method":"id", "id" : "a\"b"}"#),
            Some(RequestId::String("a\"b".into()))
        );
        assert_eq!(found(r#"{"params":["id",{"id":1}],"text":"{\"id\":3}"}"#), None);
        assert_eq!(found(r#"{"id":null}"#), None);
        assert_eq!(found(r#"{"id":{"a":1}}"#), None);
        assert_eq!(found("not json at all"), None);
    }
}
