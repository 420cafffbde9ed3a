//! The port: what every wire protocol can do.
//!
//! A [`Protocol`] is a value made once from a provider's settings (key, quirks) and shared by all calls. It is sans-I/O:
//! `encode_*` gives the HTTP parts to send, `decode_*` reads a reply, and a [`StreamDecoder`] takes a streamed body
//! as it comes, in whatever pieces.

mod gaps;

pub(crate) use gaps::Gaps;

use std::fmt::Debug;

use bytes::Bytes;

use crate::chat::{ChatRequest, ChatResponse, StreamEvent};
use crate::embeddings::{EmbeddingsRequest, EmbeddingsResponse};
use crate::error::{ProviderError, RateLimits};
use crate::exchange::{Head, HttpRequest, Reply};
use crate::relay::{RelayTo, RelayedAnswer};

/// Whole or in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// One body.
    Whole,
    /// Events as they are made.
    Streamed,
}

/// A request as this target will see it.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// What to send.
    pub http: HttpRequest,
    /// Fields of the request that this protocol has no place for and that do not change the answer (`user`,
    /// `metadata`), or that the provider's settings say to leave out. Belongs into the call's record.
    pub ignored: Vec<String>,
}

/// Why a request cannot be put to a target. The next target may take it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The protocol has no way to say this.
    #[error("{protocol} cannot carry {what}")]
    Unsupported {
        /// The protocol.
        protocol: &'static str,
        /// What of the request, with its name: "`seed`", "an image by URL in a tool's result".
        what: String,
    },
    /// The conversation makes no sense to anyone: arguments of a call that are no JSON object, a result without its call.
    #[error("{what}")]
    Invalid {
        /// What is wrong, and where.
        what: String,
    },
}

impl From<EncodeError> for ProviderError {
    fn from(error: EncodeError) -> Self {
        use crate::error::ErrorCode;
        let code = match error {
            EncodeError::Unsupported { .. } => ErrorCode::Unsupported,
            EncodeError::Invalid { .. } => ErrorCode::InvalidRequest,
        };
        Self::new(code, error.to_string())
    }
}

/// Why a protocol cannot be made from its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// One wire protocol, with one provider's settings.
pub trait Protocol: Debug + Send + Sync {
    /// Its name in configuration and messages.
    fn name(&self) -> &'static str;

    /// The base URL when the configuration gives none; `None` if there is no such thing as a default.
    fn default_base_url(&self) -> Option<&'static str>;

    /// The HTTP request that asks `model` (the provider's name for it).
    fn encode_chat(&self, model: &str, request: &ChatRequest, delivery: Delivery) -> Result<Encoded, EncodeError>;

    /// Reads a whole reply, of whatever status. A reply that is not a whole, well-formed answer is an error.
    fn decode_chat(&self, reply: Reply<'_>) -> Result<ChatResponse, ProviderError>;

    /// A decoder for the body of one streamed reply.
    ///
    /// Only for a reply that [`check_stream`](Self::check_stream) lets pass.
    fn stream_decoder(&self) -> Box<dyn StreamDecoder>;

    /// Judges the head of a reply to a streamed request. `Err` means: read the body (bounded) and give it to
    /// [`decode_error`](Self::decode_error); a reply may also be whole where a stream was asked for.
    fn check_stream(&self, head: Head<'_>) -> StreamHead {
        crate::protocol::judge_stream_head(head)
    }

    /// A whole reply of a good status as it can be passed on to a client that speaks the same; `None`: it is to be
    /// [decoded](Self::decode_chat).
    fn relay_chat(&self, to: &RelayTo, body: &Bytes) -> Option<RelayedAnswer> {
        let _ = (to, body);
        None
    }

    /// A decoder that passes a streamed reply on to a client that speaks the same, as
    /// [`Relayed`](StreamEvent::Relayed), as far as it can; `None`: such streams are always
    /// [decoded](Self::stream_decoder).
    fn relay_stream(&self, to: &RelayTo) -> Option<Box<dyn StreamDecoder>> {
        let _ = to;
        None
    }

    /// Whether who asks for [the rest of an answer](ChatRequest::going_on_from) is told its beginning once more.
    fn repeats_beginning(&self) -> bool {
        false
    }

    /// The HTTP request for vectors. Protocols without them refuse.
    fn encode_embeddings(&self, model: &str, request: &EmbeddingsRequest) -> Result<Encoded, EncodeError> {
        let _ = (model, request);
        Err(EncodeError::Unsupported { protocol: self.name(), what: "embeddings".to_owned() })
    }

    /// Reads a reply with vectors. `expected` is how many were asked for: fewer is an error, not a short answer.
    fn decode_embeddings(&self, reply: Reply<'_>, expected: usize) -> Result<EmbeddingsResponse, ProviderError> {
        let _ = (reply, expected);
        Err(ProviderError::new(crate::error::ErrorCode::Unsupported, format!("{} has no embeddings", self.name())))
    }

    /// The HTTP request that lists the provider's models.
    fn encode_models(&self) -> HttpRequest;

    /// Reads the list of models: their names as `encode_chat` takes them.
    fn decode_models(&self, reply: Reply<'_>) -> Result<Vec<String>, ProviderError>;

    /// Reads a reply that is an error.
    fn decode_error(&self, reply: Reply<'_>) -> ProviderError;

    /// What the headers of any reply, good or bad, say about the provider's limits.
    fn rate_limits(&self, head: Head<'_>) -> RateLimits;
}

/// What the head of a reply to a streamed request promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamHead {
    /// Events follow: feed them to a [`StreamDecoder`].
    Events,
    /// A whole answer follows: read it and use `decode_chat`, then [`ChatResponse::to_events`].
    Whole,
    /// An error follows: read it and use `decode_error`.
    Error,
}

/// Success with `text/event-stream` is a stream; success with JSON a whole answer; the rest an error.
pub(crate) fn judge_stream_head(head: Head<'_>) -> StreamHead {
    if !head.status.is_success() {
        return StreamHead::Error;
    }
    let content_type = head.header("content-type").unwrap_or_default().trim_start();
    let is = |wanted: &str| content_type.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted));
    if content_type.is_empty() || is("text/event-stream") {
        StreamHead::Events
    } else if is("application/json") {
        StreamHead::Whole
    } else {
        StreamHead::Error
    }
}

/// Takes the body of a streamed reply as it comes and tells what it says.
///
/// Holds the rules of [`StreamEvent`]: one end, nothing after it. How the bytes are cut makes no difference.
pub trait StreamDecoder: Debug + Send {
    /// Takes some bytes in and appends what they complete.
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>);

    /// The body has ended. Appends an error if the answer had not.
    fn finish(&mut self, events: &mut Vec<StreamEvent>);
}
