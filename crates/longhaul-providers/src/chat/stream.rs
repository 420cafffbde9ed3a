//! A conversation with a model: the answer in pieces.

use serde::Serialize;

use super::{ChatResponse, Content, Dialect, Finish, FinishReason, Part, ReasoningContent, ToolCall, Usage};
use crate::error::ProviderError;
use crate::json::{Extra, Json};
use crate::relay::Relayed;

/// One piece of a streamed answer.
///
/// A stream is `Started`, then pieces in the order in which the model wrote them, then exactly one of `Finished` and
/// `Error`; nothing follows. `Usage` comes before the end, and each holds in place of the one before: a provider may tell at
/// once what it has read. Pieces of one kind that follow each other are one part of the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum StreamEvent {
    /// The provider has begun. Not yet a token.
    Started {
        /// The provider's name for the answer.
        id: Option<String>,
        /// The model that answers, in the provider's words.
        model: Option<String>,
        /// When, in seconds since the Unix epoch.
        created: Option<i64>,
        /// Whose words `extra` is in.
        dialect: Dialect,
        /// Fields that the provider alone has.
        extra: Extra,
    },
    /// More text.
    TextDelta {
        /// The text.
        text: String,
    },
    /// The text that was told is whole: text that follows is another part. Told where a protocol keeps them apart.
    PartEnded,
    /// More text, in the frames of the protocol that both sides speak. Only who asked for it is told so.
    #[serde(skip)]
    Relayed(Relayed),
    /// More of what the model declines with.
    RefusalDelta {
        /// The text.
        text: String,
    },
    /// A thought begins, and the provider names it before it tells any of it. Not yet a piece of the answer.
    ReasoningStarted {
        /// The provider's name for it.
        id: Option<String>,
    },
    /// More thought.
    ReasoningDelta {
        /// The text.
        text: String,
    },
    /// A thought is whole; it may have had no text at all.
    ReasoningEnded {
        /// The provider's seal.
        signature: Option<String>,
        /// The thought in a form that the provider alone can read.
        encrypted: Option<String>,
        /// The provider's name for it.
        id: Option<String>,
    },
    /// The model calls a tool.
    ToolCallStarted {
        /// Which of the answer's calls, from 0.
        index: u32,
        /// What the result will refer to.
        id: String,
        /// The tool.
        name: String,
        /// The provider's seal of the thought behind the call.
        signature: Option<String>,
    },
    /// More of a call's arguments.
    ToolCallArguments {
        /// Which of the answer's calls.
        index: u32,
        /// JSON text, cut anywhere.
        delta: String,
    },
    /// Something that one dialect alone knows, as it was written.
    Native {
        /// Which.
        dialect: Dialect,
        /// The part.
        value: Json,
    },
    /// Log probabilities of the tokens just told, in OpenAI's form.
    Logprobs {
        /// `{"content": […]}`.
        value: Json,
    },
    /// What the answer cost.
    Usage(Usage),
    /// The end, as it should be.
    Finished(Finish),
    /// The end, as it should not be. What was told before it is all there is.
    Error(ProviderError),
}

impl StreamEvent {
    /// True for a piece that a client sees: after it, another target cannot take over unseen.
    pub fn is_content(&self) -> bool {
        match self {
            Self::TextDelta { .. }
            | Self::RefusalDelta { .. }
            | Self::ReasoningDelta { .. }
            | Self::ReasoningEnded { .. }
            | Self::ToolCallStarted { .. }
            | Self::ToolCallArguments { .. }
            | Self::Native { .. } => true,
            Self::Relayed(relayed) => !relayed.text.is_empty(),
            Self::Started { .. }
            | Self::PartEnded
            | Self::ReasoningStarted { .. }
            | Self::Logprobs { .. }
            | Self::Usage(_)
            | Self::Finished(_)
            | Self::Error(_) => false,
        }
    }

    /// True for the last one.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Error(_))
    }
}

/// Folds a stream into the answer that it told.
///
/// ```
/// use longhaul_providers::chat::{Accumulator, Finish, FinishReason, StreamEvent};
///
/// let mut answer = Accumulator::new();
/// answer.push(&StreamEvent::TextDelta { text: "Hel".into() });
/// answer.push(&StreamEvent::TextDelta { text: "lo".into() });
/// answer.push(&StreamEvent::Finished(Finish::of(FinishReason::Stop)));
/// assert_eq!(answer.into_response().text(), "Hello");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Accumulator {
    id: Option<String>,
    model: Option<String>,
    created: Option<i64>,
    dialect: Dialect,
    extra: Extra,
    parts: Vec<Part>,
    calls: Vec<(u32, usize)>,
    /// The last part is whole.
    part_ended: bool,
    /// Where the thought is that is being told.
    open_thought: Option<usize>,
    usage: Option<Usage>,
    logprobs: Vec<Json>,
    finish: Option<Finish>,
}

