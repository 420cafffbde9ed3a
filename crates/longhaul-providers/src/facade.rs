//! What the façades share: a request as a client of some vendor wrote it, and the answer as that vendor's SDKs want it.
//!
//! Each protocol's module has `decode_request`, `encode_response` and a [`StreamEncoder`] next to its other side. Ids
//! and times are the caller's to give, in a [`Stamp`]; whatever else an answer must name is derived from them, so that the
//! same events and the same stamp are the same bytes.

mod turns;

pub(crate) use turns::Turns;

use std::borrow::Cow;

use crate::chat::{ChatRequest, StreamEvent};
use crate::error::{ErrorCode, ProviderError};
use crate::protocol::Delivery;

/// A request for an answer, as it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatCall {
    /// The model that the client asks for: a name of our configuration.
    pub model: String,
    /// How the client wants the answer.
    pub delivery: Delivery,
    /// A stream shall tell its usage (`stream_options.include_usage`); always true where the protocol tells it anyway.
    pub include_usage: bool,
    /// What is asked.
    pub request: ChatRequest,
}

/// Why a client's request cannot be read. Its fault, status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// What is wrong, for people.
    pub message: String,
    /// Where, as OpenAI writes it: `messages[2].content[0].type`.
    pub param: Option<String>,
    /// OpenAI's short name of the fault, where it has one.
    pub code: Option<&'static str>,
}

impl RequestError {
    /// A fault at a place.
    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()), code: None }
    }

    /// A fault of the body as a whole.
    pub fn body(message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None, code: None }
    }

    /// With a code.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
}

/// What an answer is marked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Its id, in the vendor's manner (`chatcmpl-…`, `resp_…`, `msg_…`): ours, not the upstream's.
    pub id: String,
    /// When it was begun, in seconds since the Unix epoch.
    pub created: i64,
    /// The model that answered, as clients shall read it.
    pub model: String,
}

/// One event of a stream to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The name of the event, if the protocol names its events.
    pub event: Option<Cow<'static, str>>,
    /// The number that stands in the data, if the protocol counts its events.
    pub sequence: Option<u64>,
    /// One line of JSON, or the word that ends the stream.
    pub data: String,
}

impl Frame {
    /// A frame without a name. What is not UTF-8 (which no writer here makes) is replaced.
    pub(crate) fn data(data: Vec<u8>) -> Self {
        Self { event: None, sequence: None, data: text(data) }
    }

    /// A frame with a name.
    pub(crate) fn named(event: &'static str, sequence: Option<u64>, data: Vec<u8>) -> Self {
        Self { event: Some(Cow::Borrowed(event)), sequence, data: text(data) }
    }

    /// Appends the frame as server-sent events have it.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if let Some(event) = &self.event {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(event.as_bytes());
            out.push(b'\n');
        }
        // Data is JSON on one line, so it needs no splitting.
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(self.data.as_bytes());
        out.extend_from_slice(b"\n\n");
    }
}

/// Tells a streamed answer in one vendor's events.
pub trait StreamEncoder: Send + std::fmt::Debug {
    /// Takes one piece and appends what a client gets for it: nothing, one frame or several. An end closes whatever is
    /// open and ends the stream as the vendor ends it.
    fn push(&mut self, event: &StreamEvent, frames: &mut Vec<Frame>);
}

/// An error of ours, to be told in a vendor's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The status of the reply (also decides the vendor's type of error).
    pub status: u16,
    /// A short name for machines.
    pub code: Option<String>,
    /// What happened, for people.
    pub message: String,
    /// The field that is to blame.
    pub param: Option<String>,
}

impl From<&RequestError> for Failure {
    fn from(error: &RequestError) -> Self {
        Self {
            status: 400,
            code: error.code.map(str::to_owned),
            message: error.message.clone(),
            param: error.param.clone(),
        }
    }
}

/// What a client gets to hear of an upstream's error. Where the request is to blame, it is a 4xx with the upstream's
/// words; where the upstream or its account is, a 5xx, since the client can do nothing about it.
impl From<&ProviderError> for Failure {
    fn from(error: &ProviderError) -> Self {
        use ErrorCode as E;
        let (status, code) = match error.code {
            E::InvalidRequest => (400, error.upstream_code.as_deref().unwrap_or("invalid_request")),
            E::Unsupported => (400, "unsupported_parameter"),
            E::ContextLengthExceeded => (400, "context_length_exceeded"),
            E::ContentFiltered => (400, "content_filter"),
            E::RequestTooLarge => (413, "request_too_large"),
            E::RateLimited => (429, "rate_limit_exceeded"),
            E::Overloaded => (503, "overloaded"),
            E::Timeout => (504, "timeout"),
            E::Authentication
            | E::Permission
            | E::NotFound
            | E::QuotaExhausted
            | E::ServerError
            | E::Conflict
            | E::ConnectFailed
            | E::ConnectionLost
            | E::StreamInterrupted
            | E::MalformedResponse
            | E::ResponseTooLarge => (502, error.code.as_str()),
        };
        let message = error.for_clients().to_owned();
        Self { status, code: Some(code.to_owned()), message, param: error.param.clone() }
    }
}

fn text(data: Vec<u8>) -> String {
    String::from_utf8(data).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
