//! Writing a streamed message: `message_start`, blocks, `message_delta`, `message_stop`.

use super::answer::{encode_failure, stop_word, write_usage};
use crate::chat::{Dialect, Finish, StreamEvent, Usage};
use crate::error::{ErrorCode, ProviderError};
use crate::facade::{Failure, Frame, Stamp, StreamEncoder, Turns};
use crate::json::{Json, Object, to_bytes};

/// Tells a streamed answer as Anthropic's events.
///
/// Nothing is sent before the first piece of the answer, so an attempt that fails at once leaves no trace. The usage
/// of `message_start` is what the provider has told by then, zero as a rule; `message_delta` tells all of it.
#[derive(Debug)]
pub struct MessageStreamEncoder {
    stamp: Stamp,
    opened: bool,
    blocks: u32,
    open: Option<Block>,
    turns: Turns,
    /// Seals and native parts are Anthropic's.
    native: bool,
    usage: Option<Usage>,
    ended: bool,
}

/// The block that is being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Tool(u32),
}

impl MessageStreamEncoder {
    /// An encoder of one answer.
    pub fn new(stamp: Stamp) -> Self {
        Self {
            stamp,
            opened: false,
            blocks: 0,
            open: None,
            turns: Turns::default(),
            native: true,
            usage: None,
            ended: false,
        }
    }

    fn start(&mut self, frames: &mut Vec<Frame>) {
        if std::mem::replace(&mut self.opened, true) {
            return;
        }
        frame(frames, "message_start", |event| {
            event.object("message", |message| {
                message.field("id", &self.stamp.id).field("type", "message").field("role", "assistant");
                message.field("model", &self.stamp.model);
                message.list("content", |_| {});
                message.field("stop_reason", &()).field("stop_sequence", &());
                message.object("usage", |usage| write_usage(usage, self.usage.unwrap_or_default()));
            });
        });
    }

