//! JSON, edited so that all else keeps its form.

use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::document::{Fault, Fields};

#[derive(Debug)]
pub(super) struct JsonDocument {
    root: CstRootNode,
    /// Whether comments and trailing commas are allowed.
    lenient: bool,
}

impl JsonDocument {
    pub(super) fn parse(text: &str, lenient: bool) -> Result<JsonDocument, Fault> {
        let root = CstRootNode::parse(text, &options(lenient)).map_err(|error| Fault::Syntax {
            line: error.line_display(),
            column: error.column_display(),
            what: decapitalized(&error.kind().to_string()),
        })?;
        // The editing parser overlooks a comment here and there.
        if !lenient && !text.trim_ascii().is_empty() {
            serde_json::from_str::<IgnoredAny>(text).map_err(strictly)?;
        }
        Ok(JsonDocument { root, lenient })
    }

    /// Another text, read in the same way.
    pub(super) fn reparse(&self, text: &str) -> Result<JsonDocument, Fault> {
        JsonDocument::parse(text, self.lenient)
    }

    /// What it says; an empty file says what an empty object does.
    pub(super) fn value(&self) -> Value {
        match self.root.value() {
            None => Value::Object(Map::new()),
            Some(value) => value.to_serde_value().unwrap_or_default(),
        }
    }

    /// Sets fields of the object at a path, whose way is known to be free.
    pub(super) fn set(&mut self, path: &[&str], fields: &Fields) -> Result<(), Fault> {
        let mut object = self.object();
        for (depth, key) in path.iter().enumerate() {
            match object.get(key) {
                Some(property) => object = property.object_value().ok_or(Fault::Entangled)?,
                None => {
                    let below = path.get(depth + 1..).unwrap_or_default();
                    let line = object.to_string();
                    if !object.properties().is_empty() && !line.contains('\n') {
                        return self.append_on_line(path, depth, fields, line.contains("\": "));
                    }
                    object.append(key, nested(below, fields));
                    return Ok(());
                }
            }
        }
        for (name, value) in fields {
            match object.get(name) {
                Some(property) => property.set_value(input(value)),
                None => {
                    object.append(name, input(value));
                }
            }
        }
        Ok(())
    }

    /// Adds to an object that is written on one line, which stays one. (The editing parser breaks it up.)
    fn append_on_line(
        &mut self,
        path: &[&str],
        depth: usize,
        fields: &Fields,
        spaced: bool,
    ) -> Result<(), Fault> {
        let mut text = self.text();
        let parsed = parse_to_ast(&text, &CollectOptions::default(), &options(self.lenient));
        let root = parsed.ok().and_then(|parsed| parsed.value);
        let mut object = root.as_ref().and_then(|root| root.as_object());
        for key in path.iter().take(depth) {
            object = object.and_then(|object| object.get(key)?.value.as_object());
        }
        let last = object.and_then(|object| object.properties.last()).ok_or(Fault::Entangled)?;
        let end = last.range.end;
        let below = path.get(depth..).unwrap_or_default();
        let (comma, colon) = if spaced { (", ", ": ") } else { (",", ":") };
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("\"{name}\"{colon}{value}")).collect();
        let whole = format!("{{{}}}", pairs.join(comma));
        let entry = below.iter().rev().fold(whole, |inner, key| format!("{{\"{key}\"{colon}{inner}}}"));
        // The outermost braces are those of the object that is there.
        let entry =
            entry.strip_prefix('{').and_then(|entry| entry.strip_suffix('}')).ok_or(Fault::Entangled)?;
        text.insert_str(end, &format!("{comma}{entry}"));
        *self = self.reparse(&text)?;
        Ok(())
    }

    pub(super) fn text(&self) -> String {
        self.root.to_string()
    }

    fn object(&self) -> CstObject {
        self.root.object_value_or_set()
    }
}

fn decapitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

fn strictly(error: serde_json::Error) -> Fault {
    let what = error.to_string();
    // Its own words end with the place.
    let what = what.split(" at line ").next().unwrap_or_default().to_owned();
    Fault::Syntax { line: error.line(), column: error.column().max(1), what }
}

fn options(lenient: bool) -> ParseOptions {
    ParseOptions {
        allow_comments: lenient,
        allow_trailing_commas: lenient,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// An object in an object, down to the fields.
fn nested(path: &[&str], fields: &Fields) -> CstInputValue {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), input(value))).collect();
    path.iter().rev().fold(CstInputValue::Object(fields), |inner, key| {
        CstInputValue::Object(vec![((*key).to_owned(), inner)])
    })
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(map) => {
            CstInputValue::Object(map.iter().map(|(key, value)| (key.clone(), input(value))).collect())
        }
    }
}