impl Accumulator {
    /// Nothing told yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one piece in.
    pub fn push(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Started { id, model, created, dialect, extra } => {
                self.dialect = *dialect;
                self.id.clone_from(id);
                self.model.clone_from(model);
                self.created = *created;
                self.extra = extra.clone();
            }
            StreamEvent::TextDelta { text } => match self.last_mut() {
                Some(Content::Text(whole)) => whole.push_str(text),
                _ => self.part(Content::Text(text.clone())),
            },
            StreamEvent::Relayed(Relayed { text, .. }) if text.is_empty() => {}
            StreamEvent::Relayed(Relayed { text, .. }) => match self.last_mut() {
                Some(Content::Text(whole)) => whole.push_str(text),
                _ => self.part(Content::Text(text.clone())),
            },
            StreamEvent::RefusalDelta { text } => match self.last_mut() {
                Some(Content::Refusal(whole)) => whole.push_str(text),
                _ => self.part(Content::Refusal(text.clone())),
            },
            StreamEvent::ReasoningDelta { text } => self.thought().text.push_str(text),
            StreamEvent::ReasoningEnded { signature, encrypted, id } => {
                let thought = self.thought();
                thought.signature.clone_from(signature);
                thought.encrypted.clone_from(encrypted);
                thought.id.clone_from(id);
                self.open_thought = None;
            }
            StreamEvent::ToolCallStarted { index, id, name, signature } => {
                self.calls.push((*index, self.parts.len()));
                self.part(Content::ToolCall(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    signature: signature.clone(),
                }));
            }
            StreamEvent::ToolCallArguments { index, delta } => {
                let at = self.calls.iter().find(|(known, _)| known == index).map(|(_, at)| *at);
                if let Some(Content::ToolCall(call)) =
                    at.and_then(|at| self.parts.get_mut(at)).map(|part| &mut part.content)
                {
                    call.arguments.push_str(delta);
                }
            }
            // It may stand between two pieces of a thought.
            StreamEvent::Native { value, .. } => {
                if !self.cite(value) {
                    self.parts.push(Content::Native(value.clone()).into());
                }
            }
            StreamEvent::PartEnded => self.part_ended = true,
            StreamEvent::Logprobs { value } => self.logprobs.push(value.clone()),
            StreamEvent::Usage(usage) => self.usage = Some(*usage),
            StreamEvent::Finished(finish) => self.finish = Some(finish.clone()),
            // The end of a thought names it too.
            StreamEvent::ReasoningStarted { .. } | StreamEvent::Error(_) => {}
        }
    }

    /// True once the stream has ended as it should.
    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// What was told so far, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What it cost, once told.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The answer. One that was cut short ends with [`FinishReason::Other`].
    pub fn into_response(self) -> ChatResponse {
        ChatResponse {
            id: self.id,
            model: self.model,
            created: self.created,
            parts: self.parts,
            finish: self.finish.unwrap_or_else(|| Finish::of(FinishReason::Other)),
            usage: self.usage,
            logprobs: join_logprobs(self.logprobs),
            dialect: self.dialect,
            extra: self.extra,
        }
    }

    /// The last part, if it is not whole.
    fn last_mut(&mut self) -> Option<&mut Content> {
        self.parts.last_mut().filter(|_| !self.part_ended).map(|part| &mut part.content)
    }

    /// Puts a citation to the text that it is of, as a whole answer has it.
    fn cite(&mut self, value: &Json) -> bool {
        let Some(citation) = super::response::citation(value).filter(|_| self.dialect == Dialect::Anthropic) else {
            return false;
        };
        let Some(text) = self.parts.last_mut().filter(|part| matches!(part.content, Content::Text(_))) else {
            return false;
        };
        let before = text.extra.get("citations").and_then(|list| list.read::<Vec<Json>>().ok());
        let mut citations = before.unwrap_or_default();
        citations.push(citation);
        text.extra.insert("citations", Json::of(&citations));
        true
    }

    fn part(&mut self, content: Content) {
        self.part_ended = false;
        self.open_thought = matches!(content, Content::Reasoning(_)).then_some(self.parts.len());
        self.parts.push(content.into());
    }

    /// The thought that is being told, begun if none is.
    fn thought(&mut self) -> &mut ReasoningContent {
        let at = self.open_thought.unwrap_or_else(|| {
            self.part(Content::Reasoning(ReasoningContent::default()));
            self.parts.len() - 1
        });
        match &mut self.parts[at].content {
            Content::Reasoning(thought) => thought,
            _ => unreachable!("an open thought is a thought"),
        }
    }
}

/// One object of all, each list of tokens joined.
fn join_logprobs(mut pieces: Vec<Json>) -> Option<Json> {
    if pieces.len() <= 1 {
        return pieces.pop();
    }
    #[derive(Default, serde::Deserialize, Serialize)]
    #[serde(default)]
    struct Tokens {
        content: Option<Vec<Json>>,
        refusal: Option<Vec<Json>>,
    }
    let mut all = Tokens::default();
    for piece in pieces {
        let Ok(tokens) = piece.read::<Tokens>() else { continue };
        for (into, from) in [(&mut all.content, tokens.content), (&mut all.refusal, tokens.refusal)] {
            if let Some(from) = from {
                into.get_or_insert_default().extend(from);
            }
        }
    }
    Some(Json::of(&all))
}
