//! The command line's view of a server: requests, retries, errors.
//!
//! A request is repeated when that can do no harm: a read always, a write only when it carries an idempotency key or is
//! idempotent by its meaning. It is repeated when the connection could not be made or broke, and when the server says
//! 503. The key travels in the `Authorization` header and is shown nowhere.

mod problem;
mod retry;
mod stream;
pub mod types;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

pub use problem::{FieldError, Problem};
pub use retry::Retries;
pub use stream::{EventStream, StreamedEvent};

use crate::config::Environment;
use crate::exit::UsageError;

/// Where the server is when nothing else is said.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// The largest answer that is read, in bytes: a result may be large, but not without end.
const MAX_ANSWER_BYTES: usize = 512 << 20;

/// How long an ordinary answer may take; a waiting request adds its own time.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// Why, in the words of the operating system.
        reason: String,
    },
    /// The server refused: 4xx.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server failed or is overloaded: 5xx.
    #[error("{0}")]
    Broken(Box<Problem>),
    /// The answer is not one of the contract.
    #[error("the answer of {url} is not understood: {reason}")]
    NotUnderstood {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    path: Vec<String>,
    query: Vec<(String, String)>,
    body: Body,
    idempotency_key: Option<String>,
    if_none_match: Option<String>,
    longer: Duration,
    repeatable: bool,
}

/// What a request carries.
#[derive(Debug, Clone)]
enum Body {
    None,
    Json(String),
    /// A file and, beside it, options as JSON.
    Upload(PathBuf, Option<String>),
}

impl Request {
    fn new(method: Method, path: &[&str]) -> Self {
        let repeatable = method == Method::GET || method == Method::DELETE;
        Self {
            method,
            path: path.iter().map(|&part| part.to_owned()).collect(),
            query: Vec::new(),
            body: Body::None,
            idempotency_key: None,
            if_none_match: None,
            longer: Duration::ZERO,
            repeatable,
        }
    }

    /// A read. The path is given in segments, which are escaped.
    #[must_use]
    pub fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    /// A write.
    #[must_use]
    pub fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }

    /// A deletion.
    #[must_use]
    pub fn delete(path: &[&str]) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(self, name: &'static str, value: impl Into<String>) -> Self {
        self.query_named(name.to_owned(), value.into())
    }

    /// Adds a query parameter whose name is not known beforehand.
    #[must_use]
    pub fn query_named(mut self, name: String, value: String) -> Self {
        self.query.push((name, value));
        self
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub fn query_opt(self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sets the body.
    #[must_use]
    pub fn json(mut self, body: &impl serde::Serialize) -> Self {
        // Our own request types are maps with text keys, which always serialise.
        self.body = Body::Json(serde_json::to_string(body).unwrap_or_default());
        self
    }

    /// Sends a file as the multipart part `file`, with `options` as JSON beside it.
    #[must_use]
    pub fn upload(mut self, file: PathBuf, options: Option<String>) -> Self {
        self.body = Body::Upload(file, options);
        self.longer = Duration::from_secs(3_600);
        self
    }

    /// Makes the server answer a repetition as it answered the first, so that the request may be repeated.
    #[must_use]
    pub fn idempotent(mut self, key: String) -> Self {
        self.idempotency_key = Some(key);
        self.repeatable = true;
        self
    }

    /// Says that doing it twice is the same as doing it once.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Asks the server to answer when something changed from this version, or when `wait_s` seconds have passed.
    #[must_use]
    pub fn wait(mut self, wait_s: u64, known: Option<String>) -> Self {
        self.longer = Duration::from_secs(wait_s);
        self.if_none_match = known;
        self.query("wait", wait_s.to_string())
    }
}

/// An answer that is neither 4xx nor 5xx.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    url: String,
}

impl Answer {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as one of the types of the contract.
    ///
    /// # Errors
    /// [`ClientError::NotUnderstood`].
    pub fn read<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ClientError::NotUnderstood { url: self.url.clone(), reason: error.to_string() })
    }
}

/// A server to talk to.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<HeaderValue>,
    retries: Retries,
}

