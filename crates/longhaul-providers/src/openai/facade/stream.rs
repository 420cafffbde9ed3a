//! Writing a streamed chat completion: `chat.completion.chunk` by chunk, then `[DONE]`.

use super::answer::{UsageOut, finish_word};
use super::failure::error_object;
use crate::chat::{Dialect, StreamEvent, Usage};
use crate::facade::{Failure, Frame, Stamp, StreamEncoder};
use crate::json::{Extra, Json, Object, object};
use crate::openai::write_signature;
use crate::relay::Relayed;

/// Tells a streamed answer as chunks.
///
/// The first chunk, which names the role, is sent with the first piece of the answer and not before, so an attempt that
/// fails at once leaves no trace. With `include_usage`, every chunk has `usage: null` and one chunk without choices tells
/// it before `[DONE]`.
#[derive(Debug)]
pub struct ChatStreamEncoder {
    stamp: Stamp,
    include_usage: bool,
    extra: Extra,
    opened: bool,
    /// The start of every chunk, the same for all, up to the choices.
    prefix: Vec<u8>,
    usage: Option<Usage>,
    /// Log probabilities, which belong to the chunk of the text that they are of.
    logprobs: Option<Json>,
    /// Frames were passed on: what they said is not said again.
    relayed: bool,
    relayed_finish: bool,
    relayed_usage: bool,
    ended: bool,
}

impl ChatStreamEncoder {
    /// An encoder of one answer.
    pub fn new(stamp: Stamp, include_usage: bool) -> Self {
        Self {
            stamp,
            include_usage,
            extra: Extra::new(),
            opened: false,
            prefix: Vec::new(),
            usage: None,
            logprobs: None,
            relayed: false,
            relayed_finish: false,
            relayed_usage: false,
            ended: false,
        }
    }

    /// As [`new`](Self::new), for a stream whose frames may be passed on as they came: what is written in between says
    /// the same model and time.
    pub fn relaying(stamp: Stamp, include_usage: bool) -> Self {
        Self { relayed: true, ..Self::new(stamp, include_usage) }
    }

    /// Takes note of frames that whoever writes the stream sends on as they are.
    pub fn passed(&mut self, relayed: &Relayed) {
        // They named the role themselves.
        if !self.opened {
            self.begin();
        }
        self.relayed_finish |= relayed.has_finish;
        self.relayed_usage |= relayed.has_usage;
    }

    fn open(&mut self, frames: &mut Vec<Frame>) {
        if self.opened {
            return;
        }
        self.begin();
        self.delta(frames, None, |delta| {
            delta.field("role", "assistant").field("content", "").field("refusal", &());
        });
    }

    /// Settles what all chunks begin with.
    fn begin(&mut self) {
        self.opened = true;
        let (stamp, extra) = (&self.stamp, &self.extra);
        self.prefix = crate::json::to_bytes(|chunk| {
            chunk.field("id", &stamp.id);
            chunk.field("object", "chat.completion.chunk");
            chunk.field("created", &stamp.created);
            chunk.field("model", &stamp.model);
            chunk.extra(extra);
        });
        self.prefix.pop();
        self.prefix.extend_from_slice(b",\"choices\":[");
    }

