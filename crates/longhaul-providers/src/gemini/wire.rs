//! What answers look like on the wire, whole or a chunk.

use serde::Deserialize;

use super::errors::Inner;
use crate::chat::{Finish, FinishReason, Usage};
use crate::error::{ErrorCode, ProviderError};
use crate::json::{Integer, Json};
use crate::openai::malformed;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Generated {
    pub(super) candidates: Option<Vec<Candidate>>,
    pub(super) prompt_feedback: Option<Feedback>,
    pub(super) usage_metadata: Option<UsageWire>,
    pub(super) model_version: Option<String>,
    pub(super) response_id: Option<String>,
    pub(super) error: Option<Inner>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) content: Option<Content>,
    pub(super) finish_reason: Option<String>,
    pub(super) finish_message: Option<String>,
    pub(super) logprobs_result: Option<LogprobsResult>,
    pub(super) grounding_metadata: Option<Json>,
    pub(super) citation_metadata: Option<Json>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Content {
    pub(super) parts: Option<Vec<Json>>,
}

/// One part; what it has says what it is.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Part {
    pub(super) text: Option<String>,
    pub(super) thought: Option<bool>,
    pub(super) thought_signature: Option<String>,
    pub(super) function_call: Option<FunctionCall>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionCall {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) args: Option<Json>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Feedback {
    block_reason: Option<String>,
    block_reason_message: Option<String>,
}

impl Feedback {
    /// The prompt itself was refused.
    pub(super) fn block(&self) -> Option<ProviderError> {
        let reason = self.block_reason.as_deref()?;
        let told = self.block_reason_message.as_deref().unwrap_or("the provider blocked the prompt");
        let mut error = ProviderError::new(ErrorCode::ContentFiltered, format!("{told} ({reason})"));
        error.upstream_code = Some(reason.to_owned());
        Some(error)
    }
}

/// The part of a call's id that is ours to make: Gemini has ids for calls at times only.
pub(super) fn call_id(call: &FunctionCall, answer: Option<&str>, index: usize) -> String {
    match (&call.id, answer) {
        (Some(id), _) if !id.is_empty() => id.clone(),
        (_, Some(answer)) => format!("call_{answer}_{index}"),
        (_, None) => format!("call_{index}"),
    }
}

/// The end in our words; an end that is a failure of the model's is an error, which another try may mend.
pub(super) fn finish(raw: String, message: Option<&str>, calls: bool) -> Result<Finish, ProviderError> {
    let reason = match raw.as_str() {
        "STOP" if calls => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "ESCALATION"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "MALFORMED_RESPONSE" | "TOO_MANY_TOOL_CALLS" => {
            let mut error = malformed(&match message {
                Some(message) => format!("{raw}: {}", crate::error::bounded_message(message)),
                None => raw.clone(),
            });
            error.upstream_code = Some(raw);
            return Err(error);
        }
        "MISSING_THOUGHT_SIGNATURE" => {
            let why = "the provider misses the seal of an earlier thought";
            return Err(ProviderError::new(ErrorCode::InvalidRequest, why));
        }
        _ => FinishReason::Other,
    };
    Ok(Finish { reason, raw: Some(raw), stop_sequence: None })
}

/// Tokens; a chunk tells all so far.
#[derive(Default, Clone, Copy, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct UsageWire {
    prompt_token_count: Option<Integer>,
    candidates_token_count: Option<Integer>,
    thoughts_token_count: Option<Integer>,
    cached_content_token_count: Option<Integer>,
    tool_use_prompt_token_count: Option<Integer>,
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Self {
        let count = |value: Option<Integer>| value.unwrap_or_default().count();
        let thoughts = count(wire.thoughts_token_count);
        Self {
            input_tokens: count(wire.prompt_token_count).saturating_add(count(wire.tool_use_prompt_token_count)),
            // Gemini counts thoughts beside the answer.
            output_tokens: count(wire.candidates_token_count).saturating_add(thoughts),
            cached_input_tokens: count(wire.cached_content_token_count),
            cache_write_tokens: 0,
            reasoning_tokens: thoughts,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LogprobsResult {
    chosen_candidates: Option<Vec<TokenLogprob>>,
    top_candidates: Option<Vec<TopCandidates>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TopCandidates {
    candidates: Option<Vec<TokenLogprob>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TokenLogprob {
    token: Option<String>,
    log_probability: Option<f64>,
}

impl LogprobsResult {
    /// In OpenAI's form.
    pub(super) fn neutral(&self) -> Option<Json> {
        let one = |token: &TokenLogprob| {
            serde_json::json!({
                "token": token.token.as_deref().unwrap_or_default(),
                "logprob": token.log_probability.unwrap_or_default(),
                "bytes": token.token.as_deref().unwrap_or_default().as_bytes(),
            })
        };
        let chosen = self.chosen_candidates.as_ref()?;
        let tops = self.top_candidates.as_deref().unwrap_or_default();
        let content = chosen.iter().enumerate().map(|(at, token)| {
            let top = tops.get(at).and_then(|top| top.candidates.as_deref()).unwrap_or_default();
            let mut entry = one(token);
            entry["top_logprobs"] = top.iter().map(one).collect();
            entry
        });
        let content: Vec<_> = content.collect();
        Some(Json::of(&serde_json::json!({"content": content, "refusal": null})))
    }
}