impl Client {
    /// A client for the server at `url`, with the key of `LONGHAUL_API_KEY` if there is one.
    ///
    /// # Errors
    /// [`UsageError`] when the address or the key cannot be used.
    pub fn new(url: &str, environment: &Environment, retries: Retries) -> anyhow::Result<Self> {
        let base = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| UsageError(format!("`{url}` is not the address of a server, such as {DEFAULT_URL}")))?;
        let key = environment.get("LONGHAUL_API_KEY").map(bearer).transpose()?;
        // It is already installed when several clients are made; either way there is one now.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("longhaul/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none());
        if base.scheme() == "http" {
            // A machine without root certificates can still speak to its own server.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            // A proxy of the surroundings cannot reach this machine's own address.
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build()?, base, key, retries })
    }

    /// The server's address as a person wrote it.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A key that no other submission has.
    #[must_use]
    pub fn new_idempotency_key(&self) -> String {
        self.retries.idempotency_key()
    }

    /// Waits before something is tried again, for the given time in a row.
    pub async fn pause(&self, failures: u32) {
        self.retries.pause(failures, None).await;
    }

    /// Sends a request, again where that is safe.
    ///
    /// # Errors
    /// [`ClientError`] when the last try failed; [`UsageError`] when a file to upload cannot be read.
    pub async fn send(&self, request: Request) -> anyhow::Result<Answer> {
        let url = self.address(&request);
        let mut tries_left = self.retries.tries.max(1);
        let mut attempt = 0;
        loop {
            attempt += 1;
            tries_left -= 1;
            let outcome = self.send_once(&request, &url).await?;
            let pause = match &outcome {
                Err(ClientError::Unreachable { .. }) => Some(None),
                Err(ClientError::Broken(problem)) if problem.status == 503 => Some(problem.retry_after),
                _ => None,
            };
            match pause {
                Some(told) if tries_left > 0 && request.repeatable => self.retries.pause(attempt, told).await,
                _ => return Ok(outcome?),
            }
        }
    }

    fn address(&self, request: &Request) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&request.path);
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        url
    }

    async fn send_once(&self, request: &Request, url: &Url) -> anyhow::Result<Result<Answer, ClientError>> {
        let mut builder =
            self.http.request(request.method.clone(), url.clone()).timeout(ANSWER_WITHIN + request.longer);
        if let Some(key) = &self.key {
            builder = builder.header(header::AUTHORIZATION, key.clone());
        }
        if let Some(key) = &request.idempotency_key {
            let value = HeaderValue::from_str(key)
                .map_err(|_| UsageError("--idempotency-key must be visible ASCII characters".to_owned()))?;
            builder = builder.header(HeaderName::from_static("idempotency-key"), value);
        }
        if let Some(known) = &request.if_none_match {
            builder = builder.header(header::IF_NONE_MATCH, known);
        }
        builder = match &request.body {
            Body::None => builder,
            Body::Json(text) => builder.header(header::CONTENT_TYPE, "application/json").body(text.clone()),
            Body::Upload(file, options) => builder.multipart(upload_form(file, options.as_deref()).await?),
        };
        Ok(self.answer(builder, url).await)
    }

    async fn answer(&self, builder: reqwest::RequestBuilder, url: &Url) -> Result<Answer, ClientError> {
        let unreachable =
            |error: reqwest::Error| ClientError::Unreachable { url: self.url().to_owned(), reason: root_cause(&error) };
        let mut response = builder.send().await.map_err(unreachable)?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let reason = format!("it is longer than {} MiB", MAX_ANSWER_BYTES >> 20);
                return Err(ClientError::NotUnderstood { url: url.to_string(), reason });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_client_error() || status.is_server_error() {
            let problem = Box::new(Problem::read(status, &headers, &body));
            return Err(if status.is_client_error() {
                ClientError::Refused(problem)
            } else {
                ClientError::Broken(problem)
            });
        }
        Ok(Answer { status, headers, body: body.into(), url: url.to_string() })
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The `Authorization` header, marked so that no log shows it.
fn bearer(key: &str) -> Result<HeaderValue, UsageError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
        .map_err(|_| UsageError("LONGHAUL_API_KEY has characters that no key has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The form of an upload. The file is opened for each try and streamed, never held.
async fn upload_form(file: &std::path::Path, options: Option<&str>) -> anyhow::Result<reqwest::multipart::Form> {
    let cannot = |error: std::io::Error| UsageError(format!("cannot read {}: {error}", file.display()));
    let mut form = reqwest::multipart::Form::new();
    if let Some(options) = options {
        form = form.part("options", reqwest::multipart::Part::text(options.to_owned()).mime_str("application/json")?);
    }
    let opened = tokio::fs::File::open(file).await.map_err(cannot)?;
    let metadata = opened.metadata().await.map_err(cannot)?;
    if !metadata.is_file() {
        return Err(UsageError(format!("{} is not a file", file.display())).into());
    }
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let part = reqwest::multipart::Part::stream_with_length(opened, metadata.len()).file_name(name);
    Ok(form.part("file", part.mime_str(media_type(file))?))
}

/// The media type that goes with a file's name.
fn media_type(file: &std::path::Path) -> &'static str {
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("pdf") => "application/pdf",
        Some("html" | "htm") => "text/html",
        Some("md" | "markdown") => "text/markdown",
        Some("txt" | "text") => "text/plain",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("tif" | "tiff") => "image/tiff",
        _ => "application/octet-stream",
    }
}

/// The innermost cause of an error, which is the one that means something to a person.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
