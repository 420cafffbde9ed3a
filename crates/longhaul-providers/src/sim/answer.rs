//! What the simulated provider says: something that fits the request and says that it is made up.

use super::latency::Dice;
use super::model_name;
use super::sample::sample;
use super::settings::SimSettings;
use crate::chat::{
    ChatRequest, ChatResponse, Content, Dialect, Finish, FinishReason, Part, ResponseFormat, Role, StreamEvent, Tool,
    ToolCall, ToolChoice, Usage,
};
use crate::embeddings::{EmbeddingsInput, EmbeddingsRequest, EmbeddingsResponse};
use crate::facade::Stamp;
use crate::json::{Extra, Json};
use crate::openai::facade::{EncodingFormat, encode_embeddings};
use crate::tokens::{estimate, estimate_embeddings, estimate_request};

/// How long vectors are when nobody says.
const DIMENSIONS: u32 = 64;
/// No vector is longer: what is asked for comes from outside.
const MAX_DIMENSIONS: u32 = 4_096;

/// What fills an answer up to its length.
const WORDS: &[&str] = &[
    "this",
    "text",
    "was",
    "made",
    "by",
    "a",
    "simulated",
    "provider",
    "and",
    "means",
    "nothing",
    "it",
    "stands",
    "where",
    "an",
    "answer",
    "of",
    "some",
    "model",
    "would",
    "be",
];

/// An answer, before anything goes wrong with it.
pub(super) struct Answer {
    pub(super) response: ChatResponse,
    pub(super) stamp: Stamp,
    /// Of the answer, for its pace.
    pub(super) tokens: u64,
}

impl Answer {
    /// The answer as a stream tells it, a word a piece.
    pub(super) fn events(&self) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        for event in self.response.to_events() {
            match event {
                StreamEvent::TextDelta { text } => {
                    let words = text.split_inclusive(' ').map(str::to_owned);
                    events.extend(words.map(|text| StreamEvent::TextDelta { text }));
                }
                StreamEvent::ToolCallArguments { index, delta } => {
                    let pieces = delta.split_inclusive(',').map(str::to_owned);
                    events.extend(pieces.map(|delta| StreamEvent::ToolCallArguments { index, delta }));
                }
                other => events.push(other),
            }
        }
        events
    }
}

pub(super) fn answer(settings: &SimSettings, model: &str, request: &ChatRequest, dice: &mut Dice) -> Answer {
    let model = model_name(model);
    let id = format!("sim-{:016x}", dice.next());
    let (parts, mut reason) = match tool_to_call(request) {
        Some((name, schema)) => {
            let arguments = schema.map_or_else(|| "{}".to_owned(), |schema| sample(schema, dice).to_string());
            let call = ToolCall { id: format!("call_{id}"), name: name.to_owned(), arguments, signature: None };
            (vec![Part::from(Content::ToolCall(call))], FinishReason::ToolCalls)
        }
        None => (vec![Part::text(text(settings, &model, request, dice))], FinishReason::Stop),
    };
    let mut response = ChatResponse::of_text("");
    response.parts = parts;
    if let Some(Content::Text(text)) = response.parts.first_mut().map(|part| &mut part.content) {
        if let Some(limit) = request.max_output_tokens
            && shorten(text, limit)
        {
            reason = FinishReason::Length;
        }
        if let Some(end) = stops(request).filter_map(|stop| text.find(stop)).min() {
            text.truncate(end);
            reason = FinishReason::Stop;
        }
    }
    let said: u64 = response
        .parts
        .iter()
        .map(|part| match &part.content {
            Content::Text(text) => estimate(text),
            Content::ToolCall(call) => estimate(&call.arguments) + 8,
            _ => 0,
        })
        .sum();
    response.finish = Finish::of(reason);
    response.usage = Some(Usage { input_tokens: estimate_request(request), output_tokens: said, ..Usage::default() });
    response.dialect = Dialect::OpenAi;
    response.extra = Extra::new();
    response.extra.insert("system_fingerprint", Json::of("simulated"));
    // Its time is none: the provider has no clock, and the gateway stamps what it passes on.
    Answer { response, stamp: Stamp { id, created: 0, model }, tokens: said }
}

