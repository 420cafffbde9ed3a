//! HTTP without a network: the parts of a request to send, the parts of a reply that came.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

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
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Names of fields of a request that may be left out where the protocol cannot carry them, though the answer may
    /// then differ (`seed`, `frequency_penalty`).
    pub ignore: std::collections::BTreeSet<String>,
}
