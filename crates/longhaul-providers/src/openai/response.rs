//! Reading a whole answer.

use super::errors::{malformed, stream_error, vendor_error};
use super::wire::{Call, Completion, Piece, finish_reason};
use crate::chat::{ChatResponse, Content, Dialect, Finish, Part, ReasoningContent, ToolCall};
use crate::error::{ProviderError, request_id, sort};
use crate::exchange::{Reply, read_json};
use crate::json::Extra;

pub(super) fn decode(reply: Reply<'_>) -> Result<ChatResponse, ProviderError> {
    if !reply.head.status.is_success() {
        return Err(sort(Some(reply.head), vendor_error(reply.body)));
    }
    let completion: Completion = read_json(reply)?;
    read(completion, reply.body).map_err(|mut error| {
        error.http_status = Some(reply.head.status.as_u16());
        error.request_id = error.request_id.or_else(|| request_id(reply.head));
        error
    })
}

/// Reads a body that is known to be a good answer.
pub(super) fn decode_plain(body: &[u8]) -> ChatResponse {
    let read = serde_json::from_slice::<Completion>(body).ok().and_then(|completion| read(completion, body).ok());
    debug_assert!(read.is_some(), "what is plain can be read");
    read.unwrap_or_else(|| crate::chat::Accumulator::new().into_response())
}

fn read(completion: Completion, body: &[u8]) -> Result<ChatResponse, ProviderError> {
    if let Some(error) = &completion.error {
        return Err(stream_error(error));
    }
    if completion.message.is_some() && completion.choices.is_none() {
        return Err(sort(None, vendor_error(body)));
    }
    let mut choices = completion.choices.unwrap_or_default().into_iter();
    let choice = choices.next().ok_or_else(|| malformed("it has no choice"))?;
    let said = choice.message.ok_or_else(|| malformed("its choice has no message"))?;

    let mut parts: Vec<Part> = Vec::new();
    for piece in said.pieces().map_err(malformed)? {
        parts.push(match piece {
            Piece::Text(text) => Part::text(text),
            Piece::Reasoning(text) => {
                Content::Reasoning(ReasoningContent { text, ..ReasoningContent::default() }).into()
            }
        });
    }
    if let Some(refusal) = said.refusal.clone().filter(|text| !text.is_empty()) {
        parts.push(Content::Refusal(refusal).into());
    }
    if let Some(native) = said.native() {
        parts.push(Content::Native(native).into());
    }
    let calls = said.tool_calls.unwrap_or_default();
    let called = !calls.is_empty();
    for (index, call) in calls.into_iter().enumerate() {
        parts.push(Content::ToolCall(tool_call(call, completion.id.as_deref(), index)?).into());
    }

    let raw = choice.finish_reason.ok_or_else(|| malformed("it does not say why it ended"))?;
    Ok(ChatResponse {
        model: completion.model,
        created: completion.created.map(|created| created.0),
        parts,
        finish: Finish { reason: finish_reason(&raw, called), raw: Some(raw), stop_sequence: None },
        usage: completion.usage.map(Into::into),
        logprobs: choice.logprobs,
        dialect: Dialect::OpenAi,
        extra: extra(completion.system_fingerprint, completion.service_tier),
        id: completion.id,
    })
}

fn tool_call(call: Call, answer: Option<&str>, index: usize) -> Result<ToolCall, ProviderError> {
    let signature = call.signature();
    let function = call.function.ok_or_else(|| malformed("a tool call that is no function"))?;
    let arguments = function.arguments().unwrap_or_default();
    let name = function.name.filter(|name| !name.is_empty()).ok_or_else(|| malformed("a tool call without a name"))?;
    Ok(ToolCall { id: call_id(call.id, answer, index), name, arguments, signature })
}

/// The call's id, or one made up from the answer's.
pub(super) fn call_id(id: Option<String>, answer: Option<&str>, index: usize) -> String {
    id.filter(|id| !id.is_empty()).unwrap_or_else(|| match answer {
        Some(answer) => format!("call_{answer}_{index}"),
        None => format!("call_{index}"),
    })
}

/// What OpenAI alone tells of an answer.
pub(super) fn extra(fingerprint: Option<crate::json::Json>, tier: Option<crate::json::Json>) -> Extra {
    let mut extra = Extra::new();
    if let Some(fingerprint) = fingerprint {
        extra.insert("system_fingerprint", fingerprint);
    }
    if let Some(tier) = tier {
        extra.insert("service_tier", tier);
    }
    extra
}
