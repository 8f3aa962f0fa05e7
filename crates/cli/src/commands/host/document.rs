//! A host's file as text whose every byte stays, but for one entry.

use pyro::{Code, Failure};
use serde_json::{Map, Value};

use super::host_kind::Format;
use super::json::JsonDocument;
use super::toml::TomlDocument;

/// The fields of an entry, in the order they are written in.
pub(super) type Fields = Vec<(&'static str, Value)>;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A parsed file.
#[derive(Debug)]
pub(super) struct Document {
    body: Body,
    /// All that it says.
    value: Value,
    marked: bool,
}

#[derive(Debug)]
enum Body {
    Json(JsonDocument),
    Toml(TomlDocument),
}

/// Why a text is no document, or has no place for an entry.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("line {line}, column {column}: {what}")]
    Syntax { line: usize, column: usize, what: String },
    #[error("line {line}, column {column}: not UTF-8")]
    Encoding { line: usize, column: usize },
    #[error("{} is {found}, not {wanted}", named(path))]
    WrongType { path: Vec<String>, found: &'static str, wanted: &'static str },
    /// Such as a key that stands twice, of which host and editor see different ones.
    #[error("the entry cannot be changed without changing something else")]
    Entangled,
}

fn named(path: &[String]) -> String {
    if path.is_empty() { "the whole of it".to_owned() } else { format!("`{}`", path.join(".")) }
}

