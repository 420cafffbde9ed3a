//! Writing a streamed response: numbered events, items opened and closed in order.

use super::object::{Echo, State, Status, suffix, write_object};
use crate::chat::{Dialect, Finish, FinishReason, StreamEvent, Usage};
use crate::error::{ErrorCode, ProviderError};
use crate::facade::{Frame, Stamp, StreamEncoder, Turns};
use crate::json::{Json, Object, to_bytes};

/// Tells a streamed answer as `response.*` events, numbered from 0.
///
/// The life of a response: [`queued`](Self::queued) if it waits, then pieces by [`push`](StreamEncoder::push), which
/// begins it. When the attempt that answers dies, [`interrupt`](Self::interrupt) closes what is open, and the next attempt
/// goes on with the next number; when the server dies, [`recover`](Self::recover) makes the encoder again from what it wrote.
#[derive(Debug, Clone)]
pub struct ResponseStreamEncoder {
    pub(super) stamp: Stamp,
    pub(super) echo: Echo,
    /// The number of the next event.
    pub(super) sequence: u64,
    pub(super) next_output: u32,
    pub(super) created: bool,
    pub(super) begun: bool,
    pub(super) open: Option<OpenItem>,
    turns: Turns,
    /// The provider's name for the next thought.
    thought_id: Option<String>,
    /// Seals of thoughts are of this protocol.
    native: bool,
    /// Items that are whole, as the final object has them.
    pub(super) items: Vec<Json>,
    pub(super) status: Status,
    pub(super) ended: bool,
    usage: Option<Usage>,
    error: Option<(&'static str, String)>,
    incomplete: Option<&'static str>,
    completed_at: Option<i64>,
}

/// An item that is being told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenItem {
    pub(super) output_index: u32,
    pub(super) id: String,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A message, with its parts; the last is open.
    Message(Vec<SaidPart>),
    Call {
        call: Option<u32>,
        call_id: String,
        name: String,
        arguments: String,
    },
    /// A thought, with its text if it has any.
    Thought(Option<String>),
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SaidPart {
    pub(super) refusal: bool,
    pub(super) text: String,
    pub(super) annotations: Vec<Json>,
}

impl ResponseStreamEncoder {
    /// An encoder of one response.
    pub fn new(stamp: Stamp, echo: Echo) -> Self {
        Self {
            stamp,
            echo,
            sequence: 0,
            next_output: 0,
            created: false,
            begun: false,
            open: None,
            turns: Turns::default(),
            thought_id: None,
            native: true,
            items: Vec::new(),
            status: Status::InProgress,
            ended: false,
            usage: None,
            error: None,
            incomplete: None,
            completed_at: None,
        }
    }

    /// When the response will have ended, in seconds since the Unix epoch: told in its final object.
    pub fn set_completed_at(&mut self, completed_at: Option<i64>) {
        self.completed_at = completed_at;
    }

    /// Tells that the response is accepted and waits.
    pub fn queued(&mut self, frames: &mut Vec<Frame>) {
        self.status = Status::Queued;
        self.create(frames);
        self.lifecycle(frames, "response.queued");
    }

    /// Tells that the response is being answered. Told once, by the first piece at the latest.
    pub fn begin(&mut self, frames: &mut Vec<Frame>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.status = Status::InProgress;
        self.create(frames);
        self.lifecycle(frames, "response.in_progress");
    }

    /// The attempt that answered is no more, and another will answer from the start: closes what is open as incomplete
    /// and forgets what the attempt said. A `keepalive` marks the place, so that [`recover`](Self::recover) sees it too.
    pub fn interrupt(&mut self, frames: &mut Vec<Frame>) {
        if self.ended || !self.begun {
            return;
        }
        self.close(frames, "incomplete");
        self.turns.clear();
        self.items.clear();
        self.usage = None;
        self.event(frames, "keepalive", |_| {});
    }

    /// The text of the message that is open: what a continuation goes on from.
    pub fn open_text(&self) -> Option<&str> {
        match &self.open.as_ref()?.what {
            What::Message(parts) => parts.last().filter(|part| !part.refusal).map(|part| part.text.as_str()),
            What::Call { .. } | What::Thought(_) => None,
        }
    }

    /// The number of the next event.
    pub fn next_sequence(&self) -> u64 {
        self.sequence
    }

    /// True once the last event is written.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The response object as it is now.
    pub fn object(&self) -> Vec<u8> {
        self.object_as(self.status)
    }

    /// The response object as it is now, with another status (`cancelled`, which no event tells).
    pub fn object_as(&self, status: Status) -> Vec<u8> {
        to_bytes(|body| self.write(body, status))
    }

