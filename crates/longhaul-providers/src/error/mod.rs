//! What goes wrong at a provider, sorted: a closed list of codes, each with the class that the layers act on.
//!
//! The sorting: connect and read errors, timeouts, 408, 409, 425, 429 (unless a budget is spent), 5xx, 529, a cut
//! stream and an error inside a good status may succeed later. A bad key, a malformed request, a refused content never
//! will. 429 says nothing about health, so it has a class of its own.

mod limits;
mod sort;

pub(crate) use limits::with_units;
pub use limits::{RateLimit, RateLimits, retry_after};
pub(crate) use sort::{VendorError, bounded_message, request_id, sort};

use std::time::Duration;

use serde::Serialize;

/// Whose fault an error is, and so what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The request is wrong; the same request fails again, at any provider that reads it alike.
    Caller,
    /// The provider stumbled; the same request may succeed later. Counts against its health.
    Transient,
    /// The provider asks for patience; the same request may succeed when it says. Does not count.
    Throttled,
    /// The provider refuses for good: a bad key, a model that is gone, a spent budget. Another may answer.
    Permanent,
    /// This provider cannot do it; another may.
    Unsupported,
}

impl ErrorClass {
    /// True if the same request to the same provider may succeed later.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Transient | Self::Throttled => true,
            Self::Caller | Self::Permanent | Self::Unsupported => false,
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $class:ident;)*) => {
        /// What went wrong. A closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable name, for machines.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What to do about it.
            pub fn class(self) -> ErrorClass {
                match self { $(Self::$variant => ErrorClass::$class,)* }
            }
        }
    };
}

codes! {
    /// The provider found the request malformed or a value of it out of range.
    InvalidRequest = "provider_invalid_request", Caller;
    /// The request is larger than the provider takes, in bytes.
    RequestTooLarge = "provider_request_too_large", Caller;
    /// The conversation is longer than the model's window.
    ContextLengthExceeded = "provider_context_length_exceeded", Caller;
    /// The provider will not answer this, for its content.
    ContentFiltered = "provider_content_filtered", Caller;
    /// The key is missing, wrong or withdrawn.
    Authentication = "provider_authentication", Permanent;
    /// The key may not do this.
    Permission = "provider_permission", Permanent;
    /// No such model, or no such path.
    NotFound = "provider_not_found", Permanent;
    /// The account's money or monthly quota is spent: waiting does not help.
    QuotaExhausted = "provider_quota_exhausted", Permanent;
    /// Too many requests or tokens for now.
    RateLimited = "provider_rate_limited", Throttled;
    /// The provider as a whole has too much to do.
    Overloaded = "provider_overloaded", Transient;
    /// The provider failed.
    ServerError = "provider_server_error", Transient;
    /// The provider or something before it gave up waiting.
    Timeout = "provider_timeout", Transient;
    /// The provider is at work on something that excludes this (409, 425).
    Conflict = "provider_conflict", Transient;
    /// No connection could be made: name, route, TLS, refusal.
    ConnectFailed = "provider_connect_failed", Transient;
    /// The connection broke before the answer was whole.
    ConnectionLost = "provider_connection_lost", Transient;
    /// A stream ended before the answer did.
    StreamInterrupted = "provider_stream_interrupted", Transient;
    /// The answer is not what the protocol says: no JSON, wrong shape, wrong content type.
    MalformedResponse = "provider_malformed_response", Transient;
    /// The answer is larger than we take.
    ResponseTooLarge = "provider_response_too_large", Permanent;
    /// The protocol cannot carry the request.
    Unsupported = "provider_unsupported", Unsupported;
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What went wrong at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What.
    pub code: ErrorCode,
    /// In words, the provider's where it has some; bounded, without control characters.
    pub message: String,
    /// The status of the reply, if there was one.
    pub http_status: Option<u16>,
    /// The provider's own name of the error.
    pub upstream_code: Option<String>,
    /// The field of the request that the provider blames.
    pub param: Option<String>,
    /// How long the provider wants to be left alone, counted from the reply.
    pub retry_after: Option<Duration>,
    /// The provider's name for the call, for its support.
    pub request_id: Option<String>,
    /// The provider says itself whether to try again (`x-should-retry`).
    pub should_retry: Option<bool>,
}

impl ProviderError {
    /// An error without a reply.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            http_status: None,
            upstream_code: None,
            param: None,
            retry_after: None,
            request_id: None,
            should_retry: None,
        }
    }

    /// In words for clients and for what they are shown later. What a provider says of our account is not for them: it may
    /// name the account, and some repeat the key.
    pub fn for_clients(&self) -> &str {
        match self.code {
            ErrorCode::Authentication | ErrorCode::Permission | ErrorCode::QuotaExhausted => {
                "the provider behind this model does not serve this gateway's account at present"
            }
            ErrorCode::InvalidRequest
            | ErrorCode::ContextLengthExceeded
            | ErrorCode::ContentFiltered
            | ErrorCode::RequestTooLarge
            | ErrorCode::NotFound
            | ErrorCode::RateLimited
            | ErrorCode::Overloaded
            | ErrorCode::Timeout
            | ErrorCode::ServerError
            | ErrorCode::Conflict
            | ErrorCode::ConnectFailed
            | ErrorCode::ConnectionLost
            | ErrorCode::StreamInterrupted
            | ErrorCode::MalformedResponse
            | ErrorCode::ResponseTooLarge
            | ErrorCode::Unsupported => &self.message,
        }
    }

    /// What to do about it. A provider's own word on whether to try again goes above the code's class, except that
    /// nothing makes a spent budget or a bad key worth another try.
    pub fn class(&self) -> ErrorClass {
        let class = self.code.class();
        match (class, self.should_retry) {
            (ErrorClass::Transient | ErrorClass::Throttled, Some(false)) => ErrorClass::Permanent,
            _ => class,
        }
    }
}
