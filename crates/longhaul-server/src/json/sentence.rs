//! Turns the errors of a schema validator into sentences about fields.
//!
//! A sentence is the predicate of a field ("is 500; the most it can be is 100"), so that it reads well after the
//! field's pointer. What no alternative of a choice accepts is explained by the alternative that comes nearest.

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use super::nearest::nearest;
use crate::problem::FieldError;

/// What a validator found, in terms of fields.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<FieldError>,
    /// How many of them merely name a field that is not known.
    pub(super) unknown: usize,
}

/// Explains errors about an instance that stands at the pointer `at`, against the schema they come from.
pub(super) struct Explainer<'a> {
    pub(super) schema: &'a Value,
    pub(super) at: &'a str,
}

impl Explainer<'_> {
    /// Explains one error; a choice or several unknown fields can make more than one finding.
    pub(super) fn explain(&self, error: &ValidationError<'_>, findings: &mut Findings) {
        let pointer = format!("{}{}", self.at, error.instance_path().as_str());
        match error.kind() {
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                findings.errors.push(FieldError::new(child(&pointer, name), "is required"));
            }
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let known = self.known_fields(error);
                for name in unexpected {
                    let message = unknown_field(name, &known);
                    findings.errors.push(FieldError::new(child(&pointer, name), message));
                    findings.unknown += 1;
                }
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.explain_choice(error, context, &pointer, findings);
            }
            Kind::PropertyNames { error: inner } => {
                let name = inner.instance().as_str().unwrap_or_default().to_owned();
                let message = format!("has a name that cannot be used: it {}", self.predicate(inner));
                findings.errors.push(FieldError::new(child(&pointer, &name), message));
            }
            _ => findings.errors.push(FieldError::new(pointer, self.predicate(error))),
        }
    }

    /// None of the alternatives fits. The one that failed latest in the instance is the one that was meant, unless
    /// all of them failed at the very thing itself.
    fn explain_choice(
        &self,
        error: &ValidationError<'_>,
        alternatives: &[Vec<ValidationError<'static>>],
        pointer: &str,
        findings: &mut Findings,
    ) {
        let here = error.instance_path().as_str();
        let wrong_type = |errors: &&Vec<ValidationError<'static>>| {
            errors.iter().any(|e| matches!(e.kind(), Kind::Type { .. }) && e.instance_path().as_str() == here)
        };
        let meant: Vec<_> = alternatives.iter().filter(|errors| !errors.is_empty() && !wrong_type(errors)).collect();
        if meant.is_empty() {
            let mut wanted: Vec<String> = Vec::new();
            for kind in alternatives.iter().flatten().filter_map(|error| type_kind(error)) {
                if !wanted.contains(&kind) {
                    wanted.push(kind);
                }
            }
            let message = match wanted.is_empty() {
                true => "fits none of the forms that it may have".to_owned(),
                false => format!("must be {}, not {}", or_list(&wanted), described(error.instance())),
            };
            findings.errors.push(FieldError::new(pointer, message));
            return;
        }
        let lacking = lacked_by_all(&meant, here);
        if meant.len() > 1 && !lacking.is_empty() {
            let missing = lacking.iter().map(|name| FieldError::new(child(pointer, name), "is required"));
            findings.errors.extend(missing);
            return;
        }
        let tags: Vec<_> = meant.iter().map(|errors| errors.iter().find(|error| is_tag(error, here))).collect();
        if meant.len() > 1 && tags.iter().all(Option::is_some) {
            // Every alternative wants another word at the same place: the word is what is wrong.
            let words: Vec<String> = tags.iter().flatten().flat_map(|error| options(error)).collect();
            let place = tags[0].map(|error| error.instance_path().as_str().to_owned()).unwrap_or_default();
            let written = tags[0].map(|error| shown(error.instance())).unwrap_or_default();
            let same_place = tags.iter().flatten().all(|error| error.instance_path().as_str() == place);
            if same_place {
                let message = format!("is {written}; it can be {}", or_list(&words));
                findings.errors.push(FieldError::new(format!("{}{place}", self.at), message));
                return;
            }
        }
        let untagged = meant.iter().zip(&tags).filter(|(_, tag)| tag.is_none()).map(|(errors, _)| *errors);
        let best = untagged.min_by_key(|errors| errors.len()).or_else(|| meant.iter().copied().min_by_key(|e| e.len()));
        for error in best.into_iter().flatten() {
            self.explain(error, findings);
        }
    }

    /// The names of the fields that the failing object knows, from the schema's own words.
    fn known_fields(&self, error: &ValidationError<'_>) -> Vec<String> {
        let path = error.schema_path().as_str();
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let mut names = Vec::new();
        if let Some(schema) = self.schema.pointer(parent) {
            self.collect_fields(schema, &mut names, 0);
        }
        names
    }

    fn collect_fields(&self, schema: &Value, names: &mut Vec<String>, depth: usize) {
        if depth > 8 {
            return;
        }
        if let Some(Value::Object(properties)) = schema.get("properties") {
            names.extend(properties.keys().cloned());
        }
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        if let Some(target) = target.and_then(|pointer| self.schema.pointer(pointer)) {
            self.collect_fields(target, names, depth + 1);
        }
        for keyword in ["allOf", "oneOf", "anyOf"] {
            for part in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                self.collect_fields(part, names, depth + 1);
            }
        }
    }

    /// What is wrong with one value, as the predicate of a sentence.
    fn predicate(&self, error: &ValidationError<'_>) -> String {
        let value = error.instance();
        match error.kind() {
            Kind::Type { .. } => {
                let wanted = type_kind(error).unwrap_or_default();
                format!("must be {wanted}, not {}", described(value))
            }
            Kind::Enum { .. } | Kind::Constant { .. } => {
                let options = options(error);
                let hint = value
                    .as_str()
                    .and_then(|written| nearest(written, options.iter().map(|option| option.trim_matches('"'))));
                let hint = hint.map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
                format!("is {}; it can be {}{hint}", shown(value), or_list(&options))
            }
            Kind::Maximum { limit } => format!("is {}; the most it can be is {limit}", shown(value)),
            Kind::Minimum { limit } => format!("is {}; the least it can be is {limit}", shown(value)),
            Kind::ExclusiveMaximum { limit } => format!("is {}; it must be below {limit}", shown(value)),
            Kind::ExclusiveMinimum { limit } => format!("is {}; it must be above {limit}", shown(value)),
            Kind::MultipleOf { multiple_of } => format!("is {}; it must be a multiple of {multiple_of}", shown(value)),
            Kind::MaxLength { limit } => {
                format!("has {} characters; the most it can have is {limit}", characters(value))
            }
            Kind::MinLength { limit: 1 } => "is empty; it needs at least one character".to_owned(),
            Kind::MinLength { limit } => {
                format!("has {} characters; the least it can have is {limit}", characters(value))
            }
            Kind::MaxItems { limit } => format!("has {} items; the most it can have is {limit}", items(value)),
            Kind::MinItems { limit: 1 } => "is empty; it needs at least one item".to_owned(),
            Kind::MinItems { limit } => format!("has {} items; the least it can have is {limit}", items(value)),
            Kind::AdditionalItems { limit } => format!("has more than {limit} items"),
            Kind::MaxProperties { limit } => format!("has {} fields; the most it can have is {limit}", items(value)),
            Kind::MinProperties { limit } => format!("has {} fields; the least it can have is {limit}", items(value)),
            Kind::UniqueItems => "has the same item twice".to_owned(),
            Kind::Format { format } => format!("is {}, which is not {}", shown(value), format_name(format)),
            Kind::Pattern { pattern } => format!("is {}, which does not match the pattern {pattern}", shown(value)),
            Kind::FalseSchema => "is not allowed here".to_owned(),
            Kind::OneOfMultipleValid { .. } => "fits more than one of the forms of which it may have one".to_owned(),
            Kind::Not { .. } => "has a form that is excluded here".to_owned(),
            Kind::Contains => "lacks an item of the required form".to_owned(),
            // Rare keywords of schemas that workers register: the validator's own words.
            _ => format!("cannot be used: {error}"),
        }
    }
}