    fn write(&self, object: &mut Object<'_>, status: Status) {
        let state = State {
            status,
            output: &self.items,
            usage: self.usage.filter(|_| !matches!(status, Status::Queued | Status::InProgress)),
            error: self.error.clone(),
            incomplete: self.incomplete,
            completed_at: self.completed_at.filter(|_| status == Status::Completed),
        };
        write_object(object, &self.stamp, &self.echo, &state);
    }

    fn create(&mut self, frames: &mut Vec<Frame>) {
        if !std::mem::replace(&mut self.created, true) {
            self.lifecycle(frames, "response.created");
        }
    }

    fn lifecycle(&mut self, frames: &mut Vec<Frame>, kind: &'static str) {
        let object = Json::parse(text(self.object())).unwrap_or_else(|_| Json::null());
        self.event(frames, kind, |event| {
            event.field("response", &object);
        });
    }

    fn event(&mut self, frames: &mut Vec<Frame>, kind: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        let sequence = self.sequence;
        self.sequence += 1;
        let data = to_bytes(|event| {
            event.field("type", kind).field("sequence_number", &sequence);
            fill(event);
        });
        frames.push(Frame::named(kind, Some(sequence), data));
    }

    /// An event about the open item.
    fn item_event(&mut self, frames: &mut Vec<Frame>, kind: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        let Some(open) = &self.open else { return };
        let (id, output_index) = (open.id.clone(), open.output_index);
        self.event(frames, kind, |event| {
            event.field("item_id", &id).field("output_index", &output_index);
            fill(event);
        });
    }

    fn add(&mut self, frames: &mut Vec<Frame>, prefix: &str, what: What) {
        self.close(frames, "completed");
        let output_index = self.next_output;
        self.next_output += 1;
        // The seal of a thought holds for the name that its provider gave it.
        let id = self.thought_id.take().filter(|_| matches!(what, What::Thought(_)));
        let id = id.unwrap_or_else(|| format!("{prefix}_{}_{output_index}", suffix(&self.stamp.id)));
        let open = OpenItem { output_index, id, what };
        let item = open.item("in_progress", None);
        self.open = Some(open);
        self.event(frames, "response.output_item.added", |event| {
            event.field("output_index", &output_index).field("item", &item);
        });
    }

    fn say(&mut self, frames: &mut Vec<Frame>, text: &str, refusal: bool) {
        if !matches!(self.open, Some(OpenItem { what: What::Message(_), .. })) {
            self.add(frames, "msg", What::Message(Vec::new()));
        }
        let Some(OpenItem { what: What::Message(parts), .. }) = &mut self.open else { return };
        if parts.last().is_none_or(|part| part.refusal != refusal) {
            let ended = parts.last().cloned();
            let part = SaidPart { refusal, text: String::new(), annotations: Vec::new() };
            parts.push(part.clone());
            let index = parts.len() - 1;
            if let Some(ended) = ended {
                self.end_part(frames, index - 1, &ended);
            }
            self.item_event(frames, "response.content_part.added", |event| {
                event.field("content_index", &index).field("part", &part.json());
            });
        }
        let Some(OpenItem { what: What::Message(parts), .. }) = &mut self.open else { return };
        let index = parts.len() - 1;
        parts[index].text.push_str(text);
        let kind = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        self.item_event(frames, kind, |event| {
            event.field("content_index", &index).field("delta", text);
            if !refusal {
                event.list("logprobs", |_| {});
            }
        });
    }

    fn end_part(&mut self, frames: &mut Vec<Frame>, index: usize, part: &SaidPart) {
        if part.refusal {
            self.item_event(frames, "response.refusal.done", |event| {
                event.field("content_index", &index).field("refusal", &part.text);
            });
        } else {
            self.item_event(frames, "response.output_text.done", |event| {
                event.field("content_index", &index).field("text", &part.text).list("logprobs", |_| {});
            });
        }
        self.item_event(frames, "response.content_part.done", |event| {
            event.field("content_index", &index).field("part", &part.json());
        });
    }

    fn annotate(&mut self, frames: &mut Vec<Frame>, annotation: Json) {
        let Some(OpenItem { what: What::Message(parts), .. }) = &mut self.open else { return };
        let Some(part) = parts.last_mut().filter(|part| !part.refusal) else { return };
        part.annotations.push(annotation.clone());
        let (at, index) = (part.annotations.len() - 1, parts.len() - 1);
        self.item_event(frames, "response.output_text.annotation.added", |event| {
            event.field("content_index", &index).field("annotation_index", &at).field("annotation", &annotation);
        });
    }

