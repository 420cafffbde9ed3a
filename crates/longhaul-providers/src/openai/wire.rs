//! What answers look like on the wire: wide enough for everybody who says to be compatible.

use serde::Deserialize;

use crate::chat::{FinishReason, Usage};
use crate::json::{Integer, Json};

/// A whole answer or a chunk of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Completion {
    pub(super) id: Option<String>,
    pub(super) created: Option<Integer>,
    pub(super) model: Option<String>,
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<UsageWire>,
    pub(super) system_fingerprint: Option<Json>,
    pub(super) service_tier: Option<Json>,
    pub(super) error: Option<Json>,
    /// `error` on servers that write errors without a wrapper.
    pub(super) object: Option<Json>,
    pub(super) message: Option<Json>,
    /// Groq's own place for the usage of a stream.
    pub(super) x_groq: Option<Groq>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Groq {
    pub(super) usage: Option<UsageWire>,
    pub(super) error: Option<Json>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) index: Option<Integer>,
    pub(super) message: Option<Said>,
    pub(super) delta: Option<Said>,
    pub(super) finish_reason: Option<String>,
    pub(super) logprobs: Option<Json>,
}

/// A message or a piece of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    /// A text; Mistral also sends a list of typed parts.
    pub(super) content: Option<Json>,
    pub(super) refusal: Option<String>,
    /// DeepSeek, vLLM, llama.cpp.
    pub(super) reasoning_content: Option<String>,
    /// Groq, Ollama, OpenRouter.
    pub(super) reasoning: Option<Json>,
    /// OpenRouter: thoughts as it wants them back.
    pub(super) reasoning_details: Option<Json>,
    pub(super) tool_calls: Option<Vec<Call>>,
    pub(super) annotations: Option<Json>,
    pub(super) audio: Option<Json>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Call {
    pub(super) index: Option<Integer>,
    pub(super) id: Option<String>,
    pub(super) function: Option<Function>,
    /// Where Google's compatible API, and our façade, put the seal of a thought.
    extra_content: Option<ExtraContent>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct ExtraContent {
    google: Option<GoogleContent>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct GoogleContent {
    thought_signature: Option<String>,
}

impl Call {
    /// The seal of the thought behind the call.
    pub(super) fn signature(&self) -> Option<String> {
        self.extra_content.as_ref()?.google.as_ref()?.thought_signature.clone()
    }
}

/// The seal out of `extra_content`, as clients give it back.
pub(crate) fn read_signature(extra_content: &Json) -> Option<String> {
    extra_content.read::<ExtraContent>().ok()?.google?.thought_signature
}

/// The seal as `extra_content`.
pub(crate) fn write_signature(signature: &str) -> Json {
    Json::of(&serde_json::json!({"google": {"thought_signature": signature}}))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    /// JSON as a text; some servers send the JSON itself.
    pub(super) arguments: Option<Json>,
}

impl Function {
    /// The arguments as text.
    pub(super) fn arguments(&self) -> Option<String> {
        let raw = self.arguments.as_ref()?;
        if raw.as_str().starts_with('"') { raw.read().ok() } else { Some(raw.as_str().to_owned()) }
    }
}

/// A piece of what a model says, out of a message or a delta.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Reasoning(String),
}

impl Said {
    /// The text and the thoughts, in order; `Err` if the content is neither text nor parts.
    pub(super) fn pieces(&self) -> Result<Vec<Piece>, &'static str> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Part {
            text: Option<String>,
            thinking: Option<Vec<Part>>,
        }

        let mut pieces = Vec::new();
        let reasoning = self.reasoning_content.clone().or_else(|| self.reasoning.as_ref()?.read().ok());
        pieces.extend(reasoning.filter(|text| !text.is_empty()).map(Piece::Reasoning));
        let Some(content) = &self.content else { return Ok(pieces) };
        if content.as_str().starts_with('"') {
            let text: String = content.read().map_err(|_| "a content that is no text")?;
            if !text.is_empty() {
                pieces.push(Piece::Text(text));
            }
            return Ok(pieces);
        }
        let parts: Vec<Part> = content.read().map_err(|_| "a content that is neither text nor parts")?;
        for part in parts {
            let thoughts = part.thinking.into_iter().flatten().filter_map(|thought| thought.text);
            pieces.extend(thoughts.filter(|text| !text.is_empty()).map(Piece::Reasoning));
            pieces.extend(part.text.filter(|text| !text.is_empty()).map(Piece::Text));
        }
        Ok(pieces)
    }

    /// What is beside text and tools: an object of further fields of the message.
    pub(super) fn native(&self) -> Option<Json> {
        let annotations = self.annotations.as_ref().filter(|list| list.as_str() != "[]");
        let details = self.reasoning_details.as_ref().filter(|list| list.as_str() != "[]");
        if annotations.is_none() && self.audio.is_none() && details.is_none() {
            return None;
        }
        let mut extra = crate::json::Extra::new();
        if let Some(annotations) = annotations {
            extra.insert("annotations", annotations.clone());
        }
        if let Some(details) = details {
            extra.insert("reasoning_details", details.clone());
        }
        if let Some(audio) = &self.audio {
            extra.insert("audio", audio.clone());
        }
        Some(Json::of(&extra))
    }
}

/// Tokens, as chat completions tell them.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct UsageWire {
    prompt_tokens: Option<Integer>,
    completion_tokens: Option<Integer>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's own place.
    prompt_cache_hit_tokens: Option<Integer>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<Integer>,
    cache_write_tokens: Option<Integer>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Option<Integer>,
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Self {
        let count = |value: Option<Integer>| value.unwrap_or_default().count();
        let prompt = wire.prompt_tokens_details.unwrap_or_default();
        Self {
            input_tokens: count(wire.prompt_tokens),
            output_tokens: count(wire.completion_tokens),
            cached_input_tokens: count(prompt.cached_tokens.or(wire.prompt_cache_hit_tokens)),
            cache_write_tokens: count(prompt.cache_write_tokens),
            reasoning_tokens: count(wire.completion_tokens_details.unwrap_or_default().reasoning_tokens),
        }
    }
}

/// Our word for theirs. A model that called tools waits for them, whatever word it ended with: a forced call ends
/// with `stop`.
pub(super) fn finish_reason(raw: &str, calls: bool) -> FinishReason {
    match raw {
        "stop" if calls => FinishReason::ToolCalls,
        "stop" | "eos" | "end_turn" | "stop_sequence" => FinishReason::Stop,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    }
}