/// A JSON Pointer to a member.
pub(super) fn child(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The message for a name that is not known, with the nearest known one.
pub(super) fn unknown_field(name: &str, known: &[String]) -> String {
    match nearest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("is not a known field; did you mean `{meant}`?"),
        None if known.is_empty() => "is not a known field; there are none here".to_owned(),
        None if known.len() <= 16 => format!("is not a known field; known here: {}", known.join(", ")),
        None => "is not a known field".to_owned(),
    }
}

/// An error about the word in a field of the object at `here`: the tag by which alternatives are told apart.
fn is_tag(error: &ValidationError<'_>, here: &str) -> bool {
    matches!(error.kind(), Kind::Enum { .. } | Kind::Constant { .. }) && error.instance_path().as_str() != here
}

/// The fields without which the object at `here` fits no alternative: the tag by which they are told apart, first.
fn lacked_by_all(alternatives: &[&Vec<ValidationError<'static>>], here: &str) -> Vec<String> {
    let lacked_by = |errors: &[ValidationError<'static>]| -> Vec<String> {
        let missing = errors.iter().filter(|error| error.instance_path().as_str() == here);
        missing
            .filter_map(|error| match error.kind() {
                Kind::Required { property } => property.as_str().map(str::to_owned),
                _ => None,
            })
            .collect()
    };
    let Some((first, others)) = alternatives.split_first() else { return Vec::new() };
    let mut lacking = lacked_by(first);
    lacking.retain(|name| others.iter().all(|errors| lacked_by(errors).contains(name)));
    lacking
}

fn options(error: &ValidationError<'_>) -> Vec<String> {
    match error.kind() {
        Kind::Enum { options } => options.as_array().into_iter().flatten().map(Value::to_string).collect(),
        Kind::Constant { expected_value } => vec![expected_value.to_string()],
        _ => Vec::new(),
    }
}

fn type_kind(error: &ValidationError<'_>) -> Option<String> {
    match error.kind() {
        Kind::Type { kind: TypeKind::Single(wanted) } => Some(with_article(&wanted.to_string())),
        Kind::Type { kind: TypeKind::Multiple(wanted) } => {
            let mut wanted: Vec<_> = wanted.iter().map(|wanted| with_article(&wanted.to_string())).collect();
            wanted.sort_by_key(|kind| kind == "null");
            Some(or_list(&wanted))
        }
        _ => None,
    }
}

fn with_article(kind: &str) -> String {
    match kind {
        "null" => "null".to_owned(),
        "array" | "object" | "integer" => format!("an {kind}"),
        "boolean" => "true or false".to_owned(),
        _ => format!("a {kind}"),
    }
}

/// A value as "a string", with the value itself where it is short.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => format!("the string {}", shown(value)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A value as JSON, cut short where it is long.
fn shown(value: &Value) -> String {
    const MOST: usize = 48;
    let text = match value {
        Value::Array(_) => return "an array".to_owned(),
        Value::Object(_) => return "an object".to_owned(),
        other => other.to_string(),
    };
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST).chain("…\"".chars()).collect()
}

fn characters(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

fn items(value: &Value) -> usize {
    value.as_array().map(Vec::len).or_else(|| value.as_object().map(serde_json::Map::len)).unwrap_or(0)
}

fn format_name(format: &str) -> &str {
    match format {
        "date-time" => "a time such as 2031-01-31T12:00:00Z",
        "date" => "a date such as 2031-01-31",
        "time" => "a time of day such as 12:00:00Z",
        "uuid" => "a UUID",
        "uri" => "a URI",
        "email" => "an e-mail address",
        "ipv4" => "an IPv4 address",
        "ipv6" => "an IPv6 address",
        other => other,
    }
}

/// "a", "a or b", "a, b or c".
fn or_list(items: &[String]) -> String {
    match items {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}