fn stops(request: &ChatRequest) -> impl Iterator<Item = &str> {
    request.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty())
}

/// The tool that the request makes the model call: the one it names, the first if it requires one, or one that the
/// last message of the user names.
fn tool_to_call(request: &ChatRequest) -> Option<(&str, Option<&Json>)> {
    let mut tools = request.tools.iter().filter_map(|tool| match tool {
        Tool::Function { name, parameters, .. } => Some((name.as_str(), parameters.as_ref())),
        Tool::Native(_) => None,
    });
    match &request.tool_choice {
        Some(ToolChoice::None) => None,
        Some(ToolChoice::Required) => tools.next(),
        Some(ToolChoice::Function(wanted)) => tools.find(|(name, _)| name == wanted),
        Some(ToolChoice::Auto | ToolChoice::Native(_)) | None => {
            let last = request.messages.last().filter(|message| message.role == Role::User)?;
            let said = texts(&last.parts);
            tools.find(|(name, _)| said.contains(name))
        }
    }
}

fn text(settings: &SimSettings, model: &str, request: &ChatRequest, dice: &mut Dice) -> String {
    match &request.response_format {
        ResponseFormat::JsonSchema { schema, .. } => return sample(schema, dice).to_string(),
        ResponseFormat::JsonObject => return r#"{"simulated":true}"#.to_owned(),
        ResponseFormat::Text => {}
    }
    let asked = request.messages.iter().rev().find(|message| message.role == Role::User);
    let asked = asked.map(|message| texts(&message.parts)).unwrap_or_default();
    let mut text = format!("[simulated by {model}]");
    if !asked.is_empty() {
        let start: String = asked.chars().take(80).collect();
        text.push_str(&format!(" You said: {start}"));
    }
    let span = settings.max_tokens.saturating_sub(settings.min_tokens) as usize;
    let length = u64::from(settings.min_tokens) + dice.below(span + 1) as u64;
    let mut tokens = estimate(&text);
    while tokens < length {
        let word = WORDS[dice.below(WORDS.len())];
        text.push(' ');
        text.push_str(word);
        tokens += estimate(word);
    }
    text
}

fn texts(parts: &[Part]) -> String {
    let mut all = String::new();
    for part in parts {
        if let Content::Text(text) = &part.content {
            all.push_str(text);
        }
    }
    all
}

/// Keeps as many words as the limit has tokens. True if any had to go.
fn shorten(text: &mut String, limit: u64) -> bool {
    let mut tokens = 0;
    let mut end = 0;
    for word in text.split_inclusive(' ') {
        tokens += estimate(word);
        if tokens > limit {
            text.truncate(end);
            return true;
        }
        end += word.len();
    }
    false
}

/// Vectors that depend on the text alone, of length one.
pub(super) fn embeddings(model: &str, request: &EmbeddingsRequest) -> Vec<u8> {
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS).clamp(1, MAX_DIMENSIONS);
    let vectors = match &request.input {
        EmbeddingsInput::Texts(texts) => texts.iter().map(|text| vector(text.as_bytes(), dimensions)).collect(),
        EmbeddingsInput::Tokens(tokens) => tokens
            .iter()
            .map(|tokens| {
                let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
                vector(&bytes, dimensions)
            })
            .collect(),
    };
    let model = model_name(model);
    let usage = Usage { input_tokens: estimate_embeddings(request), ..Usage::default() };
    let response = EmbeddingsResponse { model: Some(model.clone()), vectors, usage: Some(usage) };
    encode_embeddings(&response, &model, EncodingFormat::Float)
}

fn vector(bytes: &[u8], dimensions: u32) -> Vec<f32> {
    let mut dice = Dice::new(0);
    dice.mix(bytes);
    let raw: Vec<f64> = (0..dimensions).map(|_| dice.unit() - 0.5).collect();
    let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    raw.into_iter().map(|x| (x / length) as f32).collect()
}
