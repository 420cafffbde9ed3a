//! What answers look like on the wire.

use serde::Deserialize;

use super::JSON_TOOL;
use crate::chat::{Finish, FinishReason, Usage};
use crate::json::{Integer, Json};

/// A whole message, or the beginning of a streamed one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) content: Option<Vec<Json>>,
    pub(super) stop_reason: Option<String>,
    pub(super) stop_sequence: Option<String>,
    pub(super) usage: Option<UsageWire>,
    pub(super) stop_details: Option<Json>,
    pub(super) container: Option<Json>,
    /// Set to `error` on an error inside a good status.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

/// One block of a message; what it has depends on its type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Block {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) text: Option<String>,
    pub(super) citations: Option<Json>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) input: Option<Json>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) data: Option<String>,
}

impl Block {
    /// It is our own way to ask for JSON.
    pub(super) fn is_json_answer(&self) -> bool {
        self.kind == "tool_use" && self.name.as_deref() == Some(JSON_TOOL)
    }
}

/// Tokens; in a stream each telling replaces what it repeats.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct UsageWire {
    input_tokens: Option<Integer>,
    output_tokens: Option<Integer>,
    cache_creation_input_tokens: Option<Integer>,
    cache_read_input_tokens: Option<Integer>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Option<Integer>,
}

impl UsageWire {
    /// A later telling over an earlier one.
    pub(super) fn over(self, earlier: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.or(earlier.input_tokens),
            output_tokens: self.output_tokens.or(earlier.output_tokens),
            cache_creation_input_tokens: self.cache_creation_input_tokens.or(earlier.cache_creation_input_tokens),
            cache_read_input_tokens: self.cache_read_input_tokens.or(earlier.cache_read_input_tokens),
            output_tokens_details: self.output_tokens_details.or(earlier.output_tokens_details),
        }
    }
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Self {
        let count = |value: Option<Integer>| value.unwrap_or_default().count();
        let cached = count(wire.cache_read_input_tokens);
        let written = count(wire.cache_creation_input_tokens);
        Self {
            // Anthropic counts the uncached alone.
            input_tokens: count(wire.input_tokens).saturating_add(cached).saturating_add(written),
            output_tokens: count(wire.output_tokens),
            cached_input_tokens: cached,
            cache_write_tokens: written,
            reasoning_tokens: count(wire.output_tokens_details.unwrap_or_default().thinking_tokens),
        }
    }
}

/// The end in our words. `calls` is whether tools of the caller's were called: our own does not count.
pub(super) fn finish(raw: String, stop_sequence: Option<String>, calls: bool) -> Finish {
    let reason = match raw.as_str() {
        "tool_use" if !calls => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    };
    // The word would be wrong of an answer without calls.
    let raw = if raw == "tool_use" && !calls { "end_turn".to_owned() } else { raw };
    Finish { reason, raw: Some(raw), stop_sequence }
}
