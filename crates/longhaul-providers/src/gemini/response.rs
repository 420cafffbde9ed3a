//! Reading a whole answer.

use super::errors::{from_inner, vendor_error};
use super::wire::{Candidate, Generated, Part as WirePart, call_id, finish};
use crate::chat::{ChatResponse, Content, Dialect, Part, ReasoningContent, ToolCall};
use crate::error::{ProviderError, request_id, sort};
use crate::exchange::{Reply, read_json};
use crate::json::{Extra, Json};
use crate::openai::malformed;

pub(super) fn decode(reply: Reply<'_>) -> Result<ChatResponse, ProviderError> {
    if !reply.head.status.is_success() {
        return Err(sort(Some(reply.head), vendor_error(reply.body)));
    }
    let generated: Generated = read_json(reply)?;
    read(generated).map_err(|mut error| {
        error.http_status = Some(reply.head.status.as_u16());
        error.request_id = request_id(reply.head);
        error
    })
}

fn read(generated: Generated) -> Result<ChatResponse, ProviderError> {
    if let Some(error) = generated.error {
        return Err(sort(None, from_inner(error)));
    }
    if let Some(blocked) = generated.prompt_feedback.as_ref().and_then(|feedback| feedback.block()) {
        return Err(blocked);
    }
    let mut candidates = generated.candidates.unwrap_or_default().into_iter();
    let mut candidate = candidates.next().ok_or_else(|| malformed("it has no candidate"))?;
    let raw_parts = candidate.content.take().and_then(|content| content.parts).unwrap_or_default();
    let mut parts: Vec<Part> = Vec::with_capacity(raw_parts.len());
    let mut calls = 0;
    for raw in &raw_parts {
        let part = part(raw, generated.response_id.as_deref(), &mut calls)?;
        join(&mut parts, part);
    }
    let raw = candidate.finish_reason.take().ok_or_else(|| malformed("it does not say why it ended"))?;
    let finish = finish(raw, candidate.finish_message.as_deref(), calls > 0)?;
    Ok(ChatResponse {
        parts,
        finish,
        created: None,
        usage: generated.usage_metadata.map(Into::into),
        logprobs: candidate.logprobs_result.as_ref().and_then(|result| result.neutral()),
        dialect: Dialect::Gemini,
        extra: extra(candidate),
        id: generated.response_id,
        model: generated.model_version,
    })
}

fn part(raw: &Json, answer: Option<&str>, calls: &mut usize) -> Result<Part, ProviderError> {
    let part: WirePart = raw.read().map_err(|error| malformed(&format!("a part of it: {error}")))?;
    Ok(match (part.function_call, part.text) {
        (Some(call), _) => {
            let index = *calls;
            *calls += 1;
            let id = call_id(&call, answer, index);
            let name = call.name.ok_or_else(|| malformed("a function call without a name"))?;
            let arguments = call.args.map_or_else(|| "{}".to_owned(), |args| args.as_str().to_owned());
            Content::ToolCall(ToolCall { id, name, arguments, signature: part.thought_signature }).into()
        }
        (None, Some(text)) if part.thought == Some(true) => {
            let signature = part.thought_signature;
            Content::Reasoning(ReasoningContent { text, signature, ..ReasoningContent::default() }).into()
        }
        (None, Some(text)) => {
            let mut extra = Extra::new();
            if let Some(signature) = part.thought_signature {
                extra.insert("thoughtSignature", Json::of(&signature));
            }
            Part { content: Content::Text(text), extra }
        }
        // Pictures, code that the provider runs, and what is still to come.
        (None, None) => Content::Native(raw.clone()).into(),
    })
}

/// Texts that follow each other are one; an empty one is none.
fn join(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut().map(|last| &mut last.content), &part.content) {
        (_, Content::Text(text)) if text.is_empty() => {}
        (Some(Content::Text(whole)), Content::Text(text)) if part.extra.is_empty() => whole.push_str(text),
        (Some(Content::Reasoning(whole)), Content::Reasoning(thought)) => {
            whole.text.push_str(&thought.text);
            whole.signature = thought.signature.clone().or(whole.signature.take());
        }
        _ => parts.push(part),
    }
}

fn extra(candidate: Candidate) -> Extra {
    let mut extra = Extra::new();
    let fields =
        [("groundingMetadata", candidate.grounding_metadata), ("citationMetadata", candidate.citation_metadata)];
    for (name, value) in fields {
        if let Some(value) = value {
            extra.insert(name, value);
        }
    }
    extra
}
