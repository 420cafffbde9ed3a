//! JSON Schemas, compiled once, that explain what they refuse.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::{
    references::{check_references, with_steps},
    sentence::{Explainer, Findings},
    steps::{self, Step, bounded},
};
use crate::problem::FieldError;

/// Errors listed in one answer. What is wrong after the first hundred places is found after they are mended.
pub const MAX_FIELD_ERRORS: usize = 100;

/// A schema ready to check instances. Compiling costs far more than checking, so the owner of a schema keeps this.
pub struct CompiledSchema {
    source: Value,
    validator: Validator,
}

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable JSON Schema: at {pointer:?}: {reason}")]
pub struct SchemaError {
    /// Where in the schema.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

impl CompiledSchema {
    /// Compiles a schema of draft 2020-12 (or the draft that its `$schema` names).
    ///
    /// Nothing is fetched: a reference must lead to a place within the schema. Patterns run on an engine whose time
    /// is linear in the text; look-around and back-references are refused. A check that takes very many steps for the size
    /// of what is checked is given up, and counts as not fitting. So a schema from outside cannot stall a check.
    ///
    /// # Errors
    /// [`SchemaError`] names the place in the schema.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        check_references(schema)?;
        let options = jsonschema::options()
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES));
        let counting = options.clone().with_keyword(steps::KEYWORD, |_, _, _| Ok(Box::new(Step)));
        let validator = counting.build(&with_steps(schema)).map_err(|error| {
            // What is wrong is told by the schema as it was given.
            let error = options.build(schema).err().unwrap_or(error);
            SchemaError { pointer: error.instance_path().as_str().to_owned(), reason: error.to_string() }
        })?;
        Ok(Self { source: schema.clone(), validator })
    }

    /// Whether the instance fits.
    pub fn is_valid(&self, instance: &Value) -> bool {
        bounded(instance, || self.validator.is_valid(instance)).unwrap_or(false)
    }

    /// What does not fit, at most [`MAX_FIELD_ERRORS`]; pointers begin with `at`, where the instance stands in the
    /// request.
    pub fn errors(&self, instance: &Value, at: &str) -> Vec<FieldError> {
        self.findings(instance, at).errors
    }

    /// The schema as it was given.
    pub fn source(&self) -> &Value {
        &self.source
    }

    pub(super) fn findings(&self, instance: &Value, at: &str) -> Findings {
        let explainer = Explainer { schema: &self.source, at };
        let explained = bounded(instance, || {
            let mut findings = Findings::default();
            for error in self.validator.iter_errors(instance) {
                explainer.explain(&error, &mut findings);
                if findings.errors.len() >= MAX_FIELD_ERRORS {
                    break;
                }
            }
            findings.errors.truncate(MAX_FIELD_ERRORS);
            findings
        });
        explained.unwrap_or_else(|| {
            let message =
                "takes too many steps to be checked against its schema, whose references ask the same many times";
            Findings { errors: vec![FieldError::new(at, message)], ..Findings::default() }
        })
    }
}

impl fmt::Debug for CompiledSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledSchema").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Explains what in `instance`, which stands at the pointer `at`, does not fit `schema`; empty when all does. For
/// schemas that are used once; others are kept as a [`CompiledSchema`].
///
/// # Errors
/// [`SchemaError`] when the schema itself cannot be used.
pub fn explain(schema: &Value, instance: &Value, at: &str) -> Result<Vec<FieldError>, SchemaError> {
    Ok(CompiledSchema::compile(schema)?.errors(instance, at))
}

/// Memory for one compiled pattern.
const PATTERN_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: &Value, instance: &Value) -> Vec<String> {
        let errors = explain(schema, instance, "/input").expect("a usable schema");
        errors.into_iter().map(|error| format!("{} {}", error.pointer, error.message)).collect()
    }

    #[test]
    fn pointers_begin_where_the_instance_stands_in_the_request() {
        let schema = json!({
            "type": "object",
            "properties": { "text": { "type": "string", "minLength": 1 }, "labels": { "$ref": "#/$defs/labels" } },
            "required": ["text"],
            "additionalProperties": false,
            "$defs": { "labels": { "type": "array", "items": { "type": "string", "pattern": "^[a-z]+$" },
                "minItems": 1, "uniqueItems": true } }
        });
        insta::assert_debug_snapshot!([
            said(&schema, &json!({ "text": "", "labels": [] })),
            said(&schema, &json!({ "txt": "a", "labels": ["a", "B", "a", null] })),
            said(&schema, &json!("text")),
            said(&schema, &json!({ "text": "good" })),
        ]);
    }

    #[test]
    fn unknown_names_are_compared_with_the_names_behind_references() {
        let schema = json!({
            "$ref": "#/$defs/options",
            "$defs": { "options": { "properties": { "language": {}, "summary": {} }, "additionalProperties": false } }
        });
        assert_eq!(
            said(&schema, &json!({ "langauge": "en" })),
            ["/input/langauge is not a known field; did you mean `language`?"]
        );
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_refused_with_its_place() {
        let said = |schema: Value| CompiledSchema::compile(&schema).expect_err("unusable").to_string();
        insta::assert_debug_snapshot!([
            said(json!({ "properties": { "a": { "type": "strng" } } })),
            said(json!({ "properties": { "a": { "pattern": "(" } } })),
            said(json!({ "properties": { "a": { "pattern": "(?=x)" } } })),
            said(json!({ "allOf": [{ "$ref": "#" }] })),
            said(json!({ "$schema": "https://example.com/own-dialect" })),
            said(json!(5)),
        ]);
    }

    #[test]
    fn a_pattern_from_outside_cannot_stall_a_check() {
        let schema = json!({ "pattern": "^(a+)+$" });
        assert_eq!(said(&schema, &json!(format!("{}!", "a".repeat(50_000)))).len(), 1);
    }
}
