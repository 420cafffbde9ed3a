//! Writing a whole message, and errors.

use crate::chat::{ChatResponse, Content, Dialect, Finish, FinishReason, Part, Usage};
use crate::facade::{Failure, Stamp};
use crate::json::{Json, List, Object, to_bytes};

/// The body of a `message`.
pub fn encode_response(response: &ChatResponse, stamp: &Stamp) -> Vec<u8> {
    to_bytes(|body| {
        body.field("id", &stamp.id);
        body.field("type", "message");
        body.field("role", "assistant");
        body.field("model", &stamp.model);
        body.list("content", |list| {
            response.parts.iter().for_each(|part| write_part(list, part, response.dialect));
        });
        body.field("stop_reason", stop_word(&response.finish));
        body.field("stop_sequence", &response.finish.stop_sequence);
        if response.dialect == Dialect::Anthropic {
            body.extra(&response.extra);
        }
        body.object("usage", |object| write_usage(object, response.usage.unwrap_or_default()));
    })
}

fn write_part(list: &mut List<'_>, part: &Part, dialect: Dialect) {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => list.object(|object| {
            object.field("type", "text").text("text", text);
            let citations = part.extra.get("citations").filter(|_| dialect == Dialect::Anthropic);
            object.field("citations", &citations);
        }),
        Content::ToolCall(call) => list.object(|object| {
            object.field("type", "tool_use").field("id", &call.id).field("name", &call.name);
            object.field("input", &input(&call.arguments));
        }),
        Content::Reasoning(thought) if thought.text.is_empty() && dialect != Dialect::Anthropic => {}
        Content::Reasoning(thought) => list.object(|object| match &thought.encrypted {
            Some(data) if dialect == Dialect::Anthropic => {
                object.field("type", "redacted_thinking").field("data", data);
            }
            _ => {
                // Another provider's seal would be taken for Anthropic's when it comes back.
                let seal = thought.signature.as_deref().filter(|_| dialect == Dialect::Anthropic);
                object.field("type", "thinking").field("thinking", &thought.text);
                object.field("signature", seal.unwrap_or_default());
            }
        }),
        Content::Native(value) if dialect == Dialect::Anthropic => list.item(value),
        // No word for it here.
        Content::Native(_) | Content::Image(_) | Content::ToolResult(_) => {}
    }
}

/// Arguments as the object that the protocol demands. What a model wrote against the rules is put into one, whole.
fn input(arguments: &str) -> Json {
    match Json::parse(arguments) {
        Ok(json) if json.is_object() => json,
        _ if arguments.trim().is_empty() => Json::of(&serde_json::json!({})),
        _ => Json::of(&serde_json::json!({"invalid_arguments": arguments})),
    }
}

/// Tokens in Anthropic's count.
pub(super) fn write_usage(object: &mut Object<'_>, usage: Usage) {
    let cached = usage.cached_input_tokens.saturating_add(usage.cache_write_tokens);
    object.field("input_tokens", &usage.input_tokens.saturating_sub(cached));
    object.field("cache_creation_input_tokens", &usage.cache_write_tokens);
    object.field("cache_read_input_tokens", &usage.cached_input_tokens);
    object.field("output_tokens", &usage.output_tokens);
    if usage.reasoning_tokens > 0 {
        object.object("output_tokens_details", |details| {
            details.field("thinking_tokens", &usage.reasoning_tokens);
        });
    }
}

/// Anthropic's word for the end: the upstream's own where it is one of Anthropic's.
pub(super) fn stop_word(finish: &Finish) -> &'static str {
    const WORDS: [&str; 7] = [
        "end_turn",
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
    ];
    if let Some(word) = finish.raw.as_deref().and_then(|raw| WORDS.into_iter().find(|word| *word == raw)) {
        return word;
    }
    match finish.reason {
        FinishReason::Stop if finish.stop_sequence.is_some() => "stop_sequence",
        FinishReason::Stop | FinishReason::Other => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "refusal",
    }
}

/// The body of an error, also the data of an `error` event. `request_id` as in the reply's header.
pub fn encode_failure(failure: &Failure, request_id: Option<&str>) -> Vec<u8> {
    to_bytes(|body| {
        body.field("type", "error");
        body.object("error", |error| {
            error.field("type", kind(failure.status));
            error.field("message", &failure.message);
        });
        body.field("request_id", &request_id);
    })
}

fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}