    fn think(&mut self, frames: &mut Vec<Frame>, text: &str) {
        if !matches!(self.open, Some(OpenItem { what: What::Thought(_), .. })) {
            self.add(frames, "rs", What::Thought(None));
        }
        let Some(OpenItem { what: What::Thought(told), .. }) = &mut self.open else { return };
        let first = told.is_none();
        told.get_or_insert_default().push_str(text);
        if first {
            self.item_event(frames, "response.reasoning_summary_part.added", |event| {
                event.field("summary_index", &0).field("part", &summary(""));
            });
        }
        self.item_event(frames, "response.reasoning_summary_text.delta", |event| {
            event.field("summary_index", &0).field("delta", text);
        });
    }

    fn end_thought(&mut self, frames: &mut Vec<Frame>, encrypted: Option<&str>) {
        if !matches!(self.open, Some(OpenItem { what: What::Thought(_), .. })) {
            self.add(frames, "rs", What::Thought(None));
        }
        self.close_with(frames, "completed", encrypted);
        self.thought_id = None;
    }

    fn argue(&mut self, frames: &mut Vec<Frame>, index: u32, delta: &str) -> bool {
        let Some(OpenItem { what: What::Call { call, arguments, .. }, .. }) = &mut self.open else { return false };
        if *call != Some(index) {
            return false;
        }
        arguments.push_str(delta);
        self.item_event(frames, "response.function_call_arguments.delta", |event| {
            event.field("delta", delta);
        });
        true
    }

    fn native(&mut self, frames: &mut Vec<Frame>, value: &Json) {
        if value.kind().as_deref() == Some("annotation") {
            let annotation = value.read_fields().into_iter().find(|(name, _)| name == "annotation");
            if let Some((_, annotation)) = annotation {
                self.annotate(frames, annotation);
            }
            return;
        }
        self.close(frames, "completed");
        let output_index = self.next_output;
        self.next_output += 1;
        for kind in ["response.output_item.added", "response.output_item.done"] {
            self.event(frames, kind, |event| {
                event.field("output_index", &output_index).field("item", value);
            });
        }
        self.items.push(value.clone());
    }

    fn close(&mut self, frames: &mut Vec<Frame>, status: &str) {
        self.close_with(frames, status, None);
    }

    fn close_with(&mut self, frames: &mut Vec<Frame>, status: &str, encrypted: Option<&str>) {
        let Some(open) = self.open.clone() else { return };
        match &open.what {
            What::Message(parts) => {
                if let Some(part) = parts.last() {
                    self.end_part(frames, parts.len() - 1, part);
                }
            }
            What::Call { arguments, name, .. } => {
                self.item_event(frames, "response.function_call_arguments.done", |event| {
                    event.field("name", name).field("arguments", arguments);
                });
            }
            What::Thought(Some(text)) => {
                self.item_event(frames, "response.reasoning_summary_text.done", |event| {
                    event.field("summary_index", &0).field("text", text);
                });
                self.item_event(frames, "response.reasoning_summary_part.done", |event| {
                    event.field("summary_index", &0).field("part", &summary(text));
                });
            }
            What::Thought(None) => {}
        }
        self.open = None;
        let item = open.item(status, encrypted);
        self.event(frames, "response.output_item.done", |event| {
            event.field("output_index", &open.output_index).field("item", &item);
        });
        self.items.push(item);
    }

    fn finish(&mut self, frames: &mut Vec<Frame>, finish: &Finish) {
        let (status, kind, incomplete) = match finish.reason {
            FinishReason::Length => (Status::Incomplete, "response.incomplete", Some("max_output_tokens")),
            FinishReason::ContentFilter => (Status::Incomplete, "response.incomplete", Some("content_filter")),
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other => {
                (Status::Completed, "response.completed", None)
            }
        };
        self.close(frames, if incomplete.is_some() { "incomplete" } else { "completed" });
        (self.status, self.incomplete, self.ended) = (status, incomplete, true);
        self.lifecycle(frames, kind);
    }

