//! The variable parts of a path.

use axum::{
    extract::{FromRequestParts, Path, path::ErrorKind, rejection::PathRejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::problem::{Code, FieldError, Problem};

/// The variable parts of a path; one that cannot be read is named as `:name`.
#[derive(Debug, Clone, Copy)]
pub struct ApiPath<T>(pub T);

impl<T, S> FromRequestParts<S> for ApiPath<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(explain(&rejection)),
        }
    }
}

fn explain(rejection: &PathRejection) -> Problem {
    let PathRejection::FailedToDeserializePathParams(error) = rejection else {
        tracing::error!(%rejection, "a handler asks for path parts that its route does not have");
        return Problem::new(Code::Internal, "The path could not be read.");
    };
    let (name, message) = match error.kind() {
        ErrorKind::ParseErrorAtKey { key, value, expected_type } => {
            (key.as_str(), format!("is {value:?}, which is not {}", type_name(expected_type)))
        }
        ErrorKind::DeserializeError { key, value, message } => (key.as_str(), format!("is {value:?}: {message}")),
        ErrorKind::ParseErrorAtIndex { value, expected_type, .. } | ErrorKind::ParseError { value, expected_type } => {
            ("", format!("is {value:?}, which is not {}", type_name(expected_type)))
        }
        ErrorKind::InvalidUtf8InPathParam { key } => (key.as_str(), "is not UTF-8 after percent-decoding".to_owned()),
        ErrorKind::Message(message) => ("", format!("cannot be used: {message}")),
        other => {
            tracing::error!(error = %other, "a handler cannot take the parts of its path");
            return Problem::new(Code::Internal, "The path could not be read.");
        }
    };
    let pointer = if name.is_empty() { ":path".to_owned() } else { format!(":{name}") };
    Problem::invalid(Code::InvalidRequest, vec![FieldError::new(pointer, message)])
}

fn type_name(rust: &str) -> &str {
    match rust {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" => "true or false",
        other => other,
    }
}
