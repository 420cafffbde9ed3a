//! What answers look like on the wire.

use serde::Deserialize;

use crate::chat::{Content, Finish, FinishReason, Part, ReasoningContent, ToolCall, Usage};
use crate::error::{ErrorCode, ProviderError, sort};
use crate::json::{Extra, Integer, Json};
use crate::openai::{from_error, malformed};

/// A response, whole or as events tell it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Response {
    pub(super) id: Option<String>,
    pub(super) created_at: Option<Integer>,
    pub(super) model: Option<String>,
    pub(super) status: Option<String>,
    pub(super) output: Option<Vec<Json>>,
    pub(super) usage: Option<UsageWire>,
    pub(super) error: Option<Json>,
    pub(super) incomplete_details: Option<Incomplete>,
    pub(super) service_tier: Option<Json>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Incomplete {
    pub(super) reason: Option<String>,
}

impl Response {
    /// Why it ended, or why it failed. `calls` is whether it calls functions.
    pub(super) fn finish(&self, calls: bool) -> Result<Finish, ProviderError> {
        let reason = match self.status.as_deref() {
            Some("completed") if calls => FinishReason::ToolCalls,
            Some("completed") => FinishReason::Stop,
            Some("incomplete") => {
                let reason = self.incomplete_details.as_ref().and_then(|details| details.reason.clone());
                let ours = match reason.as_deref() {
                    Some("max_output_tokens") => FinishReason::Length,
                    Some("content_filter") => FinishReason::ContentFilter,
                    _ => FinishReason::Other,
                };
                return Ok(Finish { reason: ours, raw: reason, stop_sequence: None });
            }
            Some("failed") => return Err(self.failure()),
            Some("cancelled") => {
                return Err(ProviderError::new(ErrorCode::ServerError, "the provider cancelled the response"));
            }
            _ => return Err(malformed("it does not say how it ended")),
        };
        Ok(Finish { reason, raw: self.status.clone(), stop_sequence: None })
    }

    fn failure(&self) -> ProviderError {
        match &self.error {
            Some(error) => sort(None, from_error(error)),
            None => ProviderError::new(ErrorCode::ServerError, "the response failed without saying why"),
        }
    }

    /// What OpenAI alone tells of an answer.
    pub(super) fn extra(&self) -> Extra {
        let mut extra = Extra::new();
        if let Some(tier) = &self.service_tier {
            extra.insert("service_tier", tier.clone());
        }
        extra
    }
}

/// One item of an answer; what it has depends on its type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Item {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: Option<String>,
    pub(super) content: Option<Vec<Said>>,
    pub(super) call_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
    pub(super) summary: Option<Vec<Said>>,
    pub(super) encrypted_content: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
    annotations: Option<Json>,
}

impl Item {
    /// The parts of an answer that an item is.
    pub(super) fn parts(raw: &Json) -> Result<Vec<Part>, ProviderError> {
        let item: Self = raw.read().map_err(|error| malformed(&format!("an item of it: {error}")))?;
        Ok(match item.kind.as_str() {
            "message" => item.content.unwrap_or_default().into_iter().filter_map(said).collect(),
            "function_call" => vec![Content::ToolCall(item.call()?).into()],
            "reasoning" => vec![Content::Reasoning(item.thought()).into()],
            // Tools that the provider runs itself, and what is still to come.
            _ => vec![Content::Native(raw.clone()).into()],
        })
    }

    pub(super) fn call(self) -> Result<ToolCall, ProviderError> {
        Ok(ToolCall {
            id: self.call_id.ok_or_else(|| malformed("a function call without a call_id"))?,
            name: self.name.ok_or_else(|| malformed("a function call without a name"))?,
            arguments: self.arguments.unwrap_or_default(),
            signature: None,
        })
    }

    pub(super) fn thought(self) -> ReasoningContent {
        let told = self.summary.filter(|summary| !summary.is_empty()).or(self.content).unwrap_or_default();
        let texts: Vec<String> = told.into_iter().filter_map(|part| part.text).collect();
        ReasoningContent { text: texts.join("\n\n"), signature: None, encrypted: self.encrypted_content, id: self.id }
    }
}

fn said(part: Said) -> Option<Part> {
    let mut extra = Extra::new();
    if let Some(annotations) = part.annotations.filter(|list| list.as_str() != "[]") {
        extra.insert("annotations", annotations);
    }
    let content = match part.kind.as_str() {
        "refusal" => Content::Refusal(part.refusal?),
        _ => Content::Text(part.text?),
    };
    Some(Part { content, extra })
}

/// Tokens, as responses tell them.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct UsageWire {
    input_tokens: Option<Integer>,
    output_tokens: Option<Integer>,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Option<Integer>,
    cache_write_tokens: Option<Integer>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Option<Integer>,
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Self {
        let count = |value: Option<Integer>| value.unwrap_or_default().count();
        let input = wire.input_tokens_details.unwrap_or_default();
        Self {
            input_tokens: count(wire.input_tokens),
            output_tokens: count(wire.output_tokens),
            cached_input_tokens: count(input.cached_tokens),
            cache_write_tokens: count(input.cache_write_tokens),
            reasoning_tokens: count(wire.output_tokens_details.unwrap_or_default().reasoning_tokens),
        }
    }
}