    /// Begins a block of this kind unless it is the open one.
    fn begin(&mut self, frames: &mut Vec<Frame>, block: Block, fill: impl FnOnce(&mut Object<'_>)) {
        if self.open == Some(block) {
            return;
        }
        self.close(frames);
        self.open = Some(block);
        self.block_start(frames, fill);
    }

    fn block_start(&self, frames: &mut Vec<Frame>, fill: impl FnOnce(&mut Object<'_>)) {
        frame(frames, "content_block_start", |event| {
            event.field("index", &self.blocks);
            event.object("content_block", fill);
        });
    }

    fn delta(&self, frames: &mut Vec<Frame>, fill: impl FnOnce(&mut Object<'_>)) {
        frame(frames, "content_block_delta", |event| {
            event.field("index", &self.blocks);
            event.object("delta", fill);
        });
    }

    fn close(&mut self, frames: &mut Vec<Frame>) {
        if self.open.take().is_some() {
            self.block_stop(frames);
        }
    }

    fn block_stop(&mut self, frames: &mut Vec<Frame>) {
        frame(frames, "content_block_stop", |event| {
            event.field("index", &self.blocks);
        });
        self.blocks += 1;
    }

    /// A block that is whole from the start.
    fn whole(&mut self, frames: &mut Vec<Frame>, value: &Json) {
        self.close(frames);
        frame(frames, "content_block_start", |event| {
            event.field("index", &self.blocks).field("content_block", value);
        });
        self.block_stop(frames);
    }

    fn text(&mut self, frames: &mut Vec<Frame>, text: &str) {
        self.begin(frames, Block::Text, |block| {
            block.field("type", "text").field("text", "").field("citations", &());
        });
        self.delta(frames, |delta| {
            delta.field("type", "text_delta").text("text", text);
        });
    }

    fn begin_thinking(&mut self, frames: &mut Vec<Frame>) {
        self.begin(frames, Block::Thinking, |block| {
            block.field("type", "thinking").field("thinking", "").field("signature", "");
        });
    }

    fn native(&mut self, frames: &mut Vec<Frame>, value: &Json) {
        let is_citation =
            value.read_fields().iter().any(|(name, value)| name == "type" && value.as_str() == "\"citations_delta\"");
        if !is_citation {
            self.whole(frames, value);
        } else if self.open == Some(Block::Text) {
            frame(frames, "content_block_delta", |event| {
                event.field("index", &self.blocks).field("delta", value);
            });
        }
    }

    fn finish(&mut self, frames: &mut Vec<Frame>, finish: &Finish) {
        self.close(frames);
        self.ended = true;
        frame(frames, "message_delta", |event| {
            event.object("delta", |delta| {
                delta.field("stop_reason", stop_word(finish)).field("stop_sequence", &finish.stop_sequence);
            });
            event.object("usage", |usage| write_usage(usage, self.usage.unwrap_or_default()));
        });
        frame(frames, "message_stop", |_| {});
    }

    fn fail(&mut self, frames: &mut Vec<Frame>, error: &ProviderError) {
        self.ended = true;
        frames.push(Frame::named("error", None, encode_failure(&Failure::from(error), None)));
    }
}

impl StreamEncoder for MessageStreamEncoder {
    fn push(&mut self, event: &StreamEvent, frames: &mut Vec<Frame>) {
        let mut turns = std::mem::take(&mut self.turns);
        turns.push(event, |event| self.tell(event, frames));
        self.turns = turns;
    }
}

impl MessageStreamEncoder {
    fn tell(&mut self, event: &StreamEvent, frames: &mut Vec<Frame>) {
        if self.ended {
            return;
        }
        match event {
            StreamEvent::Started { dialect, .. } => {
                self.native = *dialect == Dialect::Anthropic;
                return;
            }
            StreamEvent::ReasoningStarted { .. } | StreamEvent::Logprobs { .. } => return,
            StreamEvent::PartEnded => {
                if self.open == Some(Block::Text) {
                    self.close(frames);
                }
                return;
            }
            StreamEvent::Usage(usage) => {
                self.usage = Some(*usage);
                return;
            }
            StreamEvent::Error(error) => return self.fail(frames, error),
            _ => self.start(frames),
        }
        match event {
            StreamEvent::TextDelta { text } | StreamEvent::RefusalDelta { text } => self.text(frames, text),
            StreamEvent::Relayed(relayed) => self.text(frames, &relayed.text),
            StreamEvent::ReasoningDelta { text } => {
                self.begin_thinking(frames);
                self.delta(frames, |delta| {
                    delta.field("type", "thinking_delta").field("thinking", text);
                });
            }
            // Without words, and with another provider's seal: nothing that a client could use.
            StreamEvent::ReasoningEnded { .. } if !self.native && self.open != Some(Block::Thinking) => {}
            StreamEvent::ReasoningEnded { encrypted: Some(data), .. } if self.open != Some(Block::Thinking) => {
                self.whole(frames, &Json::of(&serde_json::json!({"type": "redacted_thinking", "data": data})));
            }
            StreamEvent::ReasoningEnded { signature, .. } => {
                self.begin_thinking(frames);
                // Another provider's would be taken for Anthropic's when it comes back.
                if let Some(signature) = signature.as_ref().filter(|_| self.native) {
                    self.delta(frames, |delta| {
                        delta.field("type", "signature_delta").field("signature", signature);
                    });
                }
                self.close(frames);
            }
            StreamEvent::ToolCallStarted { index, id, name, .. } => {
                self.begin(frames, Block::Tool(*index), |block| {
                    block.field("type", "tool_use").field("id", id).field("name", name);
                    block.object("input", |_| {});
                });
            }
            StreamEvent::ToolCallArguments { index, delta: json } => {
                if self.open != Some(Block::Tool(*index)) {
                    let why = "the provider went back to a tool call that it had ended";
                    return self.fail(frames, &ProviderError::new(ErrorCode::MalformedResponse, why));
                }
                self.delta(frames, |delta| {
                    delta.field("type", "input_json_delta").field("partial_json", json);
                });
            }
            StreamEvent::Native { dialect: Dialect::Anthropic, value } => self.native(frames, value),
            StreamEvent::Finished(finish) => self.finish(frames, finish),
            // Natives of other protocols have no place here; the rest is told above.
            StreamEvent::Native { .. }
            | StreamEvent::Started { .. }
            | StreamEvent::PartEnded
            | StreamEvent::ReasoningStarted { .. }
            | StreamEvent::Logprobs { .. }
            | StreamEvent::Usage(_)
            | StreamEvent::Error(_) => {}
        }
    }
}

/// One event, its type in its name and in its data.
fn frame(frames: &mut Vec<Frame>, kind: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
    let data = to_bytes(|event| {
        event.field("type", kind);
        fill(event);
    });
    frames.push(Frame::named(kind, None, data));
}
