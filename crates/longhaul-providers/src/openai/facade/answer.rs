//! Writing a whole chat completion.

use crate::chat::{ChatResponse, Content, Dialect, Finish, FinishReason, Usage};
use crate::facade::Stamp;
use crate::json::{Extra, Json, Object, to_bytes};
use crate::openai::write_signature;

/// The body of a `chat.completion`.
pub fn encode_response(response: &ChatResponse, stamp: &Stamp) -> Vec<u8> {
    to_bytes(|body| {
        body.field("id", &stamp.id);
        body.field("object", "chat.completion");
        body.field("created", &stamp.created);
        body.field("model", &stamp.model);
        body.list("choices", |choices| {
            choices.object(|choice| {
                choice.field("index", &0);
                choice.object("message", |message| write_message(message, response));
                choice.field("logprobs", &response.logprobs);
                choice.field("finish_reason", finish_word(&response.finish));
            });
        });
        body.some("usage", response.usage.map(UsageOut::from).as_ref());
        if response.dialect == Dialect::OpenAi {
            body.extra(&response.extra);
        }
    })
}

fn write_message(message: &mut Object<'_>, response: &ChatResponse) {
    let mut text: Option<String> = None;
    let mut refusal: Option<String> = None;
    let mut reasoning = String::new();
    for part in &response.parts {
        match &part.content {
            Content::Text(piece) => text.get_or_insert_default().push_str(piece),
            Content::Refusal(piece) => refusal.get_or_insert_default().push_str(piece),
            Content::Reasoning(thought) => reasoning.push_str(&thought.text),
            // Tools come below. Native parts of other protocols have no place in this one.
            Content::ToolCall(_) | Content::Native(_) | Content::Image(_) | Content::ToolResult(_) => {}
        }
    }
    message.field("role", "assistant");
    message.field("content", &text);
    message.field("refusal", &refusal);
    if !reasoning.is_empty() {
        message.field("reasoning_content", &reasoning);
    }
    if response.tool_calls().next().is_some() {
        message.list("tool_calls", |list| {
            for call in response.tool_calls() {
                list.object(|object| {
                    object.field("id", &call.id);
                    object.field("type", "function");
                    object.object("function", |function| {
                        function.field("name", &call.name);
                        function.field("arguments", &call.arguments);
                    });
                    object.some("extra_content", call.signature.as_deref().map(write_signature).as_ref());
                });
            }
        });
    }
    let native = native_fields(response);
    if native.get("annotations").is_none() {
        message.list("annotations", |_| {});
    }
    message.extra(&native);
}

/// Further fields of the message that an OpenAI upstream sent.
fn native_fields(response: &ChatResponse) -> Extra {
    let mut fields = Extra::new();
    if response.dialect != Dialect::OpenAi {
        return fields;
    }
    for part in &response.parts {
        if let Content::Native(value) = &part.content {
            for (name, value) in value.read_fields() {
                // What a stream tells in several lists is one list.
                let value = fields.get(&name).and_then(|before| joined(before, &value)).unwrap_or(value);
                fields.insert(name, value);
            }
        }
    }
    fields
}

fn joined(before: &Json, more: &Json) -> Option<Json> {
    let mut list: Vec<Json> = before.read().ok()?;
    list.append(&mut more.read().ok()?);
    Some(Json::of(&list))
}

/// OpenAI's word for the end: the upstream's own where it is one of OpenAI's.
pub(crate) fn finish_word(finish: &Finish) -> &'static str {
    const WORDS: [&str; 4] = ["stop", "length", "tool_calls", "content_filter"];
    if let Some(word) = finish.raw.as_deref().and_then(|raw| WORDS.into_iter().find(|word| *word == raw)) {
        return word;
    }
    match finish.reason {
        FinishReason::Stop | FinishReason::Other => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// Tokens in OpenAI's shape.
#[derive(serde::Serialize)]
pub(crate) struct UsageOut {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(serde::Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    audio_tokens: u64,
}

#[derive(serde::Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    audio_tokens: u64,
    accepted_prediction_tokens: u64,
    rejected_prediction_tokens: u64,
}

impl From<Usage> for UsageOut {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.total(),
            prompt_tokens_details: PromptDetails { cached_tokens: usage.cached_input_tokens, audio_tokens: 0 },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning_tokens,
                audio_tokens: 0,
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
        }
    }
}
