//! A value that fits a JSON Schema, made up.
//!
//! Covers what structured outputs and tools use: types, enums, constants, references within the schema, alternatives,
//! bounds. What it does not know it leaves out of account.

use serde_json::{Map, Value, json};

use super::latency::Dice;
use crate::json::Json;

/// References can go in circles.
const MAX_DEPTH: usize = 12;

/// A value for a schema. Of a schema that is no JSON, `null`.
pub(super) fn sample(schema: &Json, dice: &mut Dice) -> Value {
    match schema.read::<Value>() {
        Ok(root) => value(&root, &root, dice, 0),
        Err(_) => Value::Null,
    }
}

fn value(schema: &Value, root: &Value, dice: &mut Dice, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, |target| value(target, root, dice, depth + 1));
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(choices) = schema["enum"].as_array().filter(|choices| !choices.is_empty()) {
        return choices[dice.below(choices.len())].clone();
    }
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        // The last alternative is often `null`, which is the least telling.
        if let Some(first) = schema[alternatives].as_array().and_then(|all| all.first()) {
            return value(first, root, dice, depth + 1);
        }
    }
    match kind(schema) {
        "object" => object(schema, root, dice, depth),
        "array" => {
            let count = schema["minItems"].as_u64().unwrap_or(1).clamp(0, 16);
            (0..count).map(|_| value(&schema["items"], root, dice, depth + 1)).collect()
        }
        "string" => Value::String(text(schema)),
        "integer" => {
            let low = bound(schema, "minimum", "exclusiveMinimum", 1.0);
            let high = bound(schema, "maximum", "exclusiveMaximum", -1.0);
            // `as` saturates.
            json!(low.map_or(high.map_or(1, |high| high.min(1.0).floor() as i64), |low| low.ceil() as i64))
        }
        "number" => {
            let low = bound(schema, "minimum", "exclusiveMinimum", 0.5);
            let high = bound(schema, "maximum", "exclusiveMaximum", -0.5);
            json!(low.unwrap_or_else(|| high.map_or(0.5, |high| high.min(0.5))))
        }
        "boolean" => json!(dice.below(2) == 1),
        _ => Value::Null,
    }
}

fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null"),
        _ if schema["properties"].is_object() => "object",
        _ if schema["items"].is_object() => "array",
        // A schema that asks for nothing is content with a text.
        _ => "string",
    }
}

fn object(schema: &Value, root: &Value, dice: &mut Dice, depth: usize) -> Value {
    let required = schema["required"].as_array();
    let mut object = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let needed = required.is_none_or(|names| names.iter().any(|known| known == name));
        if needed || depth < 3 {
            object.insert(name.clone(), value(property, root, dice, depth + 1));
        }
    }
    Value::Object(object)
}

fn text(schema: &Value) -> String {
    let text = match schema["format"].as_str() {
        Some("date-time") => "2000-01-01T00:00:00Z",
        Some("date") => "2000-01-01",
        Some("time") => "00:00:00Z",
        Some("email") => "simulated@example.com",
        Some("uri" | "url") => "https://example.com/simulated",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "simulated",
    };
    let shortest = schema["minLength"].as_u64().unwrap_or(0).min(1_024) as usize;
    let longest = schema["maxLength"].as_u64().map_or(usize::MAX, |longest| longest.min(1 << 20) as usize);
    let mut text: String = text.chars().take(longest).collect();
    while text.chars().count() < shortest {
        text.push('.');
    }
    text
}

fn bound(schema: &Value, inclusive: &str, exclusive: &str, step: f64) -> Option<f64> {
    schema[inclusive].as_f64().or_else(|| schema[exclusive].as_f64().map(|bound| bound + step))
}
