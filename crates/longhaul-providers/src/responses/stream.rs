//! Reading a streamed answer, event by event.

use serde::Deserialize;

use super::wire::{Item, Response};
use crate::chat::{Dialect, StreamEvent};
use crate::error::{ProviderError, sort};
use crate::json::{Extra, Integer, Json};
use crate::openai::{from_error, malformed};
use crate::sse::Interpret;

/// More calls than any model makes at once: a bound on what a stream can make us keep.
const MAX_CALLS: usize = 1_024;

/// The state between events.
#[derive(Debug, Default)]
pub(super) struct Events {
    started: bool,
    calls: Vec<OpenCall>,
    /// The thought that is being told has had a part.
    thought_told: bool,
}

#[derive(Debug)]
struct OpenCall {
    output_index: i64,
    told: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    response: Option<Response>,
    output_index: Option<Integer>,
    summary_index: Option<Integer>,
    delta: Option<Json>,
    item: Option<Json>,
    annotation: Option<Json>,
    error: Option<Json>,
}

impl Interpret for Events {
    fn event(&mut self, _name: Option<&str>, data: &str, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        if data.trim() == "[DONE]" {
            return Ok(());
        }
        let event: Event =
            serde_json::from_str(data).map_err(|error| malformed(&format!("an event of its stream: {error}")))?;
        match event.kind.as_str() {
            "response.created" | "response.queued" | "response.in_progress" => self.start(event.response, out),
            "response.output_item.added" => self.added(event, out)?,
            "response.output_text.delta" => text(event, |text| out.push(StreamEvent::TextDelta { text }))?,
            "response.refusal.delta" => text(event, |text| out.push(StreamEvent::RefusalDelta { text }))?,
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.thought_told = true;
                text(event, |text| out.push(StreamEvent::ReasoningDelta { text }))?;
            }
            "response.reasoning_summary_part.added"
                if self.thought_told && event.summary_index.unwrap_or_default().0 > 0 =>
            {
                out.push(StreamEvent::ReasoningDelta { text: "\n\n".to_owned() });
            }
            "response.function_call_arguments.delta" => {
                let index = self.call(&event)?;
                self.calls[index].told = true;
                let index = number(index);
                text(event, |delta| out.push(StreamEvent::ToolCallArguments { index, delta }))?;
            }
            "response.output_item.done" => self.done(event, out)?,
            "response.output_text.annotation.added" => {
                let mut value = Extra::new();
                value.insert("type", Json::of("annotation"));
                value.insert("annotation", event.annotation.unwrap_or_else(Json::null));
                out.push(StreamEvent::Native { dialect: Dialect::Responses, value: Json::of(&value) });
            }
            "response.completed" | "response.incomplete" | "response.failed" => self.end(event.response, out)?,
            "error" => {
                // Flat by the specification; some wrap it as elsewhere.
                let error = event.error.or_else(|| Json::parse(data).ok()).unwrap_or_else(Json::null);
                let mut vendor = from_error(&error);
                vendor.kind = vendor.kind.filter(|kind| kind != "error");
                return Err(sort(None, vendor));
            }
            // Ends of parts, keep-alives, progress of tools, events of the future: nothing that is not told elsewhere.
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, _out: &mut Vec<StreamEvent>) {}
}

impl Events {
    fn start(&mut self, response: Option<Response>, out: &mut Vec<StreamEvent>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let response = response.unwrap_or_default();
        out.push(StreamEvent::Started {
            created: response.created_at.map(|created| created.0),
            dialect: Dialect::Responses,
            extra: response.extra(),
            id: response.id,
            model: response.model,
        });
    }

    fn added(&mut self, event: Event, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        let item: Item = read_item(event.item.as_ref())?;
        match item.kind.as_str() {
            "function_call" => {
                if self.calls.len() >= MAX_CALLS {
                    return Err(malformed("more function calls than can be"));
                }
                let index = number(self.calls.len());
                let output_index = event.output_index.unwrap_or_default().0;
                let call = item.call()?;
                out.push(StreamEvent::ToolCallStarted { index, id: call.id, name: call.name, signature: None });
                self.calls.push(OpenCall { output_index, told: false });
            }
            "reasoning" => {
                self.thought_told = false;
                out.push(StreamEvent::ReasoningStarted { id: item.id });
            }
            _ => {}
        }
        Ok(())
    }

    fn done(&mut self, event: Event, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        let item: Item = read_item(event.item.as_ref())?;
        match item.kind.as_str() {
            "message" => {}
            "function_call" => {
                let at = self.call(&event)?;
                // Arguments that were never told in pieces.
                if !std::mem::replace(&mut self.calls[at].told, true) {
                    let delta = item.arguments.unwrap_or_default();
                    if !delta.is_empty() {
                        out.push(StreamEvent::ToolCallArguments { index: number(at), delta });
                    }
                }
            }
            "reasoning" => {
                let told = std::mem::replace(&mut self.thought_told, false);
                let thought = item.thought();
                if !told && !thought.text.is_empty() {
                    out.push(StreamEvent::ReasoningDelta { text: thought.text });
                }
                let (encrypted, id) = (thought.encrypted, thought.id);
                out.push(StreamEvent::ReasoningEnded { signature: None, encrypted, id });
            }
            _ => {
                if let Some(value) = event.item {
                    out.push(StreamEvent::Native { dialect: Dialect::Responses, value });
                }
            }
        }
        Ok(())
    }

    /// Which call an event is about.
    fn call(&self, event: &Event) -> Result<usize, ProviderError> {
        let output_index = event.output_index.unwrap_or_default().0;
        let at = self.calls.iter().position(|call| call.output_index == output_index);
        at.ok_or_else(|| malformed("an event of a function call that has not begun"))
    }

    fn end(&mut self, response: Option<Response>, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        let response = response.ok_or_else(|| malformed("an end without a response"))?;
        let finish = response.finish(!self.calls.is_empty())?;
        if let Some(usage) = response.usage {
            out.push(StreamEvent::Usage(usage.into()));
        }
        out.push(StreamEvent::Finished(finish));
        Ok(())
    }
}

fn read_item(item: Option<&Json>) -> Result<Item, ProviderError> {
    let item = item.ok_or_else(|| malformed("an event about an item without the item"))?;
    item.read().map_err(|error| malformed(&format!("an item of it: {error}")))
}

fn text(event: Event, tell: impl FnOnce(String)) -> Result<(), ProviderError> {
    let delta = event.delta.ok_or_else(|| malformed("a delta without a delta"))?;
    let text: String = delta.read().map_err(|_| malformed("a delta that is no text"))?;
    if !text.is_empty() {
        tell(text);
    }
    Ok(())
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
