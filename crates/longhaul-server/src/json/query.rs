//! Query parameters, with every unknown and every bad one named.
//!
//! Text is read by the parameters' own schemas: `limit=10` is a number because the parameter is. A parameter that is
//! an object takes `name.key=value`, once per key; one that is an array takes `a,b` or the parameter repeated.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, openapi::path::ParameterIn};

use super::{
    schema::CompiledSchema,
    sentence::unknown_field,
    typed::{pointer_of, predicate},
};
use crate::problem::{Code, FieldError, Problem};

/// The query parameters of a request. `T` should deny unknown fields.
#[derive(Debug, Clone, Copy)]
pub struct ApiQuery<T>(pub T);

impl<T, S> FromRequestParts<S> for ApiQuery<T>
where
    T: DeserializeOwned + IntoParams,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse_query<T: DeserializeOwned + IntoParams>(query: &str) -> Result<T, Problem> {
    // Flat parameters need no schema; nearly every query is of that kind.
    if let Ok(value) = serde_urlencoded::from_str(query) {
        return Ok(value);
    }
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
        .map_err(|error| Problem::new(Code::MalformedRequest, format!("The query string cannot be read: {error}.")))?;
    let parameters = Parameters::of::<T>();
    let mut findings = Reading::default();
    for (name, text) in &pairs {
        parameters.read(name, text, &mut findings);
    }
    let Reading { values, mut errors, unknown } = findings;
    let values = Value::Object(values);
    if errors.is_empty() || unknown == errors.len() {
        let schema = CompiledSchema::compile(&parameters.schema());
        let broken = schema.map(|schema| schema.errors(&values, "")).unwrap_or_default();
        errors.extend(broken.into_iter().map(|error| FieldError::new(as_parameter(&error.pointer), error.message)));
    }
    if !errors.is_empty() {
        let code = if unknown == errors.len() { Code::UnknownField } else { Code::InvalidRequest };
        return Err(Problem::invalid(code, errors));
    }
    serde_path_to_error::deserialize(values).map_err(|error| {
        let pointer = as_parameter(&pointer_of(error.path()));
        Problem::invalid_field(pointer, predicate(&error.inner().to_string()))
    })
}

#[derive(Default)]
struct Reading {
    values: Map<String, Value>,
    errors: Vec<FieldError>,
    unknown: usize,
}

/// `/metadata/k` as `?metadata.k`.
fn as_parameter(pointer: &str) -> String {
    format!("?{}", pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~"))
}

/// What the type says about its parameters.
struct Parameters {
    schemas: Map<String, Value>,
    required: Vec<String>,
}

impl Parameters {
    fn of<T: IntoParams>() -> Self {
        let mut schemas = Map::new();
        let mut required = Vec::new();
        for parameter in T::into_params(|| Some(ParameterIn::Query)) {
            if matches!(parameter.required, utoipa::openapi::Required::True) {
                required.push(parameter.name.clone());
            }
            let schema = parameter.schema.and_then(|schema| serde_json::to_value(schema).ok());
            schemas.insert(parameter.name, schema.unwrap_or_else(|| json!({})));
        }
        Self { schemas, required }
    }

    fn schema(&self) -> Value {
        json!({ "type": "object", "properties": self.schemas, "required": self.required })
    }

    fn read(&self, name: &str, text: &str, reading: &mut Reading) {
        if let Some(schema) = self.schemas.get(name) {
            if is(schema, "array") {
                let items = text.split(',').map(|item| typed(schema.get("items").unwrap_or(&Value::Null), item));
                let list = reading.values.entry(name).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.extend(items);
                }
            } else if reading.values.contains_key(name) {
                reading.errors.push(FieldError::new(format!("?{name}"), "is given twice"));
            } else if is(schema, "object") {
                let message = format!("takes its keys one by one, as {name}.key=value");
                reading.errors.push(FieldError::new(format!("?{name}"), message));
            } else {
                reading.values.insert(name.to_owned(), typed(schema, text));
            }
            return;
        }
        if let Some((object, key)) = name.split_once('.')
            && self.schemas.get(object).is_some_and(|schema| is(schema, "object"))
        {
            let members = reading.values.entry(object).or_insert_with(|| json!({}));
            if let Some(members) = members.as_object_mut()
                && members.insert(key.to_owned(), Value::String(text.to_owned())).is_some()
            {
                reading.errors.push(FieldError::new(format!("?{name}"), "is given twice"));
            }
            return;
        }
        let known: Vec<String> = self.schemas.keys().cloned().collect();
        let message = unknown_field(name, &known).replace("a known field", "a known parameter");
        reading.errors.push(FieldError::new(format!("?{name}"), message));
        reading.unknown += 1;
    }
}

/// Whether the schema's type is, or may be, this one.
fn is(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::String(one) => one == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        _ => false,
    }
}

/// The text as its schema wants it; text that does not fit stays text, and the schema says so.
fn typed(schema: &Value, text: &str) -> Value {
    let number = || (is(schema, "integer") || is(schema, "number")).then(|| text.parse::<serde_json::Number>().ok());
    if let Some(Some(number)) = number() {
        return Value::Number(number);
    }
    match text {
        "true" | "false" if is(schema, "boolean") => Value::Bool(text == "true"),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, IntoParams)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read through Debug")]
    struct List {
        /// At most this many.
        #[param(minimum = 1, maximum = 200)]
        limit: Option<u32>,
        status: Option<String>,
        #[serde(default)]
        metadata: BTreeMap<String, String>,
        #[serde(default)]
        tags: Vec<String>,
        newest_first: Option<bool>,
    }

    fn said(query: &str) -> Vec<String> {
        let problem = parse_query::<List>(query).expect_err("a bad query");
        let mut said = vec![problem.code().to_string()];
        said.extend(problem.errors().iter().map(|error| format!("{} {}", error.pointer, error.message)));
        said
    }

    #[test]
    fn flat_nested_and_repeated_parameters_are_read() {
        let empty = parse_query::<List>("").expect("nothing asked");
        assert_eq!((empty.limit, empty.tags.len()), (None, 0));
        let list =
            parse_query::<List>("limit=20&metadata.team=red&metadata.a.b=c%20d&tags=x,y&tags=z&newest_first=true");
        insta::assert_debug_snapshot!(list.expect("a good query"));
    }

    #[test]
    fn every_bad_parameter_is_named() {
        let said = [
            said("limt=5&colour=red"),
            said("limit=ten&newest_first=perhaps"),
            said("limit=5&limit=6"),
            said("limit=1.5"),
            said("limit=99999999999"),
            said("metadata=x"),
            said("metadata.a=1&metadata.a=2"),
        ];
        insta::assert_debug_snapshot!(said);
    }
}
