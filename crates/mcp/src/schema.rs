//! JSON schemas, as short as they can be: every client sends them to its model with every conversation.

use std::sync::Arc;

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schema of a tool's arguments: unknown ones are refused, what has a default need not be given.
pub(crate) fn input<T: JsonSchema>() -> Arc<JsonObject> {
    let mut schema = whole::<T>();
    for key in ["$schema", "title", "description"] {
        schema.remove(key);
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(shorten);
    }
    schema.entry("properties").or_insert_with(|| json!({}));
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("additionalProperties".to_owned(), json!(false));
    Arc::new(schema)
}

/// The schema of a tool's result: names and types of its first level. What they mean, their names say. A failure is
/// a result too, and clients check it: `error` is in every schema, and nothing else is required.
pub(crate) fn output<T: JsonSchema>() -> Arc<JsonObject> {
    let schema = whole::<T>();
    let mut properties = Map::new();
    collect(&Value::Object(schema), &mut properties);
    properties.insert("error".to_owned(), json!({ "type": "object" }));
    let mut short = Map::new();
    short.insert("type".to_owned(), json!("object"));
    short.insert("properties".to_owned(), Value::Object(properties));
    short.insert("additionalProperties".to_owned(), json!(false));
    Arc::new(short)
}

fn whole<T: JsonSchema>() -> JsonObject {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    match settings.into_generator().into_root_schema_for::<T>().to_value() {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// Drops what says nothing to a model: formats, titles, bounds of number types, that what may be left out may be null.
fn shorten(property: &mut Value) {
    let Value::Object(property) = property else { return };
    for key in ["format", "title", "minimum", "maximum"] {
        property.remove(key);
    }
    if property.get("default") == Some(&Value::Null) {
        property.remove("default");
    }
    if let Some(Value::Array(types)) = property.get("type") {
        let named: Vec<Value> = types.iter().filter(|name| *name != "null").cloned().collect();
        if let [only] = named.as_slice() {
            property.insert("type".to_owned(), only.clone());
        }
    }
    if let Some(Value::Array(variants)) = property.get("enum") {
        let named: Vec<Value> = variants.iter().filter(|variant| !variant.is_null()).cloned().collect();
        property.insert("enum".to_owned(), Value::Array(named));
        property.remove("type");
    }
    // `Option<Enum>`: the enumeration, or null.
    if let Some(Value::Array(variants)) = property.remove("anyOf") {
        let mut named: Vec<Value> =
            variants.into_iter().filter(|variant| variant["type"] != "null").collect();
        named.iter_mut().for_each(shorten);
        if let Some(Value::Object(only)) = named.into_iter().next() {
            only.into_iter().for_each(|(key, value)| {
                property.entry(key).or_insert(value);
            });
        }
    }
    if let Some(items) = property.get_mut("items") {
        shorten(items);
    }
}

/// Properties of an object, also where they come in through flattened or alternative parts.
fn collect(schema: &Value, into: &mut Map<String, Value>) {
    if let Some(Value::Object(properties)) = schema.get("properties") {
        for (name, property) in properties {
            into.insert(name.clone(), kind(property));
        }
    }
    for parts in ["allOf", "anyOf", "oneOf"] {
        if let Some(Value::Array(parts)) = schema.get(parts) {
            parts.iter().for_each(|part| collect(part, into));
        }
    }
}

/// The type of a value, and nothing else.
fn kind(property: &Value) -> Value {
    if let Some(kind) = property.get("type") {
        return json!({ "type": kind });
    }
    match property.get("anyOf").or_else(|| property.get("oneOf")) {
        Some(Value::Array(variants)) => {
            let mut kinds: Vec<Value> =
                variants.iter().filter_map(|variant| variant.get("type").cloned()).collect();
            kinds.dedup();
            match kinds.as_slice() {
                [only] => json!({ "type": only }),
                _ => json!({ "type": kinds }),
            }
        }
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    /// A word.
    #[derive(Debug, Serialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[allow(dead_code)] // Its schema is all there is to it.
    enum Word {
        One,
        TwoThree,
    }

    #[derive(Debug, Serialize, JsonSchema)]
    struct Inner {
        deep: u8,
    }

    /// Not shown.
    #[derive(Debug, Serialize, JsonSchema)]
    struct Given {
        /// Which.
        which: String,
        /// How many.
        #[schemars(default)]
        count: Option<u64>,
        word: Option<Word>,
        #[serde(flatten)]
        inner: Inner,
        list: Vec<Inner>,
    }

    /// Schemas say what is needed and no more.
    #[test]
    fn schemas_are_short() {
        let expected = json!({
            "type": "object",
            "properties": {
                "which": { "type": "string", "description": "Which." },
                "count": { "type": "integer", "description": "How many." },
                "word": { "description": "A word.", "enum": ["one", "two-three"] },
                "deep": { "type": "integer" },
                "list": { "type": "array", "items": { "type": "object", "properties": { "deep": { "type": "integer", "format": "uint8", "minimum": 0, "maximum": 255 } }, "required": ["deep"] } }
            },
            "required": ["which", "deep", "list"],
            "additionalProperties": false
        });
        let given = Value::Object(input::<Given>().as_ref().clone());
        assert_eq!(given, expected, "{given}");
        let out = Value::Object(output::<Given>().as_ref().clone());
        let expected = json!({
            "type": "object",
            "properties": {
                "which": { "type": "string" },
                "count": { "type": ["integer", "null"] },
                "word": { "type": ["string", "null"] },
                "deep": { "type": "integer" },
                "list": { "type": "array" },
                "error": { "type": "object" }
            },
            "additionalProperties": false
        });
        assert_eq!(out, expected, "{out}");
    }
}
