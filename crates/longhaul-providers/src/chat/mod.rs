//! A conversation with a model, in nobody's JSON: what is asked.
//!
//! The model is wide enough that each protocol can say through it whatever it shares with another one. What one vendor
//! alone knows travels as [`Extra`] together with the [`Dialect`] it came from: a target of that dialect gets it
//! back as it was written, any other refuses it by name, unless it is of no consequence for the answer.
//!
//! The answer is in [`ChatResponse`], a streamed answer in [`StreamEvent`]s; [`Accumulator`] folds the second into the first.

mod response;
mod stream;

pub use response::{ChatResponse, Finish, FinishReason, Usage};
pub use stream::{Accumulator, StreamEvent};

use serde::{Deserialize, Serialize};

use crate::json::{Extra, Json};

/// Whose words the extra fields of a request are in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Nobody's: there are no extra fields.
    #[default]
    Neutral,
    /// OpenAI's chat completions.
    OpenAi,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's contents.
    Gemini,
}

/// One request for an answer. Which model is asked stands beside it, since a fallback asks another one the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ChatRequest {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must call, and what. Absent means that the provider decides (`auto` with tools).
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several tools in one answer.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer's text.
    pub response_format: ResponseFormat,
    /// The most tokens of the answer, those of reasoning included.
    pub max_output_tokens: Option<u64>,
    /// How much chance there is in the answer, 0 to 2.
    pub temperature: Option<f64>,
    /// The share of probability that tokens are drawn from.
    pub top_p: Option<f64>,
    /// The number of likeliest tokens that are drawn from.
    pub top_k: Option<u64>,
    /// Texts at which the answer ends.
    pub stop: Vec<String>,
    /// Asks for the same answer to the same request.
    pub seed: Option<i64>,
    /// Lowers the chance of tokens by how often they were used.
    pub frequency_penalty: Option<f64>,
    /// Lowers the chance of tokens that were used.
    pub presence_penalty: Option<f64>,
    /// Asks for the log probabilities of the answer's tokens.
    pub logprobs: Option<Logprobs>,
    /// How much to think before the answer.
    pub reasoning: Option<Reasoning>,
    /// The end user, opaque.
    pub user: Option<String>,
    /// Whose words `extra` is in, here and in messages and parts.
    pub dialect: Dialect,
    /// Fields that one vendor alone has.
    pub extra: Extra,
    /// The last message is the beginning of the answer, and what is wanted is the rest of it alone. See
    /// [`going_on_from`](Self::going_on_from).
    pub goes_on: bool,
}

impl ChatRequest {
    /// The same request, for the rest of an answer whose beginning is known. A target that would begin anew instead
    /// refuses it.
    ///
    /// ```
    /// use longhaul_providers::chat::{ChatRequest, Message, Role};
    /// let asked = ChatRequest { messages: vec![Message::text(Role::User, "Hi")], ..ChatRequest::default() };
    /// let again = asked.going_on_from("Hel").going_on_from("lo");
    /// assert_eq!((again.messages.len(), again.beginning()), (2, Some("Hello")));
    /// assert_eq!(asked.beginning(), None);
    /// ```
    pub fn going_on_from(&self, beginning: &str) -> Self {
        let mut request = self.clone();
        let known = request.messages.last_mut().filter(|_| self.goes_on).and_then(|last| last.parts.last_mut());
        match known.map(|part| &mut part.content) {
            Some(Content::Text(text)) => text.push_str(beginning),
            _ => request.messages.push(Message::text(Role::Assistant, beginning)),
        }
        request.goes_on = true;
        request
    }

    /// The beginning of the answer, where the rest of it is wanted.
    pub fn beginning(&self) -> Option<&str> {
        match &self.messages.last().filter(|_| self.goes_on)?.parts.last()?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The operator, above all.
    System,
    /// The operator, as newer models of OpenAI call it. Other protocols take it as `System`.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool, with results.
    Tool,
}

impl Role {
    /// The name on the wire, where a protocol has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// The name of a participant among several of one role.
    pub name: Option<String>,
    /// Fields of the request's dialect.
    pub extra: Extra,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::text(text)], name: None, extra: Extra::new() }
    }

    /// A message of parts.
    pub fn of(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts, name: None, extra: Extra::new() }
    }
}

/// One part of a message or an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// What it is.
    pub content: Content,
    /// Fields of the dialect that stood beside it (a cache mark, citations).
    pub extra: Extra,
}

impl Part {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Content::Text(text.into()).into()
    }
}

