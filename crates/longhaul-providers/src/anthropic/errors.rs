//! Errors as Anthropic writes them: `{"type":"error","error":{"type","message","details"},"request_id"}`.

use serde::Deserialize;

use crate::error::{ErrorCode, ProviderError, VendorError};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Outer {
    error: Option<Inner>,
    request_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    error_code: Option<String>,
    code: Option<String>,
}

/// Takes an error out of a body or an event; what is no such thing says nothing.
pub(super) fn vendor_error(body: &[u8]) -> VendorError {
    let outer: Outer = serde_json::from_slice(body).unwrap_or_default();
    let inner = outer.error.unwrap_or_default();
    VendorError {
        kind: inner.kind,
        code: inner.details.and_then(|details| details.error_code.or(details.code)),
        message: inner.message,
        request_id: outer.request_id,
        ..VendorError::default()
    }
}

/// An answer that makes no sense.
pub(super) fn malformed(what: &str) -> ProviderError {
    ProviderError::new(ErrorCode::MalformedResponse, format!("the provider's answer makes no sense: {what}"))
}
