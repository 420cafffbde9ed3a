//! Text into a type; and when that fails, into a list of everything that is wrong with it.

use std::{
    any::TypeId,
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::{
    depth::{MAX_DEPTH, is_deeper_than},
    schema::CompiledSchema,
    syntax::{explain_syntax, without_position},
};
use crate::problem::{Code, FieldError, Problem};

/// Reads JSON text as a `T`.
///
/// # Errors
/// 400 with line and column when the text is not JSON; 422 when it is nested too deep, or with every field named that
/// a `T` cannot take.
pub fn parse_json<T>(text: &[u8]) -> Result<T, Problem>
where
    T: DeserializeOwned + ToSchema + 'static,
{
    parse_json_within(text, MAX_DEPTH)
}

/// As [`parse_json`], with another limit to the nesting.
pub(super) fn parse_json_within<T>(text: &[u8], depth: usize) -> Result<T, Problem>
where
    T: DeserializeOwned + ToSchema + 'static,
{
    if is_deeper_than(text, depth) {
        return Err(Problem::new(
            Code::TooDeep,
            format!("The JSON is nested deeper than {depth} levels of arrays and objects."),
        ));
    }
    serde_json::from_slice(text).map_err(|error| explain_failure::<T>(text, &error))
}

/// Why the text is no `T`. Off the way of good requests, and not inlined into it.
#[cold]
#[inline(never)]
fn explain_failure<T>(text: &[u8], error: &serde_json::Error) -> Problem
where
    T: DeserializeOwned + ToSchema + 'static,
{
    let value: Value = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(syntax) => return Problem::new(Code::MalformedJson, explain_syntax(text, &syntax)),
    };
    let named = schema_of::<T>().map(|schema| schema.findings(&value, "")).unwrap_or_default();
    if !named.errors.is_empty() {
        let all_unknown = named.unknown == named.errors.len();
        let code = if all_unknown { Code::UnknownField } else { Code::InvalidRequest };
        return Problem::invalid(code, named.errors);
    }
    Problem::invalid(Code::InvalidRequest, vec![refusal_of_the_type::<T>(text, error)])
}

/// What the type itself says about text that its schema takes: a field given twice, a number beyond its range.
fn refusal_of_the_type<T: DeserializeOwned>(text: &[u8], error: &serde_json::Error) -> FieldError {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => FieldError::new(pointer_of(error.path()), predicate(&error.inner().to_string())),
        Ok(_) => FieldError::new("", predicate(&error.to_string())),
    }
}

/// The words of a deserializer as the predicate of a sentence.
pub(super) fn predicate(message: &str) -> String {
    format!("cannot be used: {}", without_position(message))
}

pub(super) fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => super::sentence::child(&pointer, key),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// The schema of a type, compiled once per process: a function of the type alone, kept because compiling is slow and
/// whoever sends bad requests can send many. Bounded by the number of request types.
fn schema_of<T: ToSchema + 'static>() -> Option<Arc<CompiledSchema>> {
    static COMPILED: LazyLock<Mutex<HashMap<TypeId, Option<Arc<CompiledSchema>>>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = compiled.entry(TypeId::of::<T>()).or_insert_with(|| {
        let result = CompiledSchema::compile(&schema_document::<T>());
        // The requests are still judged by the type; only the explanation is poorer.
        let report = |error| tracing::error!(%error, type_name = std::any::type_name::<T>(), "schema is not usable");
        result.map_err(report).ok().map(Arc::new)
    });
    entry.clone()
}

/// The schema of a type as a document of its own: the type at the root, what it refers to where OpenAPI has it.
pub(super) fn schema_document<T: ToSchema>() -> Value {
    let mut named = Vec::new();
    T::schemas(&mut named);
    named.push((T::name().into_owned(), <T as PartialSchema>::schema()));
    let schemas: serde_json::Map<String, Value> =
        named.into_iter().filter_map(|(name, schema)| Some((name, serde_json::to_value(schema).ok()?))).collect();
    let mut root = serde_json::to_value(<T as PartialSchema>::schema()).unwrap_or_else(|_| json!({}));
    if let Some(root) = root.as_object_mut() {
        root.insert("components".to_owned(), json!({ "schemas": schemas }));
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_of_a_type_is_compiled_once() {
        let (first, second) = (schema_of::<String>(), schema_of::<String>());
        assert!(Arc::ptr_eq(&first.expect("a schema"), &second.expect("a schema")));
    }
}
