//! TOML, edited so that all else keeps its form.

use serde_json::{Map, Value};
use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike};

use super::document::{Fault, Fields, position};

#[derive(Debug)]
pub(super) struct TomlDocument {
    document: DocumentMut,
    /// Whether every line ends as Windows has it.
    carriage_returns: bool,
}

impl TomlDocument {
    pub(super) fn parse(text: &str) -> Result<TomlDocument, Fault> {
        let document = text.parse::<DocumentMut>().map_err(|error| {
            let (line, column) = position(text.as_bytes(), error.span().map_or(0, |span| span.start));
            Fault::Syntax { line, column, what: error.message().trim().replace('\n', ", ") }
        })?;
        let newlines = text.matches('\n').count();
        let carriage_returns = newlines > 0 && newlines == text.matches("\r\n").count();
        Ok(TomlDocument { document, carriage_returns })
    }

    pub(super) fn value(&self) -> Value {
        table_value(self.document.as_table())
    }

    /// Sets fields of the table at a path, whose way is known to be free.
    pub(super) fn set(&mut self, path: &[&str], fields: &Fields) -> Result<(), Fault> {
        let mut table: &mut dyn TableLike = self.document.as_table_mut();
        for (depth, key) in path.iter().enumerate() {
            if !table.contains_key(key) {
                return self.add(path, depth, fields);
            }
            let item = table.get_mut(key).ok_or(Fault::Entangled)?;
            table = item.as_table_like_mut().ok_or(Fault::Entangled)?;
        }
        for (name, value) in fields {
            let mut new = toml_value(value).ok_or(Fault::Entangled)?;
            match table.get_mut(name) {
                Some(item) => {
                    // What is written around the old value stays: blanks, and the comment behind it.
                    if let Some(old) = item.as_value() {
                        *new.decor_mut() = old.decor().clone();
                    }
                    *item = Item::Value(new);
                }
                None => {
                    table.insert(name, Item::Value(new));
                }
            }
        }
        Ok(())
    }

    /// Makes the table at a path of which `depth` keys are there.
    fn add(&mut self, path: &[&str], depth: usize, fields: &Fields) -> Result<(), Fault> {
        let mut parent: &mut Item = self.document.as_item_mut();
        for key in path.iter().take(depth) {
            parent = parent.get_mut(*key).ok_or(Fault::Entangled)?;
        }
        if let Some(inline) = parent.as_inline_table_mut() {
            let below = path.get(depth + 1..).unwrap_or_default();
            let key = path.get(depth).ok_or(Fault::Entangled)?;
            return append_inline(inline, key, nested(below, fields).ok_or(Fault::Entangled)?);
        }
        // A table of its own goes behind all that there is, whose every byte stays.
        let mut text = self.document.to_string();
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
        text.push_str(&format!("[{}]\n", path.join(".")));
        for (name, value) in fields {
            text.push_str(&format!("{name} = {}\n", toml_value(value).ok_or(Fault::Entangled)?));
        }
        self.document = text.parse().map_err(|_| Fault::Entangled)?;
        Ok(())
    }

    pub(super) fn text(&self) -> String {
        let text = self.document.to_string();
        if self.carriage_returns { text.replace("\r\n", "\n").replace('\n', "\r\n") } else { text }
    }
}

/// Adds to a table in braces; the blank before the closing one stays there.
fn append_inline(table: &mut InlineTable, key: &str, mut value: toml_edit::Value) -> Result<(), Fault> {
    if let Some((_, last)) = table.iter_mut().last() {
        let blank = last.decor().suffix().and_then(|suffix| suffix.as_str()).unwrap_or_default().to_owned();
        last.decor_mut().set_suffix("");
        value.decor_mut().set_prefix(" ");
        value.decor_mut().set_suffix(blank);
    }
    table.insert(key, value);
    Ok(())
}

/// A table in a table, down to the fields.
fn nested(path: &[&str], fields: &Fields) -> Option<toml_edit::Value> {
    let mut inner = InlineTable::new();
    for (name, value) in fields {
        inner.insert(*name, toml_value(value)?);
    }
    Some(path.iter().rev().fold(inner.into(), |inner: toml_edit::Value, key| {
        let mut outer = InlineTable::new();
        outer.insert(*key, inner);
        outer.into()
    }))
}

/// TOML has no null.
fn toml_value(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(toml_value).collect::<Option<Array>>()?.into(),
        Value::Object(map) => {
            let mut table = InlineTable::new();
            for (key, value) in map {
                table.insert(key, toml_value(value)?);
            }
            table.into()
        }
    })
}

fn table_value(table: &dyn TableLike) -> Value {
    let fields = table.iter().filter_map(|(key, item)| Some((key.to_owned(), item_value(item)?)));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn item_value(item: &Item) -> Option<Value> {
    match item {
        Item::None => None,
        Item::Value(value) => Some(plain(value)),
        Item::Table(table) => Some(table_value(table)),
        Item::ArrayOfTables(tables) => Some(tables.iter().map(|table| table_value(table)).collect()),
    }
}

fn plain(value: &toml_edit::Value) -> Value {
    use toml_edit::Value as Toml;
    match value {
        Toml::String(text) => text.value().as_str().into(),
        Toml::Integer(number) => (*number.value()).into(),
        // Numbers that JSON has no words for differ from each other as their texts do.
        Toml::Float(number) => serde_json::Number::from_f64(*number.value())
            .map_or_else(|| Value::String(number.value().to_string()), Value::Number),
        Toml::Boolean(value) => (*value.value()).into(),
        Toml::Datetime(time) => time.value().to_string().into(),
        Toml::Array(items) => items.iter().map(plain).collect(),
        Toml::InlineTable(table) => table_value(table),
    }
}