    fn fail(&mut self, frames: &mut Vec<Frame>, error: &ProviderError) {
        self.close(frames, "incomplete");
        (self.status, self.ended) = (Status::Failed, true);
        self.error = Some((error_word(error.code), crate::facade::Failure::from(error).message));
        self.lifecycle(frames, "response.failed");
    }
}

impl StreamEncoder for ResponseStreamEncoder {
    fn push(&mut self, event: &StreamEvent, frames: &mut Vec<Frame>) {
        let mut turns = std::mem::take(&mut self.turns);
        turns.push(event, |event| self.tell(event, frames));
        self.turns = turns;
    }
}

impl ResponseStreamEncoder {
    fn tell(&mut self, event: &StreamEvent, frames: &mut Vec<Frame>) {
        if self.ended {
            return;
        }
        match event {
            StreamEvent::Started { dialect, .. } => {
                self.native = *dialect == Dialect::Responses;
                return;
            }
            StreamEvent::ReasoningStarted { id } => {
                self.thought_id.clone_from(id);
                return;
            }
            // What one message says is one part of it here.
            StreamEvent::PartEnded | StreamEvent::Logprobs { .. } => return,
            StreamEvent::Usage(usage) => {
                self.usage = Some(*usage);
                return;
            }
            _ => self.begin(frames),
        }
        match event {
            StreamEvent::TextDelta { text } => self.say(frames, text, false),
            StreamEvent::RefusalDelta { text } => self.say(frames, text, true),
            StreamEvent::Relayed(relayed) => self.say(frames, &relayed.text, false),
            StreamEvent::ReasoningDelta { text } => self.think(frames, text),
            StreamEvent::ReasoningEnded { encrypted, id, .. } => {
                if self.thought_id.is_none() {
                    self.thought_id.clone_from(id);
                }
                // Another provider's seal would be taken for OpenAI's when it comes back.
                let encrypted = encrypted.as_deref().filter(|_| self.native);
                self.end_thought(frames, encrypted);
            }
            StreamEvent::ToolCallStarted { index, id, name, .. } => {
                let what = What::Call {
                    call: Some(*index),
                    call_id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                };
                self.add(frames, "fc", what);
            }
            StreamEvent::ToolCallArguments { index, delta } => {
                if !self.argue(frames, *index, delta) {
                    let why = "the provider went back to a tool call that it had ended";
                    self.fail(frames, &ProviderError::new(ErrorCode::MalformedResponse, why));
                }
            }
            StreamEvent::Native { dialect: Dialect::Responses, value } => self.native(frames, value),
            StreamEvent::Finished(finish) => self.finish(frames, finish),
            StreamEvent::Error(error) => self.fail(frames, error),
            // Natives of other protocols have no place here; the rest is told above.
            StreamEvent::Native { .. }
            | StreamEvent::Started { .. }
            | StreamEvent::PartEnded
            | StreamEvent::ReasoningStarted { .. }
            | StreamEvent::Logprobs { .. }
            | StreamEvent::Usage(_) => {}
        }
    }
}

impl OpenItem {
    /// The item as an object.
    fn item(&self, status: &str, encrypted: Option<&str>) -> Json {
        let bytes = to_bytes(|object| {
            object.field("id", &self.id);
            match &self.what {
                What::Message(parts) => {
                    object.field("type", "message").field("status", status);
                    object.list("content", |list| parts.iter().for_each(|part| list.item(&part.json())));
                    object.field("role", "assistant");
                }
                What::Call { call_id, name, arguments, .. } => {
                    object.field("type", "function_call").field("status", status);
                    object.field("arguments", arguments).field("call_id", call_id).field("name", name);
                }
                What::Thought(text) => {
                    object.field("type", "reasoning");
                    object.list("summary", |list| text.iter().for_each(|text| list.item(&summary(text))));
                    object.some("encrypted_content", encrypted);
                    // Told only where it is not what goes without saying.
                    object.some("status", (status == "incomplete").then_some(status));
                }
            }
        });
        Json::parse(text(bytes)).unwrap_or_else(|_| Json::null())
    }
}

impl SaidPart {
    fn json(&self) -> Json {
        let bytes = to_bytes(|object| {
            if self.refusal {
                object.field("type", "refusal").field("refusal", &self.text);
            } else {
                object.field("type", "output_text").field("annotations", &self.annotations);
                object.list("logprobs", |_| {}).field("text", &self.text);
            }
        });
        Json::parse(text(bytes)).unwrap_or_else(|_| Json::null())
    }
}

fn summary(text: &str) -> Json {
    Json::of(&serde_json::json!({"type": "summary_text", "text": text}))
}

/// OpenAI's list of codes is closed; these are the ones that say what happened.
fn error_word(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::RateLimited | ErrorCode::QuotaExhausted => "rate_limit_exceeded",
        ErrorCode::InvalidRequest
        | ErrorCode::RequestTooLarge
        | ErrorCode::ContextLengthExceeded
        | ErrorCode::ContentFiltered
        | ErrorCode::Unsupported => "invalid_prompt",
        _ => "server_error",
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}
