//! A conversation with a model: the whole answer.

use serde::Serialize;

use super::{Content, Dialect, Part, StreamEvent, ToolCall};
use crate::json::{Extra, Json};

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatResponse {
    /// The provider's name for it.
    pub id: Option<String>,
    /// The model that answered, in the provider's words.
    pub model: Option<String>,
    /// When, in seconds since the Unix epoch, if the provider says.
    pub created: Option<i64>,
    /// What was said, in order.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub finish: Finish,
    /// What it cost in tokens, if the provider says.
    pub usage: Option<Usage>,
    /// Log probabilities in OpenAI's form, if asked for.
    pub logprobs: Option<Json>,
    /// Whose words `extra` and native parts are in.
    pub dialect: Dialect,
    /// Fields that the provider alone has.
    pub extra: Extra,
}

impl ChatResponse {
    /// An answer of one text that ended of its own accord.
    pub fn of_text(text: impl Into<String>) -> Self {
        Self {
            id: None,
            model: None,
            created: None,
            parts: vec![Part::text(text)],
            finish: Finish::of(FinishReason::Stop),
            usage: None,
            logprobs: None,
            dialect: Dialect::Neutral,
            extra: Extra::new(),
        }
    }

    /// All text, joined.
    pub fn text(&self) -> String {
        self.parts
            .iter()
            .filter_map(|part| match &part.content {
                Content::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The calls of tools, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// The answer as a stream would have told it: for façades that stream what was had whole (from a cache, say).
    pub fn to_events(&self) -> Vec<StreamEvent> {
        let mut events = vec![StreamEvent::Started {
            id: self.id.clone(),
            model: self.model.clone(),
            created: self.created,
            dialect: self.dialect,
            extra: self.extra.clone(),
        }];
        let mut calls = 0;
        for (at, part) in self.parts.iter().enumerate() {
            match &part.content {
                Content::Text(text) => {
                    events.push(StreamEvent::TextDelta { text: text.clone() });
                    self.tell_notes(part, &mut events);
                    if matches!(self.parts.get(at + 1), Some(Part { content: Content::Text(_), .. })) {
                        events.push(StreamEvent::PartEnded);
                    }
                }
                Content::Refusal(text) => events.push(StreamEvent::RefusalDelta { text: text.clone() }),
                Content::Reasoning(reasoning) => {
                    if reasoning.id.is_some() {
                        events.push(StreamEvent::ReasoningStarted { id: reasoning.id.clone() });
                    }
                    if !reasoning.text.is_empty() {
                        events.push(StreamEvent::ReasoningDelta { text: reasoning.text.clone() });
                    }
                    events.push(StreamEvent::ReasoningEnded {
                        signature: reasoning.signature.clone(),
                        encrypted: reasoning.encrypted.clone(),
                        id: reasoning.id.clone(),
                    });
                }
                Content::ToolCall(call) => {
                    events.push(StreamEvent::ToolCallStarted {
                        index: calls,
                        id: call.id.clone(),
                        name: call.name.clone(),
                        signature: call.signature.clone(),
                    });
                    events.push(StreamEvent::ToolCallArguments { index: calls, delta: call.arguments.clone() });
                    calls += 1;
                }
                Content::Native(value) => {
                    events.push(StreamEvent::Native { dialect: self.dialect, value: value.clone() });
                }
                // A model answers with neither pictures nor results of tools in any protocol known here.
                Content::Image(_) | Content::ToolResult(_) => {}
            }
        }
        if let Some(logprobs) = &self.logprobs {
            events.push(StreamEvent::Logprobs { value: logprobs.clone() });
        }
        if let Some(usage) = self.usage {
            events.push(StreamEvent::Usage(usage));
        }
        events.push(StreamEvent::Finished(self.finish.clone()));
        events
    }

    /// What stands beside a text, piece by piece, as a stream of its protocol tells it.
    fn tell_notes(&self, part: &Part, events: &mut Vec<StreamEvent>) {
        let (list, kind, name) = match self.dialect {
            Dialect::Anthropic => ("citations", "citations_delta", "citation"),
            Dialect::Responses => ("annotations", "annotation", "annotation"),
            Dialect::Neutral | Dialect::OpenAi | Dialect::Gemini => return,
        };
        let notes = part.extra.get(list).and_then(|notes| notes.read::<Vec<Json>>().ok());
        for note in notes.unwrap_or_default() {
            let mut value = Extra::new();
            value.insert("type", Json::of(kind));
            value.insert(name, note);
            events.push(StreamEvent::Native { dialect: self.dialect, value: Json::of(&value) });
        }
    }
}

/// What a piece of a stream cites, if it is Anthropic's word for that.
pub(super) fn citation(value: &Json) -> Option<Json> {
    let fields = value.read_fields();
    let of = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    of("type").filter(|kind| kind.as_str() == "\"citations_delta\"")?;
    of("citation").cloned()
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finish {
    /// In our words.
    pub reason: FinishReason,
    /// In the provider's.
    pub raw: Option<String>,
    /// Which of the stop texts it met, if the provider says.
    pub stop_sequence: Option<String>,
}

impl Finish {
    /// An end in our words alone.
    pub fn of(reason: FinishReason) -> Self {
        Self { reason, raw: None, stop_sequence: None }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was complete, or met a stop text.
    Stop,
    /// It met the limit of tokens.
    Length,
    /// It waits for results of tools.
    ToolCalls,
    /// The provider held it back.
    ContentFilter,
    /// For a reason that only [`Finish::raw`] tells.
    Other,
}

/// Tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Of the request, those from the provider's cache included.
    pub input_tokens: u64,
    /// Of the answer, those of reasoning included.
    pub output_tokens: u64,
    /// Of the request, read from the provider's cache.
    pub cached_input_tokens: u64,
    /// Of the request, written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Of the answer, spent on reasoning.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// Of two calls together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cached_input_tokens: self.cached_input_tokens.saturating_add(other.cached_input_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
        }
    }

    /// All of them.
    pub fn total(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}
