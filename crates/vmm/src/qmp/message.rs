//! The messages QEMU sends, decoded totally: any line is a message or an error, never a panic.

use serde::Deserialize;
use serde_json::Value;

use super::QmpError;

/// One line from QEMU.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// The first line.
    Greeting,
    /// A command succeeded.
    Return { id: Option<u64>, value: Value },
    /// A command failed.
    Error { id: Option<u64>, description: String },
    /// Something happened.
    Event { name: String, data: Value },
}

/// Longest error description kept, in characters.
const DESCRIPTION_CHARS_MAX: usize = 500;

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    #[serde(rename = "return", default, deserialize_with = "present")]
    value: Option<Value>,
    error: Option<Failure>,
    #[serde(default)]
    id: Value,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    desc: String,
}

/// Keeps a `null` apart from an absent field.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Decodes one line, without its newline.
pub(crate) fn decode(line: &[u8]) -> Result<Message, QmpError> {
    let line: Line =
        serde_json::from_slice(line).map_err(|_| QmpError::Malformed { what: "a line that is not JSON" })?;
    let id = line.id.as_u64();
    match line {
        Line { greeting: Some(_), .. } => Ok(Message::Greeting),
        Line { event: Some(name), data, .. } => Ok(Message::Event { name, data }),
        Line { error: Some(failure), .. } => {
            let description = failure.desc.chars().take(DESCRIPTION_CHARS_MAX).collect();
            Ok(Message::Error { id, description })
        }
        Line { value: Some(value), .. } => Ok(Message::Return { id, value }),
        _ => Err(QmpError::Malformed { what: "an object that is no message" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_four_kinds_decode() {
        // Promise: what QEMU 7.2 to 10 say is understood.
        let text = br#"{"QMP": {"version": {"qemu": {"micro": 22}}, "capabilities": ["oob"]}}"#;
        assert_eq!(decode(text).unwrap(), Message::Greeting);
        assert_eq!(
            decode(br#"{"return": {}, "id": 7}"#).unwrap(),
            Message::Return { id: Some(7), value: json!({}) }
        );
        assert_eq!(
            decode(br#"{"id": 1, "error": {"class": "GenericError", "desc": "no"}}"#).unwrap(),
            Message::Error { id: Some(1), description: "no".to_owned() }
        );
        let event =
            br#"{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {"reason": "guest-reset"}}"#;
        assert_eq!(
            decode(event).unwrap(),
            Message::Event { name: "SHUTDOWN".to_owned(), data: json!({"reason": "guest-reset"}) }
        );
    }

    #[test]
    fn other_json_is_an_error() {
        // Promise: decoding is total.
        for line in [&b"{}"[..], b"[]", b"null", b"", b"\xff", br#"{"event": 3}"#, br#"{"id": 1}"#] {
            assert!(decode(line).is_err(), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            // Promise: a hostile QEMU cannot crash its supervisor.
            let _ = decode(&line);
        }

        #[test]
        fn no_almost_message_panics(key in "QMP|event|return|error|id", value in "[\\[\\]{}\":,a-z0-9 ]{0,60}") {
            // Promise: nor can one that almost speaks QMP.
            let _ = decode(format!("{{\"{key}\": {value}}}").as_bytes());
        }
    }
}