impl From<Content> for Part {
    fn from(content: Content) -> Self {
        Self { content, extra: Extra::new() }
    }
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Text.
    Text(String),
    /// A picture.
    Image(Image),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// A tool answers.
    ToolResult(ToolResult),
    /// The model thought. Some providers want it back, signed, with the results of tools.
    Reasoning(ReasoningContent),
    /// The model declines, in words.
    Refusal(String),
    /// A part that the request's dialect alone knows (audio, a file, a document), as it was written.
    Native(Json),
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Where it is.
    pub source: ImageSource,
    /// How closely to look.
    pub detail: Option<ImageDetail>,
}

/// Where a picture is. This crate never fetches one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Somewhere else: the provider fetches it.
    Url(String),
    /// Here.
    Data {
        /// Its type, such as `image/png`.
        media_type: String,
        /// Its bytes, in standard base64.
        base64: String,
    },
}

/// How closely to look at a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageDetail {
    /// As the provider thinks fit.
    Auto,
    /// Cheaply.
    Low,
    /// In detail.
    High,
    /// Without scaling it down.
    Original,
}

/// A call of a tool by the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What the result refers to. Made up by the decoder where a provider has none, unique within the answer.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as the model wrote them: meant to be a JSON object, but a model may err.
    pub arguments: String,
    /// The provider's seal of the thought behind the call, to be given back unchanged.
    pub signature: Option<String>,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolResult {
    /// The call that it answers.
    pub call_id: String,
    /// The answer: texts and images.
    pub parts: Vec<Part>,
    /// The tool failed.
    pub is_error: bool,
}

/// What a model thought before it answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasoningContent {
    /// The thought or its summary; empty if the provider keeps it to itself.
    pub text: String,
    /// The provider's seal, to be given back unchanged.
    pub signature: Option<String>,
    /// The thought in a form that the provider alone can read.
    pub encrypted: Option<String>,
    /// The provider's name for it.
    pub id: Option<String>,
}

/// Something the model may call.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// A function of the caller's.
    Function {
        /// Its name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The JSON Schema of its arguments; absent means that there are none.
        parameters: Option<Json>,
        /// Arguments must fit the schema.
        strict: Option<bool>,
        /// Fields of the request's dialect.
        extra: Extra,
    },
    /// A tool that the provider of the request's dialect runs itself, as it was written.
    Native(Json),
}

impl Tool {
    /// A function without a schema of its own strictness.
    pub fn function(name: impl Into<String>, description: Option<String>, parameters: Option<Json>) -> Self {
        Self::Function { name: name.into(), description, parameters, strict: None, extra: Extra::new() }
    }
}

/// Whether the model must call a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it thinks fit.
    Auto,
    /// It must not.
    None,
    /// It must call one or more.
    Required,
    /// It must call this one.
    Function(String),
    /// A choice that the request's dialect alone knows, as it was written.
    Native(Json),
}

/// The form of the answer's text.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// A name for the schema.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The JSON Schema.
        schema: Json,
        /// The answer must fit exactly.
        strict: Option<bool>,
    },
}

/// Log probabilities of the answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Logprobs {
    /// How many likeliest alternatives to tell at each place.
    pub top: u8,
}

/// How much to think.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reasoning {
    /// In words.
    pub effort: Option<Effort>,
    /// In tokens.
    pub budget_tokens: Option<u64>,
    /// Thinking is wanted, and the model decides how much.
    pub adaptive: bool,
    /// Tell the thoughts, or a summary of them, as reasoning parts. The word is the dialect's (`auto`, `concise`, …).
    pub summary: Option<String>,
}

impl Reasoning {
    /// The effort in words, also where it was given in tokens.
    pub fn nearest_effort(&self) -> Option<Effort> {
        self.effort.or_else(|| {
            self.budget_tokens.map(|budget| match budget {
                0 => Effort::None,
                1..=2_048 => Effort::Low,
                2_049..=12_288 => Effort::Medium,
                _ => Effort::High,
            })
        })
    }
}

/// How much to think, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as can be.
    Minimal,
    /// A little.
    Low,
    /// Neither little nor much.
    Medium,
    /// Much.
    High,
    /// More than much.
    XHigh,
    /// As much as can be.
    Max,
}

impl Effort {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The effort in tokens, for models that want it so.
    pub fn budget_tokens(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1_024,
            Self::Low => 2_048,
            Self::Medium => 8_192,
            Self::High => 16_384,
            Self::XHigh => 24_576,
            Self::Max => 32_768,
        }
    }

    /// The effort of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max]
            .into_iter()
            .find(|effort| effort.name() == word)
    }
}
