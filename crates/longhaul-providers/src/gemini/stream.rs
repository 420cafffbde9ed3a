//! Reading a streamed answer, chunk by chunk.
//!
//! No event says that the stream is over: the reason to end stands in some late chunk, and the end of the body ends it.

use super::errors::from_inner;
use super::wire::{Generated, Part, UsageWire, call_id, finish};
use crate::chat::{Dialect, Finish, StreamEvent};
use crate::error::{ProviderError, sort};
use crate::json::{Extra, Json};
use crate::openai::malformed;
use crate::sse::Interpret;

/// The state between chunks.
#[derive(Default)]
pub(super) struct Chunks {
    started: bool,
    id: Option<String>,
    calls: usize,
    thinking: bool,
    usage: Option<UsageWire>,
    finish: Option<Finish>,
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Chunks").field("started", &self.started).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Interpret for Chunks {
    fn event(&mut self, _name: Option<&str>, data: &str, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        let generated: Generated =
            serde_json::from_str(data).map_err(|error| malformed(&format!("an event of its stream: {error}")))?;
        if let Some(error) = generated.error {
            return Err(sort(None, from_inner(error)));
        }
        if let Some(blocked) = generated.prompt_feedback.as_ref().and_then(|feedback| feedback.block()) {
            return Err(blocked);
        }
        if !std::mem::replace(&mut self.started, true) {
            self.id.clone_from(&generated.response_id);
            out.push(StreamEvent::Started {
                id: generated.response_id,
                model: generated.model_version,
                created: None,
                dialect: Dialect::Gemini,
                extra: Extra::new(),
            });
        }
        self.usage = generated.usage_metadata.or(self.usage);
        let Some(candidate) = generated.candidates.unwrap_or_default().into_iter().next() else { return Ok(()) };
        for raw in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
            self.part(&raw, out)?;
        }
        if let Some(value) = candidate.logprobs_result.as_ref().and_then(|result| result.neutral()) {
            out.push(StreamEvent::Logprobs { value });
        }
        if let Some(raw) = candidate.finish_reason {
            self.finish = Some(finish(raw, candidate.finish_message.as_deref(), self.calls > 0)?);
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<StreamEvent>) {
        let Some(finish) = self.finish.take() else { return };
        self.end_thought(None, out);
        if let Some(usage) = self.usage {
            out.push(StreamEvent::Usage(usage.into()));
        }
        out.push(StreamEvent::Finished(finish));
    }
}

impl Chunks {
    fn part(&mut self, raw: &Json, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        let part: Part = raw.read().map_err(|error| malformed(&format!("a part of it: {error}")))?;
        match (part.function_call, part.text) {
            (Some(call), _) => {
                self.end_thought(None, out);
                let number = self.calls;
                self.calls += 1;
                let index = u32::try_from(number).unwrap_or(u32::MAX);
                let id = call_id(&call, self.id.as_deref(), number);
                let name = call.name.ok_or_else(|| malformed("a function call without a name"))?;
                out.push(StreamEvent::ToolCallStarted { index, id, name, signature: part.thought_signature });
                let delta = call.args.map_or_else(|| "{}".to_owned(), |args| args.as_str().to_owned());
                out.push(StreamEvent::ToolCallArguments { index, delta });
            }
            (None, Some(text)) if part.thought == Some(true) => {
                self.thinking = true;
                if !text.is_empty() {
                    out.push(StreamEvent::ReasoningDelta { text });
                }
                if part.thought_signature.is_some() {
                    self.end_thought(part.thought_signature, out);
                }
            }
            (None, Some(text)) => {
                self.end_thought(None, out);
                if !text.is_empty() {
                    out.push(StreamEvent::TextDelta { text });
                }
            }
            (None, None) => {
                self.end_thought(None, out);
                out.push(StreamEvent::Native { dialect: Dialect::Gemini, value: raw.clone() });
            }
        }
        Ok(())
    }

    fn end_thought(&mut self, signature: Option<String>, out: &mut Vec<StreamEvent>) {
        if std::mem::take(&mut self.thinking) {
            out.push(StreamEvent::ReasoningEnded { signature, encrypted: None, id: None });
        }
    }
}