impl Document {
    pub(super) fn parse(format: Format, bytes: &[u8]) -> Result<Document, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let (line, column) = position(bytes, error.valid_up_to());
            Fault::Encoding { line, column }
        })?;
        let (marked, text) = match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let body = match format {
            Format::Json => Body::Json(JsonDocument::parse(text, false)?),
            Format::JsonWithComments => Body::Json(JsonDocument::parse(text, true)?),
            Format::Toml => Body::Toml(TomlDocument::parse(text)?),
        };
        match body.value() {
            value @ Value::Object(_) => Ok(Document { body, value, marked }),
            other => Err(Fault::WrongType { path: Vec::new(), found: kind(&other), wanted: "an object" }),
        }
    }

    /// What stands at a path; something on the way that can hold nothing is a fault.
    pub(super) fn get(&self, path: &[&str]) -> Result<Option<&Value>, Fault> {
        let mut value = &self.value;
        for (depth, key) in path.iter().enumerate() {
            let Value::Object(map) = value else {
                return Err(wrong_type(path.get(..depth).unwrap_or_default(), value));
            };
            match map.get(*key) {
                Some(inner) => value = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    /// Sets these fields of the object at a path, which is made when it is missing; its other fields stay.
    pub(super) fn set(&mut self, path: &[&str], fields: &Fields) -> Result<(), Fault> {
        // Checks the way there first.
        if let Some(value) = self.get(path)?
            && !value.is_object()
        {
            return Err(wrong_type(path, value));
        }
        match &mut self.body {
            Body::Json(json) => json.set(path, fields)?,
            Body::Toml(toml) => toml.set(path, fields)?,
        }
        put(&mut self.value, path, fields);
        // The new text says what it should and nothing else: read anew, as the host will.
        let reread = self.body.reread()?;
        if reread == self.value { Ok(()) } else { Err(Fault::Entangled) }
    }

    pub(super) fn text(&self) -> String {
        let text = self.body.text();
        if self.marked { format!("{BYTE_ORDER_MARK}{text}") } else { text }
    }
}

impl Body {
    fn value(&self) -> Value {
        match self {
            Body::Json(json) => json.value(),
            Body::Toml(toml) => toml.value(),
        }
    }

    fn text(&self) -> String {
        match self {
            Body::Json(json) => json.text(),
            Body::Toml(toml) => toml.text(),
        }
    }

    /// What its text says to who has not seen it being made.
    fn reread(&self) -> Result<Value, Fault> {
        match self {
            Body::Json(json) => Ok(json.reparse(&json.text())?.value()),
            Body::Toml(toml) => Ok(TomlDocument::parse(&toml.text())?.value()),
        }
    }
}

/// Something is in the place of an object.
pub(super) fn wrong_type(path: &[&str], value: &Value) -> Fault {
    let path = path.iter().map(|key| (*key).to_owned()).collect();
    Fault::WrongType { path, found: kind(value), wanted: "an object" }
}

impl Fault {
    /// As a failure about a file.
    pub(super) fn of(self, file: &std::path::Path) -> Failure {
        let shown = file.display();
        match self {
            Fault::Syntax { .. } | Fault::Encoding { .. } => {
                Failure::new(Code::SourceUnusable, format!("{shown} cannot be read"))
                    .because(self)
                    .fix("mend it by hand, nothing was written")
            }
            Fault::WrongType { .. } => {
                Failure::new(Code::SourceUnusable, format!("{shown} has no place for an entry"))
                    .because(self)
                    .fix("mend it by hand, nothing was written")
            }
            Fault::Entangled => {
                Failure::new(Code::SourceUnusable, format!("{shown} cannot be edited")).because(self).fix(
                    "look for a key that stands twice, or add what `pyro host print-config` prints by hand; \
                     nothing was written",
                )
            }
        }
    }
}

fn put(value: &mut Value, path: &[&str], fields: &Fields) {
    let mut current = value;
    for key in path {
        if !current.is_object() {
            *current = Value::Object(Map::new());
        }
        let Value::Object(map) = current else { return };
        current = map.entry((*key).to_owned()).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Value::Object(map) = current {
        map.extend(fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    }
}

/// What a value is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Line and column, from 1 on, of a byte.
pub(super) fn position(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = bytes.get(..offset).unwrap_or(bytes);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields() -> Fields {
        vec![("command", json!("/bin/pyro")), ("args", json!(["mcp", "serve"]))]
    }

    fn edited(format: Format, text: &str, path: &[&str]) -> Result<String, Fault> {
        let mut document = Document::parse(format, text.as_bytes())?;
        document.set(path, &fields())?;
        Ok(document.text())
    }

    fn json(text: &str) -> String {
        edited(Format::JsonWithComments, text, &["mcpServers", "pyro"]).unwrap()
    }

    fn toml(text: &str) -> String {
        edited(Format::Toml, text, &["mcp_servers", "pyro"]).unwrap()
    }

    /// Lines of the old text that are not in the new one, in order.
    fn lost<'a>(old: &'a str, new: &str) -> Vec<&'a str> {
        let mut lines = new.split('\n');
        old.split('\n')
            .filter(|line| {
                !lines.clone().any(|other| other == *line) || {
                    let _ = lines.by_ref().find(|other| other == line);
                    false
                }
            })
            .collect()
    }

    /// Comments, order, indentation and unknown keys of JSON stay.
    #[test]
    fn json_keeps_everything_else() {
        let old = "// mine\n{\n    \"z\": 1.50, // odd\n    \"mcpServers\": {\n        \"other\": { \"url\": \"x\" }\n    },\n    \"a\": [1,\n 2]\n}\n";
        assert_eq!(
            json(old),
            "// mine\n{\n    \"z\": 1.50, // odd\n    \"mcpServers\": {\n        \"other\": { \"url\": \"x\" },\n        \"pyro\": {\n            \"command\": \"/bin/pyro\",\n            \"args\": [\"mcp\", \"serve\"]\n        }\n    },\n    \"a\": [1,\n 2]\n}\n"
        );
    }

    /// Tabs and trailing commas are taken up.
    #[test]
    fn json_follows_the_style_of_the_file() {
        assert_eq!(
            json("{\n\t\"mcpServers\": {\n\t\t\"a\": {\n\t\t\t\"b\": 1,\n\t\t},\n\t},\n}"),
            "{\n\t\"mcpServers\": {\n\t\t\"a\": {\n\t\t\t\"b\": 1,\n\t\t},\n\t\t\"pyro\": {\n\t\t\t\"command\": \"/bin/pyro\",\n\t\t\t\"args\": [\"mcp\", \"serve\"],\n\t\t},\n\t},\n}"
        );
    }

    /// What stands on one line stays there.
    #[test]
    fn json_on_one_line_stays_on_it() {
        assert_eq!(
            json("{\"mcpServers\":{\"o\":{\"a\":[1,2]}},\"z\":1}"),
            "{\"mcpServers\":{\"o\":{\"a\":[1,2]},\"pyro\":{\"command\":\"/bin/pyro\",\"args\":[\"mcp\",\"serve\"]}},\"z\":1}"
        );
        assert_eq!(
            json("{ \"a\": \"ü\", /* x */ } // y"),
            "{ \"a\": \"ü\", \"mcpServers\": {\"pyro\": {\"command\": \"/bin/pyro\", \"args\": [\"mcp\",\"serve\"]}}, /* x */ } // y"
        );
    }

    /// An empty file, one of blanks and comments, and an empty object get their first entry.
    #[test]
    fn json_begins_where_nothing_is() {
        let whole = "{\n  \"mcpServers\": {\n    \"pyro\": {\n      \"command\": \"/bin/pyro\",\n      \"args\": [\"mcp\", \"serve\"]\n    }\n  }\n}\n";
        assert_eq!(json(""), whole);
        assert_eq!(json("{}\n"), whole);
        assert_eq!(json("{}"), whole.trim_end());
        assert!(json("// only words\n").starts_with("// only words\n"));
        assert_eq!(json("  \n").trim(), whole.trim());
    }

    /// A byte order mark and the line ends of Windows stay.
    #[test]
    fn marks_and_line_ends_stay() {
        let json = json("\u{feff}{\r\n  \"a\": 1\r\n}\r\n");
        assert!(json.starts_with("\u{feff}{\r\n  \"a\": 1,\r\n  \"mcpServers\""), "{json:?}");
        assert_eq!(json.matches('\n').count(), json.matches("\r\n").count());
        let toml = toml("\u{feff}a = 1\r\n# b\r\n");
        assert!(toml.starts_with("\u{feff}a = 1\r\n# b\r\n\r\n[mcp_servers.pyro]\r\n"), "{toml:?}");
        assert_eq!(toml.matches('\n').count(), toml.matches("\r\n").count());
    }

    /// Comments, order, blank lines and other servers of TOML stay.
    #[test]
    fn toml_keeps_everything_else() {
        let old = "# mine\nmodel   = \"m\" # odd\n\n\n[mcp_servers.other]\ncommand = 'x'\n[mcp_servers.other.env]\nA = \"1\"\n\n# last\n[profiles.p]\nk = [ 1,\n  2 ]\n# end\n";
        let new = toml(old);
        assert_eq!(lost(old, &new), Vec::<&str>::new(), "{new}");
        assert!(
            new.contains("\n[mcp_servers.pyro]\ncommand = \"/bin/pyro\"\nargs = [\"mcp\", \"serve\"]\n"),
            "{new}"
        );
    }

    /// The other ways of writing a table are kept.
    #[test]
    fn toml_follows_the_style_of_the_file() {
        assert_eq!(toml(""), "[mcp_servers.pyro]\ncommand = \"/bin/pyro\"\nargs = [\"mcp\", \"serve\"]\n");
        assert!(toml("model = 1").starts_with("model = 1\n\n[mcp_servers.pyro]\n"), "{}", toml("model = 1"));
        let inline = toml("mcp_servers = { a = { command = \"x\" } }\n");
        assert!(inline.starts_with("mcp_servers = { a = { command = \"x\" }, pyro = {"), "{inline}");
        let dotted = toml("mcp_servers.a.command = \"x\"\n");
        assert!(dotted.starts_with("mcp_servers.a.command = \"x\"\n"), "{dotted}");
        let empty = toml("[mcp_servers]\n");
        assert!(empty.starts_with("[mcp_servers]\n\n[mcp_servers.pyro]\n"), "{empty}");
    }

    /// Fields are replaced where they stand, and others stay.
    #[test]
    fn fields_are_replaced_in_place() {
        let text = "{\"mcpServers\": {\"pyro\": {\"args\": [], /* why */ \"command\": \"old\", \"env\": {\"A\": \"1\"}}}}";
        assert_eq!(
            json(text),
            "{\"mcpServers\": {\"pyro\": {\"args\": [\"mcp\", \"serve\"], /* why */ \"command\": \"/bin/pyro\", \"env\": {\"A\": \"1\"}}}}"
        );
        let text = "[mcp_servers.pyro]\nargs = [] # none\ncommand = \"old\" # moved\n[mcp_servers.pyro.env]\nA = \"1\"\n";
        assert_eq!(
            toml(text),
            "[mcp_servers.pyro]\nargs = [\"mcp\", \"serve\"] # none\ncommand = \"/bin/pyro\" # moved\n[mcp_servers.pyro.env]\nA = \"1\"\n"
        );
    }

    /// What is no document is told by line and column.
    #[test]
    fn faults_have_a_line_and_a_column() {
        let fault = |format, text: &[u8]| Document::parse(format, text).unwrap_err().to_string();
        assert_eq!(
            fault(Format::Json, b"{\n  \"a\": 1,\n}"),
            "line 2, column 9: trailing commas are not allowed"
        );
        assert!(fault(Format::Json, b"{ // x\n}").starts_with("line 1, column 3:"));
        assert!(fault(Format::JsonWithComments, b"{\n\"a\" 1}").starts_with("line 2, column "));
        assert!(fault(Format::JsonWithComments, b"{a: 1}").starts_with("line 1, column "));
        assert!(fault(Format::JsonWithComments, b"{\"a\": 1").starts_with("line 1, column "));
        assert!(fault(Format::Toml, b"a = 1\nb = = 2\n").starts_with("line 2, column 5:"));
        assert!(fault(Format::Toml, b"a = 1\na = 2\n").starts_with("line 2, column "));
        assert_eq!(fault(Format::Json, b"{\"\xff\": 1}"), "line 1, column 3: not UTF-8");
        assert_eq!(fault(Format::Json, b"[1]"), "the whole of it is an array, not an object");
    }

    /// Something else in the place of the servers or of the entry is refused, not replaced.
    #[test]
    fn wrong_types_are_refused() {
        let refused = |format, text: &str, path: &[&str]| edited(format, text, path).unwrap_err().to_string();
        let path = ["mcpServers", "pyro"];
        assert_eq!(
            refused(Format::Json, "{\"mcpServers\": []}", &path),
            "`mcpServers` is an array, not an object"
        );
        assert_eq!(
            refused(Format::Json, "{\"mcpServers\": {\"pyro\": \"x\"}}", &path),
            "`mcpServers.pyro` is a string, not an object"
        );
        assert_eq!(
            refused(Format::Toml, "[[mcp_servers]]\na = 1\n", &["mcp_servers", "pyro"]),
            "`mcp_servers` is an array, not an object"
        );
    }

    /// A key that stands twice means different things to different readers: it is not edited.
    #[test]
    fn a_key_that_stands_twice_is_not_edited() {
        let twice = "{\"mcpServers\": {\"a\": {}}, \"mcpServers\": {\"b\": {}}}";
        assert_eq!(edited(Format::Json, twice, &["mcpServers", "pyro"]).unwrap_err(), Fault::Entangled);
    }
}
