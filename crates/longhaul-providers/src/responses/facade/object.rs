//! The response object.

use super::stream::ResponseStreamEncoder;
use crate::chat::{ChatResponse, Usage};
use crate::facade::{Stamp, StreamEncoder};
use crate::json::{Extra, Fields, Json, Object, to_bytes};

/// What a response is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Waits for its turn.
    Queued,
    /// Is being answered.
    InProgress,
    /// Is answered.
    Completed,
    /// Could not be answered.
    Failed,
    /// Was given up by the client.
    Cancelled,
    /// Was cut short by a limit or a filter.
    Incomplete,
}

impl Status {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Incomplete => "incomplete",
        }
    }
}

/// What a response repeats of its request, each field as it was written, or as it holds when it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo(Extra);

/// Fields that are repeated, with what they are when the request leaves them out.
const ECHOED: &[(&str, &str)] = &[
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("service_tier", "\"default\""),
    ("store", "true"),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
    ("metadata", "{}"),
];

impl Echo {
    pub(super) fn of(fields: &Fields<'_>) -> Self {
        let mut echo = Extra::new();
        for (name, default) in ECHOED {
            let value = match fields.look(name) {
                Some(raw) => Json::from(raw),
                None => Json::parse(*default).unwrap_or_else(|_| Json::null()),
            };
            echo.insert(*name, value);
        }
        Self(echo)
    }
}

/// What an object says beside its request.
pub(super) struct State<'a> {
    pub(super) status: Status,
    pub(super) output: &'a [Json],
    pub(super) usage: Option<Usage>,
    pub(super) error: Option<(&'static str, String)>,
    pub(super) incomplete: Option<&'static str>,
    pub(super) completed_at: Option<i64>,
}

pub(super) fn write_object(object: &mut Object<'_>, stamp: &Stamp, echo: &Echo, state: &State<'_>) {
    object.field("id", &stamp.id);
    object.field("object", "response");
    object.field("created_at", &stamp.created);
    object.field("status", state.status.name());
    object.field("completed_at", &state.completed_at);
    match &state.error {
        Some((code, message)) => object.object("error", |error| {
            error.field("code", code).field("message", message);
        }),
        None => object.field("error", &()),
    };
    match state.incomplete {
        Some(reason) => object.object("incomplete_details", |details| {
            details.field("reason", reason);
        }),
        None => object.field("incomplete_details", &()),
    };
    object.field("model", &stamp.model);
    object.field("output", state.output);
    object.extra(&echo.0);
    match state.usage {
        Some(usage) => object.object("usage", |object| write_usage(object, usage)),
        None => object.field("usage", &()),
    };
}

fn write_usage(object: &mut Object<'_>, usage: Usage) {
    object.field("input_tokens", &usage.input_tokens);
    object.object("input_tokens_details", |details| {
        details.field("cached_tokens", &usage.cached_input_tokens);
        details.field("cache_write_tokens", &usage.cache_write_tokens);
    });
    object.field("output_tokens", &usage.output_tokens);
    object.object("output_tokens_details", |details| {
        details.field("reasoning_tokens", &usage.reasoning_tokens);
    });
    object.field("total_tokens", &usage.total());
}

/// The body of a response that has no answer: queued, in progress, cancelled before it began.
pub fn encode_pending(stamp: &Stamp, echo: &Echo, status: Status) -> Vec<u8> {
    let state = State { status, output: &[], usage: None, error: None, incomplete: None, completed_at: None };
    to_bytes(|body| write_object(body, stamp, echo, &state))
}

/// The body of a response with a whole answer: what its stream would have ended with.
pub fn encode_response(response: &ChatResponse, stamp: &Stamp, echo: &Echo, completed_at: Option<i64>) -> Vec<u8> {
    let mut encoder = ResponseStreamEncoder::new(stamp.clone(), echo.clone());
    encoder.set_completed_at(completed_at);
    let mut frames = Vec::new();
    for event in response.to_events() {
        encoder.push(&event, &mut frames);
        frames.clear();
    }
    encoder.object()
}

/// The body of a reply to `DELETE /v1/responses/{id}`.
pub fn encode_deleted(id: &str) -> Vec<u8> {
    to_bytes(|body| {
        body.field("id", id).field("object", "response").field("deleted", &true);
    })
}

/// What ids of a response's items are made from.
pub(super) fn suffix(response_id: &str) -> &str {
    response_id.strip_prefix("resp_").unwrap_or(response_id)
}
