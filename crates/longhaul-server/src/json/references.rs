//! Refuses schemas whose check would not end.
//!
//! A schema that refers to itself is fine as long as it goes deeper into the data with every turn, which is finite. One
//! that comes back to itself at the same place would recurse until the stack is gone, and with it the process. So that
//! the turns can be seen, references are limited to the form `#/…` within the schema itself.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{schema::SchemaError, sentence::child, steps};

/// Levels of nesting, and references in a row, that a schema may have.
const MAX_SCHEMA_DEPTH: usize = 128;

pub(super) fn check_references(schema: &Value) -> Result<(), SchemaError> {
    let mut walk = Walk { schema, open: Vec::new(), done: HashSet::new() };
    walk.everywhere(schema, "", false, 0)
}

/// A depth-first walk along the keywords that apply a schema to the very same instance.
struct Walk<'a> {
    schema: &'a Value,
    /// The places whose check has begun and not ended.
    open: Vec<String>,
    /// The places known to end.
    done: HashSet<String>,
}

impl Walk<'_> {
    /// Walks from every schema in the document, since each may be where a check begins. `names` says that the
    /// members of this object are names of fields and not keywords.
    fn everywhere(&mut self, value: &Value, pointer: &str, names: bool, depth: usize) -> Result<(), SchemaError> {
        if depth > MAX_SCHEMA_DEPTH {
            return refuse(pointer, "it is nested too deep");
        }
        match value {
            Value::Object(members) => {
                if !names {
                    self.visit(members, pointer)?;
                }
                for (name, member) in members {
                    if names || !is_data(name) {
                        let named = !names && is_map_of_names(name);
                        self.everywhere(member, &child(pointer, name), named, depth + 1)?;
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.everywhere(item, &format!("{pointer}/{index}"), false, depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn visit(&mut self, schema: &Map<String, Value>, pointer: &str) -> Result<(), SchemaError> {
        if self.done.contains(pointer) {
            return Ok(());
        }
        if self.open.iter().any(|open| open == pointer) {
            return refuse(pointer, "it refers to itself without going deeper into the data");
        }
        if self.open.len() >= MAX_SCHEMA_DEPTH {
            return refuse(pointer, "its references follow each other too far");
        }
        if !pointer.is_empty() && schema.get("$id").is_some_and(Value::is_string) {
            return refuse(pointer, "an $id within a schema is not supported");
        }
        self.open.push(pointer.to_owned());
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for (index, part) in schema.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate() {
                self.visit_value(part, &format!("{pointer}/{keyword}/{index}"))?;
            }
        }
        for keyword in ["not", "if", "then", "else"] {
            if let Some(part) = schema.get(keyword) {
                self.visit_value(part, &format!("{pointer}/{keyword}"))?;
            }
        }
        for keyword in ["dependentSchemas", "dependencies"] {
            for (name, part) in schema.get(keyword).and_then(Value::as_object).into_iter().flatten() {
                self.visit_value(part, &child(&format!("{pointer}/{keyword}"), name))?;
            }
        }
        for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
            if let Some(reference) = schema.get(keyword).and_then(Value::as_str) {
                let target = reference.strip_prefix('#').filter(|target| target.is_empty() || target.starts_with('/'));
                let Some((target, part)) = target.and_then(|target| Some((target, self.schema.pointer(target)?)))
                else {
                    let reason = format!("{reference:?} does not lead to a place in this schema, such as #/$defs/name");
                    return refuse(&child(pointer, keyword), reason);
                };
                self.visit_value(part, target)?;
            }
        }
        self.open.pop();
        self.done.insert(pointer.to_owned());
        Ok(())
    }

    fn visit_value(&mut self, schema: &Value, pointer: &str) -> Result<(), SchemaError> {
        schema.as_object().map_or(Ok(()), |schema| self.visit(schema, pointer))
    }
}

/// The schema with a step to count in each schema within it.
pub(super) fn with_steps(schema: &Value) -> Value {
    counted(schema, false)
}

fn counted(value: &Value, names: bool) -> Value {
    match value {
        Value::Object(members) => {
            let member = |(name, member): (&String, &Value)| {
                let member = match !names && is_data(name) {
                    true => member.clone(),
                    false => counted(member, !names && is_map_of_names(name)),
                };
                (name.clone(), member)
            };
            let mut counting: Map<String, Value> = members.iter().map(member).collect();
            if !names {
                counting.insert(steps::KEYWORD.to_owned(), Value::Bool(true));
            }
            Value::Object(counting)
        }
        Value::Array(items) => items.iter().map(|item| counted(item, false)).collect(),
        other => other.clone(),
    }
}

/// Whether what stands under a keyword is no schema, whatever it looks like.
fn is_data(keyword: &str) -> bool {
    matches!(keyword, "enum" | "const" | "default" | "examples" | "example" | "$vocabulary")
}

fn is_map_of_names(keyword: &str) -> bool {
    matches!(
        keyword,
        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" | "dependencies" | "schemas"
    )
}

fn refuse<T>(pointer: &str, reason: impl Into<String>) -> Result<T, SchemaError> {
    Err(SchemaError { pointer: pointer.to_owned(), reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: &Value) -> Option<String> {
        check_references(schema).err().map(|error| error.to_string())
    }

    #[test]
    fn a_tree_that_refers_to_itself_deeper_down_is_fine() {
        let tree = json!({
            "type": "object",
            "properties": { "children": { "type": "array", "items": { "$ref": "#" } }, "enum": { "$ref": "#/$defs/x" } },
            "$defs": { "x": { "anyOf": [{ "type": "string" }, { "$ref": "#" }] } },
            "default": { "$ref": "anything, this is data" }
        });
        assert_eq!(said(&tree), None);
    }

    #[test]
    fn a_schema_that_turns_on_the_spot_is_refused_with_its_place() {
        let refused = [
            said(&json!({ "$ref": "#" })),
            said(&json!({ "properties": { "a": { "allOf": [{ "$ref": "#/$defs/b" }] } },
                "$defs": { "b": { "not": { "$ref": "#/$defs/c" } }, "c": { "if": { "$ref": "#/$defs/b" } } } })),
            said(&json!({ "$ref": "https://example.com/x.json" })),
            said(&json!({ "$ref": "#anchor" })),
            said(&json!({ "$ref": "#/$defs/missing" })),
            said(&json!({ "items": { "$id": "https://example.com/y" } })),
        ];
        insta::assert_debug_snapshot!(refused);
    }
}
