//! Errors as OpenAI and its followers write them.
//!
//! `{"error":{"message","type","param","code"}}` is the rule. vLLM once wrote the inside without the outside, Ollama
//! writes `{"error":"text"}`, Azure's gateway `{"statusCode","message"}`, FastAPI servers `{"detail":…}`, llama.cpp a
//! number as the code, Mistral `{"object":"error","message":…}`.

use serde::Deserialize;

use crate::error::{ErrorCode, ProviderError, VendorError, sort};
use crate::json::Json;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Inner {
    message: Option<Json>,
    #[serde(rename = "type")]
    kind: Option<Json>,
    code: Option<Json>,
    param: Option<Json>,
    status: Option<Json>,
    #[serde(rename = "innererror")]
    inner_error: Option<Box<Inner>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outer {
    error: Option<Json>,
    message: Option<Json>,
    detail: Option<Json>,
    #[serde(rename = "type")]
    kind: Option<Json>,
    code: Option<Json>,
    param: Option<Json>,
    request_id: Option<Json>,
}

/// Takes an error out of a body; a body that is no such thing says nothing.
pub(crate) fn vendor_error(body: &[u8]) -> VendorError {
    match serde_json::from_slice::<Outer>(body) {
        Ok(outer) => from_outer(outer),
        // Pages of proxies: their text is no message for anyone, their status says enough.
        Err(_) => VendorError::default(),
    }
}

fn from_outer(outer: Outer) -> VendorError {
    let request_id = outer.request_id.as_ref().and_then(text);
    match outer.error {
        Some(error) => VendorError { request_id, ..from_error(&error) },
        None => VendorError {
            kind: outer.kind.as_ref().and_then(text),
            code: outer.code.as_ref().and_then(text),
            message: outer.message.or(outer.detail).as_ref().and_then(text),
            param: outer.param.as_ref().and_then(text),
            request_id,
            ..VendorError::default()
        },
    }
}

/// The inside of `error`: an object, or a text.
pub(crate) fn from_error(error: &Json) -> VendorError {
    let Ok(inner) = error.read::<Inner>() else {
        return VendorError { message: text(error), ..VendorError::default() };
    };
    // Azure keeps the word for a content filter one level deeper.
    let deeper = inner.inner_error.and_then(|inner| inner.code).as_ref().and_then(text);
    VendorError {
        kind: inner.kind.or(inner.status).as_ref().and_then(text),
        code: inner.code.as_ref().and_then(text).or(deeper),
        message: inner.message.as_ref().and_then(text),
        param: inner.param.as_ref().and_then(text),
        ..VendorError::default()
    }
}

/// An error inside a stream or a good status.
pub(crate) fn stream_error(error: &Json) -> ProviderError {
    sort(None, from_error(error))
}

/// A stream that makes no sense.
pub(crate) fn malformed(what: &str) -> ProviderError {
    ProviderError::new(ErrorCode::MalformedResponse, format!("the provider's answer makes no sense: {what}"))
}

/// The text of a JSON text, or the JSON of anything else that says something.
fn text(value: &Json) -> Option<String> {
    match value.as_str() {
        "null" | "\"\"" => None,
        text if text.starts_with('"') => value.read().ok(),
        other => Some(other.to_owned()),
    }
}
