//! A small HTTP client for tests: JSON in and out, and an honest word about calls that got no answer.
//!
//! A crash test must know whether a request without an answer may have had an effect. [`CallError::NotSent`] says that
//! no connection came about, so it had none; [`CallError::Unknown`] says that nobody knows.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::Duration;

/// Longest wait for an answer unless a call says otherwise; above the longest wait that the API offers (60 s).
const PATIENCE: Duration = Duration::from_secs(75);

/// Speaks to one server, with one credential. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    key: Option<String>,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum CallError {
    /// The request was never sent: it certainly had no effect.
    NotSent(String),
    /// The request, or a part of it, was sent: nobody knows what became of it.
    Unknown(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(reason) => write!(f, "not sent: {reason}"),
            Self::Unknown(reason) => write!(f, "outcome unknown: {reason}"),
        }
    }
}

impl std::error::Error for CallError {}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as served.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; `null` when it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty when it is absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(2_000).collect();
        write!(f, "{} {} {shown}", self.status, self.header("content-type"))
    }
}

impl Client {
    /// A client without a credential. `base` is like `http://127.0.0.1:8080`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Self { base: base.trim_end_matches('/').to_owned(), key: None, pool }
    }

    /// The same client with a credential, sent as a bearer token.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same client without a credential.
    #[must_use]
    pub fn without_key(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// Starts a request; nothing is sent before [`Call::send`].
    pub fn call(&self, method: Method, path: &str) -> Call<'_> {
        let uri = if path.starts_with("http://") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut call = Call { client: self, method, uri, headers: Vec::new(), body: Bytes::new(), patience: PATIENCE };
        if let Some(key) = &self.key {
            call = call.header("authorization", &format!("Bearer {key}"));
        }
        call
    }

    /// Starts a `GET`.
    pub fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// Starts a `POST`.
    pub fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, path)
    }

    /// Starts a `DELETE`.
    pub fn delete(&self, path: &str) -> Call<'_> {
        self.call(Method::DELETE, path)
    }
}

/// A request in the making.
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Call<'c> {
    client: &'c Client,
    method: Method,
    uri: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    patience: Duration,
}

impl Call<'_> {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends `body` as JSON.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sends `body` as it is, under this content type.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Sends `parts` as `multipart/form-data`.
    pub fn multipart(self, parts: &[Part<'_>]) -> Self {
        let (content_type, body) = encode_multipart(parts);
        self.body(&content_type, body)
    }

    /// Gives up after `patience`.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends the request and reads the whole answer.
    ///
    /// # Errors
    /// When there is no whole answer in time; says whether the request may have had an effect.
    pub async fn send(self) -> Result<Reply, CallError> {
        let mut request = Request::builder().method(self.method).uri(self.uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).map_err(|e| CallError::NotSent(e.to_string()))?;
        let exchange = async {
            let response = self.client.pool.request(request).await.map_err(|e| {
                let reason = chain(&e);
                if e.is_connect() { CallError::NotSent(reason) } else { CallError::Unknown(reason) }
            })?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|e| CallError::Unknown(chain(&e)))?.to_bytes();
            Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
        };
        match tokio::time::timeout(self.patience, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Unknown(format!("no answer within {:?}", self.patience))),
        }
    }
}

/// One part of a form.
#[derive(Clone, Copy, Debug)]
pub struct Part<'p> {
    /// The field's name.
    pub name: &'p str,
    /// The file's name, for a file.
    pub file_name: Option<&'p str>,
    /// The content type, if one is sent.
    pub content_type: Option<&'p str>,
    /// The content.
    pub content: &'p [u8],
}

impl<'p> Part<'p> {
    /// A file, in the field `file`.
    #[must_use]
    pub fn file(file_name: &'p str, content_type: &'p str, content: &'p [u8]) -> Self {
        Self { name: "file", file_name: Some(file_name), content_type: Some(content_type), content }
    }
}

fn encode_multipart(parts: &[Part<'_>]) -> (String, Bytes) {
    const BOUNDARY: &str = "----longhaul-testkit-7f3a9c51e0b24d68";
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{}\"", part.name).as_bytes(),
        );
        if let Some(file_name) = part.file_name {
            body.extend_from_slice(format!("; filename=\"{file_name}\"").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        if let Some(content_type) = part.content_type {
            body.extend_from_slice(format!("content-type: {content_type}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), Bytes::from(body))
}

/// Whether this status says that a submission certainly had no effect.
#[must_use]
pub fn refuses(status: u16) -> bool {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    code.is_client_error() || matches!(code, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
