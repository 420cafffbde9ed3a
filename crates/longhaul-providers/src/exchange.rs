//! HTTP without a network: the parts of a request to send, the parts of a reply that came.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::protocol::{Delivery, SettingsError};

/// A request for the gateway to send.
///
/// Its headers hold the provider's key, marked sensitive; `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// Path and query, to be put behind the provider's base URL as it is. Begins with `/`.
    pub path: String,
    /// All headers but those that the client of HTTP owns (`host`, `content-length`).
    pub headers: HeaderMap,
    /// The body, cheap to clone for another try.
    pub body: Bytes,
}

/// A whole reply.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The head.
    pub head: Head<'a>,
    /// The body, already decompressed and bounded by whoever read it.
    pub body: &'a [u8],
}

/// The head of a reply.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// When it came: dates in headers are read against it.
    pub received_at: SystemTime,
}

impl<'a> Head<'a> {
    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A secret of a provider. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret. White space around it (a file's last line) is no part of it.
    pub fn new(secret: impl AsRef<str>) -> Self {
        Self(secret.as_ref().trim().to_owned())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// What every provider has in common: who we are there, and what may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The key, if one is needed.
    pub api_key: Option<Secret>,
    /// Headers that go with every request (`openai-organization`, a proxy's own). They go over ours of the same name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Names of fields of a request that may be left out where the protocol cannot carry them, though the answer may
    /// then differ (`seed`, `frequency_penalty`).
    pub ignore: std::collections::BTreeSet<String>,
}

impl Access {
    /// The headers of every request: the key under `name` behind `scheme` (`Bearer `), then the provider's own.
    pub(crate) fn headers(&self, name: HeaderName, scheme: &str) -> Result<HeaderMap, SettingsError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = self.api_key.as_ref().filter(|key| !key.expose().is_empty()) {
            let mut value = HeaderValue::from_str(&format!("{scheme}{}", key.expose()))
                .map_err(|_| SettingsError("the API key has characters that no HTTP header can hold".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        Ok(headers)
    }
}

impl HttpRequest {
    /// A request with a JSON body.
    pub(crate) fn post(path: String, common: &HeaderMap, body: Vec<u8>, delivery: Delivery) -> Self {
        let mut headers = common.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static(match delivery {
                Delivery::Whole => "application/json",
                Delivery::Streamed => "text/event-stream",
            }),
        );
        Self { method: Method::POST, path, headers, body: body.into() }
    }

    /// A request without a body.
    pub(crate) fn get(path: impl Into<String>, common: &HeaderMap) -> Self {
        let mut headers = common.clone();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Self { method: Method::GET, path: path.into(), headers, body: Bytes::new() }
    }
}

/// One segment of a path: whatever could mean something to a URL is escaped.
pub(crate) fn path_segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' | b':' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    // A segment of dots alone would climb.
    if out.bytes().all(|byte| byte == b'.') { out.replace('.', "%2E") } else { out }
}

/// Reads the JSON of a good reply. What is no such JSON is the provider's fault, told without quoting the body.
pub(crate) fn read_json<'a, T: serde::Deserialize<'a>>(reply: Reply<'a>) -> Result<T, crate::ProviderError> {
    use crate::error::{ErrorCode, ProviderError};
    serde_json::from_slice(reply.body).map_err(|error| {
        let content_type = reply.head.header("content-type").unwrap_or("no content type");
        let what = crate::error::bounded_message(&format!(
            "the provider's answer is not what its protocol says ({content_type}, {} bytes): {error}",
            reply.body.len()
        ));
        let mut error = ProviderError::new(ErrorCode::MalformedResponse, what);
        error.http_status = Some(reply.head.status.as_u16());
        error.request_id = crate::error::request_id(reply.head);
        error
    })
}