    fn delta(&mut self, frames: &mut Vec<Frame>, finish: Option<&str>, fill: impl FnOnce(&mut Object<'_>)) {
        let logprobs = self.logprobs.take();
        self.chunk(frames, None, |out| {
            object(out, |choice| {
                choice.field("index", &0);
                choice.object("delta", fill);
                choice.field("logprobs", &logprobs);
                choice.field("finish_reason", &finish);
            });
        });
    }

    fn chunk(&self, frames: &mut Vec<Frame>, usage: Option<Usage>, choices: impl FnOnce(&mut Vec<u8>)) {
        let mut data = Vec::with_capacity(self.prefix.len() + 160);
        data.extend_from_slice(&self.prefix);
        choices(&mut data);
        data.push(b']');
        if self.include_usage {
            data.extend_from_slice(b",\"usage\":");
            crate::json::write(&mut data, &usage.map(UsageOut::from));
        }
        data.push(b'}');
        frames.push(Frame::data(data));
    }

    fn end(&mut self, frames: &mut Vec<Frame>) {
        if self.include_usage && !self.relayed_usage {
            // A client that asked for it waits for it: an upstream that keeps it to itself counts as none.
            self.chunk(frames, Some(self.usage.unwrap_or_default()), |_| {});
        }
        frames.push(Frame { event: None, sequence: None, data: "[DONE]".to_owned() });
    }
}

impl StreamEncoder for ChatStreamEncoder {
    fn push(&mut self, event: &StreamEvent, frames: &mut Vec<Frame>) {
        if self.ended {
            return;
        }
        match event {
            StreamEvent::Started { model, created, dialect, extra, .. } => {
                if !self.opened && *dialect == Dialect::OpenAi {
                    self.extra = extra.clone();
                    if self.relayed {
                        self.stamp.model = model.clone().unwrap_or_else(|| std::mem::take(&mut self.stamp.model));
                        self.stamp.created = created.unwrap_or(self.stamp.created);
                    }
                }
                return;
            }
            StreamEvent::Relayed(relayed) => {
                self.passed(relayed);
                for frame in relayed.data() {
                    frames.push(Frame::data(frame.to_vec()));
                }
                return;
            }
            StreamEvent::Usage(usage) => {
                self.usage = Some(*usage);
                return;
            }
            StreamEvent::PartEnded | StreamEvent::ReasoningStarted { .. } => return,
            StreamEvent::Error(error) => {
                self.ended = true;
                frames.push(Frame::data(error_object(&Failure::from(error))));
                return;
            }
            _ => self.open(frames),
        }
        match event {
            StreamEvent::TextDelta { text } => self.delta(frames, None, |delta| {
                delta.text("content", text);
            }),
            StreamEvent::RefusalDelta { text } => self.delta(frames, None, |delta| {
                delta.field("refusal", text);
            }),
            StreamEvent::ReasoningDelta { text } => self.delta(frames, None, |delta| {
                delta.field("reasoning_content", text);
            }),
            StreamEvent::ToolCallStarted { index, id, name, signature } => self.delta(frames, None, |delta| {
                delta.list("tool_calls", |list| {
                    list.object(|call| {
                        call.field("index", index).field("id", id).field("type", "function");
                        call.object("function", |function| {
                            function.field("name", name).field("arguments", "");
                        });
                        call.some("extra_content", signature.as_deref().map(write_signature).as_ref());
                    });
                });
            }),
            StreamEvent::ToolCallArguments { index, delta: arguments } => self.delta(frames, None, |delta| {
                delta.list("tool_calls", |list| {
                    list.object(|call| {
                        call.field("index", index);
                        call.object("function", |function| {
                            function.field("arguments", arguments);
                        });
                    });
                });
            }),
            StreamEvent::Native { dialect: Dialect::OpenAi, value } => {
                let fields = value.read_fields();
                self.delta(frames, None, |delta| {
                    for (name, value) in fields {
                        delta.field(&name, &value);
                    }
                });
            }
            StreamEvent::Logprobs { value } => {
                self.logprobs = Some(value.clone());
                // They come after their text, so they get a chunk of their own.
                self.delta(frames, None, |delta| {
                    delta.field("content", "");
                });
            }
            StreamEvent::Finished(finish) => {
                self.ended = true;
                if !self.relayed_finish {
                    self.delta(frames, Some(finish_word(finish)), |_| {});
                }
                self.end(frames);
            }
            // Seals of thoughts and natives of other protocols have no place here; the rest is told above.
            StreamEvent::PartEnded
            | StreamEvent::ReasoningStarted { .. }
            | StreamEvent::ReasoningEnded { .. }
            | StreamEvent::Native { .. }
            | StreamEvent::Started { .. }
            | StreamEvent::Relayed(_)
            | StreamEvent::Usage(_)
            | StreamEvent::Error(_) => {}
        }
    }
}
