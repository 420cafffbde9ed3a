//! Reading a streamed answer, chunk by chunk.
//!
//! The usage comes in a chunk behind the one that says why the answer ended, so the end is held back until `[DONE]` or
//! the end of the body.

use super::errors::{malformed, stream_error, vendor_error};
use super::halves::Halves;
use super::response::{call_id, extra};
use super::wire::{Call, Choice, Completion, Piece, finish_reason};
use crate::chat::{Dialect, Finish, StreamEvent, Usage};
use crate::error::{ErrorCode, ProviderError, sort};
use crate::sse::Interpret;

/// More tools than any model calls at once: a bound on what a stream can make us keep.
const MAX_CALLS: usize = 1_024;

/// The state between chunks.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    started: bool,
    id: Option<String>,
    calls: Vec<OpenCall>,
    usage: Option<Usage>,
    finish: Option<String>,
    halves: Halves,
}

/// A call whose pieces are coming in.
#[derive(Debug)]
struct OpenCall {
    /// The server's number for it, if it numbers them.
    index: Option<i64>,
    id: Option<String>,
    name: String,
    told: bool,
    /// Arguments that came before the name.
    early: String,
}

impl Interpret for Chunks {
    fn event(&mut self, name: Option<&str>, data: &str, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        if data.trim() == "[DONE]" {
            if self.finish.is_none() {
                let why = "the stream ended without saying why the answer did";
                return Err(ProviderError::new(ErrorCode::StreamInterrupted, why));
            }
            return self.end(out);
        }
        if data.trim().is_empty() {
            return Ok(());
        }
        let may_be_half = data.contains(r"\ud") || data.contains(r"\uD");
        let mended = may_be_half.then(|| self.halves.mend(data)).flatten();
        let data = mended.as_deref().unwrap_or(data);
        let chunk: Completion =
            serde_json::from_str(data).map_err(|error| malformed(&format!("an event of its stream: {error}")))?;
        if let Some(error) = chunk.error.as_ref().or(chunk.x_groq.as_ref().and_then(|groq| groq.error.as_ref())) {
            return Err(stream_error(error));
        }
        let bare_error = chunk.choices.is_none()
            && (name == Some("error")
                || chunk.message.is_some()
                || chunk.object.as_ref().is_some_and(|object| object.as_str() == "\"error\""));
        if bare_error {
            return Err(sort(None, vendor_error(data.as_bytes())));
        }
        self.chunk(chunk, out)
    }

    fn close(&mut self, out: &mut Vec<StreamEvent>) {
        // Some servers leave `[DONE]` out; the reason to end is proof enough.
        if self.finish.is_some()
            && let Err(error) = self.end(out)
        {
            out.push(StreamEvent::Error(error));
        }
    }
}

impl Chunks {
    /// Whether it has been told who answers.
    pub(super) fn has_started(&self) -> bool {
        self.started
    }

    /// Whether a tool was called.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Takes note of what a chunk said that was passed on.
    pub(super) fn note(&mut self, usage: Option<Usage>, finish: Option<&str>) {
        self.usage = usage.or(self.usage);
        if let Some(finish) = finish {
            self.finish = Some(finish.to_owned());
        }
    }

    fn chunk(&mut self, mut chunk: Completion, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        let choices = chunk.choices.take().unwrap_or_default();
        // Azure opens with a chunk about its filters: no choice, no id.
        if !self.started && (!choices.is_empty() || chunk.id.as_deref().is_some_and(|id| !id.is_empty())) {
            self.started = true;
            self.id = chunk.id.clone().filter(|id| !id.is_empty());
            out.push(StreamEvent::Started {
                id: self.id.clone(),
                model: chunk.model.take().filter(|model| !model.is_empty()),
                created: chunk.created.map(|created| created.0),
                dialect: Dialect::OpenAi,
                extra: extra(chunk.system_fingerprint.take(), chunk.service_tier.take()),
            });
        }
        if let Some(usage) = chunk.usage.or(chunk.x_groq.and_then(|groq| groq.usage)) {
            self.usage = Some(usage.into());
        }
        for choice in choices {
            // One answer was asked for; a server that sends more is not listened to twice.
            if choice.index.unwrap_or_default().0 == 0 {
                self.choice(choice, out)?;
            }
        }
        Ok(())
    }

