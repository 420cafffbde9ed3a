//! Answers passed on as the provider wrote them, where client and provider speak the same protocol.
//!
//! What a client of OpenAI's gets from a provider that speaks OpenAI is nearly always what the provider sent. So it is not
//! taken apart and put together again: it is looked over, once, for what the gateway must know (usage, the end, errors,
//! the text for a cache), and passed on with nothing changed but its id, which is ours. That is cheaper by far, and keeps
//! fields that nobody here has heard of.
//!
//! Only what is *plain* goes this way: exactly of the shape that the vendor documents. Whatever is not (a follower's
//! dialect, an error, a tool call in pieces) takes the long way through the neutral model, frame by frame, within one
//! stream if need be.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::chat::{ChatResponse, Dialect, Usage};

/// Who wants to have an answer passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayTo {
    /// What the client speaks.
    pub dialect: Dialect,
    /// The id that the client is given; without characters that JSON would escape.
    pub id: Arc<str>,
    /// The client of a stream is told its usage.
    pub include_usage: bool,
}

/// Frames of a stream, passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relayed {
    /// The frames, ready to be sent.
    pub frames: Bytes,
    /// The text that they tell.
    pub text: String,
    /// They tell why the answer ended.
    pub has_finish: bool,
    /// They tell the usage.
    pub has_usage: bool,
}

impl Relayed {
    /// The data of each frame.
    pub fn data(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.frames.split(|byte| *byte == b'\n');
        lines.filter_map(|line| line.strip_prefix(b"data: "))
    }
}

/// A whole answer, passed on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RelayedAnswer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dialect: Dialect,
    body: Bytes,
    /// Where the id stands, between its quotes.
    id: Range<usize>,
    usage: Option<Usage>,
    read: fn(&[u8]) -> ChatResponse,
    response: OnceLock<Arc<ChatResponse>>,
}

impl RelayedAnswer {
    pub(crate) fn new(
        dialect: Dialect,
        body: Bytes,
        id: Range<usize>,
        usage: Option<Usage>,
        read: fn(&[u8]) -> ChatResponse,
    ) -> Self {
        Self(Arc::new(Inner { dialect, body, id, usage, read, response: OnceLock::new() }))
    }

    /// Whose words it is in.
    pub fn dialect(&self) -> Dialect {
        self.0.dialect
    }

    /// What it cost, if the provider says.
    pub fn usage(&self) -> Option<Usage> {
        self.0.usage
    }

    /// How many bytes the provider wrote.
    #[allow(clippy::len_without_is_empty, reason = "an answer is never empty")]
    pub fn len(&self) -> usize {
        self.0.body.len()
    }

    /// The body for a client, under an id of ours that JSON would not escape.
    pub fn body(&self, id: &str) -> Vec<u8> {
        let Inner { body, id: at, .. } = &*self.0;
        let mut out = Vec::with_capacity(body.len() + id.len());
        out.extend_from_slice(&body[..at.start]);
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&body[at.end..]);
        out
    }

    /// The answer in nobody's JSON; read when it is first asked for.
    pub fn response(&self) -> Arc<ChatResponse> {
        let Inner { body, read, response, .. } = &*self.0;
        Arc::clone(response.get_or_init(|| Arc::new(read(body))))
    }
}
