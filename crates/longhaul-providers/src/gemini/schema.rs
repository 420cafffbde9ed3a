//! From JSON Schema to the part of OpenAPI that older Gemini models read.
//!
//! Types in capitals, no references, no `additionalProperties`, the order of properties said aloud. What cannot be said
//! there and would change the answer is refused by name.

use serde_json::value::RawValue;

use crate::json::{Extra, Json};
use crate::protocol::{EncodeError, Gaps};

/// References can go in circles, which that dialect cannot say.
const MAX_DEPTH: usize = 24;

/// What is said there in the same words.
const SAME: &[&str] = &[
    "description",
    "title",
    "format",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "pattern",
    "nullable",
    "required",
    "default",
    "example",
];

/// What says nothing about the answer, or what that dialect takes for granted.
const SILENT: &[&str] = &["$schema", "$id", "$defs", "definitions", "$comment", "additionalProperties", "examples"];

/// A schema in that dialect.
pub(super) fn openapi(schema: &Json, gaps: &Gaps<'_>) -> Result<Json, EncodeError> {
    convert(schema, schema, gaps, 0).map(|extra| Json::of(&extra))
}

fn convert(schema: &Json, root: &Json, gaps: &Gaps<'_>, depth: usize) -> Result<Extra, EncodeError> {
    if depth > MAX_DEPTH {
        return Err(gaps.cannot("a schema that refers to itself, or is nested deeper than 24"));
    }
    let mut out = Extra::new();
    for (name, value) in schema.read_fields() {
        match name.as_str() {
            "type" => write_type(&mut out, &value, gaps)?,
            "properties" => write_properties(&mut out, &value, root, gaps, depth)?,
            "items" => out.insert("items", Json::of(&convert(&value, root, gaps, depth + 1)?)),
            "anyOf" | "oneOf" => write_alternatives(&mut out, &value, root, gaps, depth)?,
            "$ref" => {
                let target = resolve(&value, root).ok_or_else(|| gaps.cannot("a `$ref` out of its schema"))?;
                for (name, value) in convert(&target, root, gaps, depth + 1)?.iter() {
                    out.insert(name, value.clone());
                }
            }
            "allOf" => {
                let all: Vec<Json> = value.read().unwrap_or_default();
                let [one] = all.as_slice() else { return Err(gaps.cannot("`allOf` in a schema")) };
                for (name, value) in convert(one, root, gaps, depth + 1)?.iter() {
                    out.insert(name, value.clone());
                }
            }
            "const" => {
                out.insert("enum", Json::of(&[as_text(&value)]));
            }
            "enum" => {
                let values: Vec<Json> = value.read().unwrap_or_default();
                let texts: Vec<String> = values.iter().map(as_text).collect();
                out.insert("enum", Json::of(&texts));
            }
            name if SAME.contains(&name) => out.insert(name, value),
            name if SILENT.contains(&name) => {}
            name => return Err(gaps.cannot(format!("`{name}` in a schema"))),
        }
    }
    if out.get("enum").is_some() && out.get("type").is_none() {
        out.insert("type", Json::of("STRING"));
    }
    Ok(out)
}

fn write_type(out: &mut Extra, value: &Json, gaps: &Gaps<'_>) -> Result<(), EncodeError> {
    let kinds: Vec<String> = value.read().or_else(|_| value.read().map(|one: String| vec![one])).unwrap_or_default();
    if kinds.iter().any(|kind| kind == "null") && kinds.len() > 1 {
        out.insert("nullable", Json::of(&true));
    }
    let mut real = kinds.iter().filter(|kind| kinds.len() == 1 || *kind != "null");
    let (Some(kind), None) = (real.next(), real.next()) else {
        return Err(gaps.cannot("several types at one place of a schema"));
    };
    out.insert("type", Json::of(&kind.to_uppercase()));
    Ok(())
}

fn write_properties(
    out: &mut Extra,
    value: &Json,
    root: &Json,
    gaps: &Gaps<'_>,
    depth: usize,
) -> Result<(), EncodeError> {
    let mut properties = Extra::new();
    let mut order = Vec::new();
    for (name, schema) in value.read_fields() {
        properties.insert(name.clone(), Json::of(&convert(&schema, root, gaps, depth + 1)?));
        order.push(name);
    }
    out.insert("properties", Json::of(&properties));
    out.insert("propertyOrdering", Json::of(&order));
    Ok(())
}

/// Alternatives, of which `null` is said by a word of its own.
fn write_alternatives(
    out: &mut Extra,
    value: &Json,
    root: &Json,
    gaps: &Gaps<'_>,
    depth: usize,
) -> Result<(), EncodeError> {
    let all: Vec<Json> = value.read().unwrap_or_default();
    let is_null = |schema: &&Json| schema.kind().as_deref() == Some("null");
    if all.iter().any(|schema| is_null(&schema)) {
        out.insert("nullable", Json::of(&true));
    }
    let real: Vec<&Json> = all.iter().filter(|schema| !is_null(schema)).collect();
    match real.as_slice() {
        [one] => {
            for (name, value) in convert(one, root, gaps, depth + 1)?.iter() {
                out.insert(name, value.clone());
            }
        }
        many => {
            let many =
                many.iter().map(|schema| convert(schema, root, gaps, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            out.insert("anyOf", Json::of(&many));
        }
    }
    Ok(())
}

/// What a reference within the schema points at.
fn resolve(reference: &Json, root: &Json) -> Option<Json> {
    let reference: String = reference.read().ok()?;
    let mut at = root.clone();
    for step in reference.strip_prefix('#')?.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        at = at.read_fields().into_iter().find(|(name, _)| *name == step)?.1;
    }
    Some(at)
}

/// A value as the text that enums are made of there.
fn as_text(value: &Json) -> String {
    let raw: &RawValue = value.raw();
    value.read::<String>().unwrap_or_else(|_| raw.get().to_owned())
}