    fn choice(&mut self, choice: Choice, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        if let Some(said) = choice.delta.or(choice.message) {
            for piece in said.pieces().map_err(malformed)? {
                out.push(match piece {
                    Piece::Text(text) => StreamEvent::TextDelta { text },
                    Piece::Reasoning(text) => StreamEvent::ReasoningDelta { text },
                });
            }
            if let Some(value) = said.native() {
                out.push(StreamEvent::Native { dialect: Dialect::OpenAi, value });
            }
            if let Some(text) = said.refusal.filter(|text| !text.is_empty()) {
                out.push(StreamEvent::RefusalDelta { text });
            }
            for call in said.tool_calls.unwrap_or_default() {
                self.call(call, out)?;
            }
        }
        if let Some(value) = choice.logprobs {
            out.push(StreamEvent::Logprobs { value });
        }
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            if reason == "error" {
                return Err(ProviderError::new(ErrorCode::ServerError, "the provider gave the answer up"));
            }
            self.finish = Some(reason);
        }
        Ok(())
    }

    fn call(&mut self, call: Call, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        let at = self.slot(&call)?;
        let signature = call.signature();
        let Some(open) = self.calls.get_mut(at) else { return Ok(()) };
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        let Some(function) = call.function else { return Ok(()) };
        if !open.told {
            open.name.push_str(function.name.as_deref().unwrap_or_default());
        }
        let arguments = function.arguments().unwrap_or_default();
        if open.name.is_empty() {
            open.early.push_str(&arguments);
            return Ok(());
        }
        if !open.told {
            open.told = true;
            out.push(StreamEvent::ToolCallStarted {
                index,
                id: call_id(open.id.clone(), self.id.as_deref(), at),
                name: open.name.clone(),
                signature,
            });
        }
        let delta = std::mem::take(&mut open.early) + &arguments;
        if !delta.is_empty() {
            out.push(StreamEvent::ToolCallArguments { index, delta });
        }
        Ok(())
    }

    /// Which call a piece belongs to. Some servers number none, some number all of them 0 with ids that differ.
    fn slot(&mut self, call: &Call) -> Result<usize, ProviderError> {
        let id = call.id.as_deref().filter(|id| !id.is_empty());
        let index = call.index.map(|index| index.0);
        let known = match (index, id) {
            (Some(index), _) => self.calls.iter().rposition(|open| open.index == Some(index)),
            (None, Some(id)) => self.calls.iter().rposition(|open| open.id.as_deref() == Some(id)),
            (None, None) => self.calls.len().checked_sub(1),
        };
        let same = |open: &OpenCall| id.is_none() || open.id.is_none() || open.id.as_deref() == id;
        match known {
            Some(at) if self.calls.get(at).is_some_and(same) => {
                if let (Some(open), Some(id)) = (self.calls.get_mut(at), id) {
                    open.id = Some(id.to_owned());
                }
                Ok(at)
            }
            _ if self.calls.len() >= MAX_CALLS => Err(malformed("more tool calls than can be")),
            _ => {
                let id = id.map(str::to_owned);
                self.calls.push(OpenCall { index, id, name: String::new(), told: false, early: String::new() });
                Ok(self.calls.len() - 1)
            }
        }
    }

    fn end(&mut self, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        if self.calls.iter().any(|call| !call.told) {
            return Err(malformed("a tool call without a name"));
        }
        if let Some(usage) = self.usage {
            out.push(StreamEvent::Usage(usage));
        }
        let raw = self.finish.clone().unwrap_or_default();
        let reason = finish_reason(&raw, !self.calls.is_empty());
        out.push(StreamEvent::Finished(Finish { reason, raw: Some(raw), stop_sequence: None }));
        Ok(())
    }
}
