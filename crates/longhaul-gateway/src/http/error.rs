//! How a call fails before it has an answer to judge.

use std::fmt;
use std::time::Duration;

use longhaul_providers::{ErrorCode, ProviderError};

/// What went wrong on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HttpError {
    /// The name cannot be resolved, or nobody listens.
    Connect(String),
    /// TLS could not be agreed on, or the certificate is not good.
    Tls(String),
    /// All connections that there may be were in use, for as long as one is waited for.
    NoPlace { connections: usize },
    /// Not connected in time.
    ConnectTimeout(Duration),
    /// The connection ended before the answer did. `answered`: after its head had come.
    Cut { answered: bool, message: String },
    /// What came is not HTTP.
    NotHttp(String),
    /// The answer is longer than it may be.
    TooLarge { limit_bytes: usize },
    /// The request cannot be written: a header or a path with bytes that HTTP does not allow.
    BadRequest(String),
}

impl HttpError {
    /// Whether the provider may have received the request, and so may have done (and charged) the work.
    pub(crate) fn may_have_arrived(&self) -> bool {
        match self {
            Self::NoPlace { .. } | Self::Connect(_) | Self::Tls(_) | Self::ConnectTimeout(_) | Self::BadRequest(_) => {
                false
            }
            Self::Cut { .. } | Self::NotHttp(_) | Self::TooLarge { .. } => true,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(message) => write!(f, "cannot connect: {message}"),
            Self::Tls(message) => write!(f, "cannot agree on TLS: {message}"),
            Self::NoPlace { connections } => write!(f, "all {connections} connections are in use"),
            Self::ConnectTimeout(limit) => write!(f, "no connection within {limit:?}"),
            Self::Cut { answered: false, message } => write!(f, "the connection ended without an answer: {message}"),
            Self::Cut { answered: true, message } => write!(f, "the connection ended within the answer: {message}"),
            Self::NotHttp(message) => write!(f, "the answer is not HTTP: {message}"),
            Self::TooLarge { limit_bytes } => write!(f, "the answer is longer than {limit_bytes} bytes"),
            Self::BadRequest(message) => write!(f, "the request cannot be sent: {message}"),
        }
    }
}

impl std::error::Error for HttpError {}

impl From<HttpError> for ProviderError {
    fn from(error: HttpError) -> Self {
        let code = match error {
            HttpError::NoPlace { .. } | HttpError::Connect(_) | HttpError::Tls(_) | HttpError::ConnectTimeout(_) => {
                ErrorCode::ConnectFailed
            }
            HttpError::Cut { .. } => ErrorCode::ConnectionLost,
            HttpError::NotHttp(_) => ErrorCode::MalformedResponse,
            HttpError::TooLarge { .. } => ErrorCode::ResponseTooLarge,
            HttpError::BadRequest(_) => ErrorCode::InvalidRequest,
        };
        Self::new(code, error.to_string())
    }
}
