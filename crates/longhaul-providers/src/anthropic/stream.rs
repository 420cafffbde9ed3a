//! Reading a streamed answer, event by event.

use serde::Deserialize;

use super::errors::{malformed, vendor_error};
use super::wire::{Block, Message, UsageWire, finish};
use crate::chat::{Dialect, StreamEvent};
use crate::error::{ProviderError, sort};
use crate::json::{Extra, Integer, Json};
use crate::sse::Interpret;

/// More blocks than any answer has: a bound on what a stream can make us keep.
const MAX_BLOCKS: usize = 4_096;

/// The state between events.
#[derive(Debug, Default)]
pub(super) struct Events {
    blocks: Vec<Open>,
    calls: u32,
    usage: Option<UsageWire>,
    end: Option<(String, Option<String>)>,
}

/// A block that is being told.
#[derive(Debug)]
struct Open {
    index: i64,
    what: What,
}

#[derive(Debug)]
enum What {
    Text,
    /// A call, with its number, the input that came with its start, and whether more came.
    Call {
        number: u32,
        input: Option<String>,
        told: bool,
    },
    /// Our own way to ask for JSON: a call that is told as text.
    JsonAnswer,
    Thought {
        signature: Option<String>,
    },
    Sealed,
    /// A block of a kind that only this protocol has: told when it is whole.
    Native {
        block: Json,
        input: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    index: Option<Integer>,
    message: Option<Message>,
    content_block: Option<Json>,
    delta: Option<Delta>,
    usage: Option<UsageWire>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    partial_json: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    citation: Option<Json>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

impl Interpret for Events {
    fn event(&mut self, name: Option<&str>, data: &str, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        if name == Some("ping") {
            return Ok(());
        }
        let event: Event =
            serde_json::from_str(data).map_err(|error| malformed(&format!("an event of its stream: {error}")))?;
        match event.kind.as_str() {
            "error" => return Err(sort(None, vendor_error(data.as_bytes()))),
            "message_start" => {
                let message = event.message.ok_or_else(|| malformed("a start without a message"))?;
                self.usage = message.usage;
                out.push(StreamEvent::Started {
                    id: message.id,
                    model: message.model,
                    created: None,
                    dialect: Dialect::Anthropic,
                    extra: Extra::new(),
                });
                // Owed also if the stream breaks off.
                out.extend(self.usage.map(|usage| StreamEvent::Usage(usage.into())));
            }
            "content_block_start" => {
                let block = event.content_block.ok_or_else(|| malformed("a block's start without the block"))?;
                self.start(event.index.unwrap_or_default().0, block, out)?;
            }
            "content_block_delta" => {
                let delta = event.delta.ok_or_else(|| malformed("a delta without a delta"))?;
                self.delta(event.index.unwrap_or_default().0, delta, out)?;
            }
            "content_block_stop" => self.stop(event.index.unwrap_or_default().0, out),
            "message_delta" => {
                if let Some(usage) = event.usage {
                    self.usage = Some(usage.over(self.usage.unwrap_or_default()));
                }
                let delta = event.delta.unwrap_or_default();
                if let Some(reason) = delta.stop_reason {
                    self.end = Some((reason, delta.stop_sequence));
                }
            }
            "message_stop" => {
                if self.end.is_none() {
                    return Err(malformed("it does not say why it ended"));
                }
                self.finish(out);
            }
            // `ping`, and events of the future, as Anthropic asks of its clients.
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<StreamEvent>) {
        // All has been said but goodbye.
        if self.end.is_some() && self.blocks.is_empty() {
            self.finish(out);
        }
    }
}

impl Events {
    fn start(&mut self, index: i64, raw: Json, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        if self.blocks.len() >= MAX_BLOCKS {
            return Err(malformed("more blocks than can be"));
        }
        let block: Block = raw.read().map_err(|error| malformed(&format!("a block of it: {error}")))?;
        let what = if block.is_json_answer() {
            What::JsonAnswer
        } else {
            match block.kind.as_str() {
                "text" => {
                    if let Some(text) = block.text.filter(|text| !text.is_empty()) {
                        out.push(StreamEvent::TextDelta { text });
                    }
                    What::Text
                }
                "tool_use" => {
                    let number = self.calls;
                    self.calls += 1;
                    out.push(StreamEvent::ToolCallStarted {
                        index: number,
                        id: block.id.ok_or_else(|| malformed("a tool call without an id"))?,
                        name: block.name.ok_or_else(|| malformed("a tool call without a name"))?,
                        signature: None,
                    });
                    let input = block.input.filter(|input| input.as_str() != "{}");
                    What::Call { number, input: input.map(|input| input.as_str().to_owned()), told: false }
                }
                "thinking" => {
                    if let Some(text) = block.thinking.filter(|text| !text.is_empty()) {
                        out.push(StreamEvent::ReasoningDelta { text });
                    }
                    What::Thought { signature: block.signature.filter(|signature| !signature.is_empty()) }
                }
                "redacted_thinking" => {
                    out.push(StreamEvent::ReasoningEnded { signature: None, encrypted: block.data, id: None });
                    What::Sealed
                }
                _ => What::Native { block: raw, input: String::new() },
            }
        };
        self.blocks.push(Open { index, what });
        Ok(())
    }

    fn delta(&mut self, index: i64, delta: Delta, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError> {
        let open = self.blocks.iter_mut().find(|open| open.index == index);
        let open = open.ok_or_else(|| malformed("a delta of a block that has not begun"))?;
        match (&mut open.what, delta.kind.as_str()) {
            (What::Text, "text_delta") => {
                out.extend(delta.text.map(|text| StreamEvent::TextDelta { text }));
            }
            (What::Text, "citations_delta") => {
                let mut value = Extra::new();
                value.insert("type", Json::of("citations_delta"));
                value.insert("citation", delta.citation.unwrap_or_else(Json::null));
                out.push(StreamEvent::Native { dialect: Dialect::Anthropic, value: Json::of(&value) });
            }
            (What::Call { number, told, .. }, "input_json_delta") => {
                if let Some(delta) = delta.partial_json.filter(|json| !json.is_empty()) {
                    *told = true;
                    out.push(StreamEvent::ToolCallArguments { index: *number, delta });
                }
            }
            (What::JsonAnswer, "input_json_delta") => {
                let text = delta.partial_json.filter(|json| !json.is_empty());
                out.extend(text.map(|text| StreamEvent::TextDelta { text }));
            }
            (What::Thought { .. }, "thinking_delta") => {
                let text = delta.thinking.filter(|text| !text.is_empty());
                out.extend(text.map(|text| StreamEvent::ReasoningDelta { text }));
            }
            (What::Thought { signature }, "signature_delta") => {
                signature.get_or_insert_default().push_str(delta.signature.as_deref().unwrap_or_default());
            }
            (What::Native { input, .. }, "input_json_delta") => {
                input.push_str(delta.partial_json.as_deref().unwrap_or_default());
            }
            // Deltas of the future.
            _ => {}
        }
        Ok(())
    }

    fn stop(&mut self, index: i64, out: &mut Vec<StreamEvent>) {
        let Some(at) = self.blocks.iter().position(|open| open.index == index) else { return };
        match self.blocks.remove(at).what {
            What::Call { number, input, told: false } => {
                // A call without arguments: the neutral form of none is an empty object.
                let delta = input.unwrap_or_else(|| "{}".to_owned());
                out.push(StreamEvent::ToolCallArguments { index: number, delta });
            }
            What::Thought { signature } => {
                out.push(StreamEvent::ReasoningEnded { signature, encrypted: None, id: None });
            }
            What::Native { block, input } => {
                out.push(StreamEvent::Native { dialect: Dialect::Anthropic, value: with_input(block, input) });
            }
            What::Text => out.push(StreamEvent::PartEnded),
            What::Call { .. } | What::JsonAnswer | What::Sealed => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<StreamEvent>) {
        if let Some(usage) = self.usage {
            out.push(StreamEvent::Usage(usage.into()));
        }
        let (raw, stop_sequence) = self.end.take().unwrap_or_default();
        out.push(StreamEvent::Finished(finish(raw, stop_sequence, self.calls > 0)));
    }
}

/// A block with the input that came in pieces behind it.
fn with_input(block: Json, input: String) -> Json {
    let Ok(input) = Json::parse(input) else { return block };
    let mut fields = Extra::new();
    for (name, value) in block.read_fields() {
        fields.insert(name, value);
    }
    fields.insert("input", input);
    Json::of(&fields)
}
