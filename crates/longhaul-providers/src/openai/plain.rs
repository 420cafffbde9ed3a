//! What can be passed on as it came: answers and chunks of exactly the shape that OpenAI documents.
//!
//! Everything is checked to be JSON, and what the gateway must know is taken out; nothing else is read.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::wire::UsageWire;
use crate::chat::{Dialect, Usage};
use crate::json::Integer;
use crate::relay::RelayedAnswer;

/// OpenAI's own words for the end.
const ENDS: [&str; 4] = ["stop", "length", "tool_calls", "content_filter"];

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    object: Cow<'a, str>,
    #[serde(rename = "created")]
    _created: i64,
    #[serde(borrow, rename = "model")]
    _model: Cow<'a, str>,
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    usage: Option<UsageWire>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<Integer>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    logprobs: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: &'a RawValue,
}

#[derive(Deserialize)]
struct Delta<'a> {
    role: Option<IgnoredAny>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    refusal: Option<IgnoredAny>,
    reasoning_content: Option<IgnoredAny>,
    reasoning: Option<IgnoredAny>,
    tool_calls: Option<IgnoredAny>,
    function_call: Option<IgnoredAny>,
    annotations: Option<IgnoredAny>,
    audio: Option<IgnoredAny>,
}

/// A whole answer to a good status, if it is plain.
pub(super) fn answer(body: &Bytes, read: fn(&[u8]) -> crate::chat::ChatResponse) -> Option<RelayedAnswer> {
    let text = std::str::from_utf8(body).ok()?;
    let answer: Answer<'_> = serde_json::from_str(text).ok()?;
    let [choice] = answer.choices.as_slice() else { return None };
    let message = choice.message.as_ref()?;
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    let is_text = |raw: &RawValue| raw.get().starts_with('"');
    let is_plain = answer.error.is_none()
        && answer.object == "chat.completion"
        && choice.index.is_some_and(|index| index.0 == 0)
        && choice.finish_reason.as_deref().is_some_and(|end| ENDS.contains(&end))
        && message.content.is_none_or(is_text)
        && calls.iter().all(|call| {
            !call.id.is_empty()
                && call.kind == "function"
                && !call.function.name.is_empty()
                && is_text(call.function.arguments)
        });
    if !is_plain {
        return None;
    }
    let id = within_quotes(text, answer.id)?;
    Some(RelayedAnswer::new(Dialect::OpenAi, body.clone(), id, answer.usage.map(Usage::from), read))
}

/// What there is to know of a plain chunk.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    /// Where the id stands, between its quotes.
    pub(super) id: Range<usize>,
    /// The text, and where it stands.
    pub(super) content: Option<(Cow<'a, str>, Range<usize>)>,
    /// It names the role, as the first does.
    pub(super) has_role: bool,
    pub(super) finish: Option<Cow<'a, str>>,
    pub(super) usage: Option<Usage>,
    /// The chunk is about the usage alone.
    pub(super) is_usage: bool,
}

/// A chunk, if it is plain: a role, text, the end, or the usage.
pub(super) fn chunk(line: &str) -> Option<Chunk<'_>> {
    let answer: Answer<'_> = serde_json::from_str(line).ok()?;
    if answer.error.is_some() || answer.object != "chat.completion.chunk" {
        return None;
    }
    let id = within_quotes(line, answer.id)?;
    let usage = answer.usage.map(Usage::from);
    let choice = match <[Choice<'_>; 1]>::try_from(answer.choices) {
        Ok([choice]) => choice,
        // Azure's chunks about its filters have neither.
        Err(choices) => {
            let is_usage = choices.is_empty() && usage.is_some();
            return is_usage.then_some(Chunk { id, content: None, has_role: false, finish: None, usage, is_usage });
        }
    };
    let delta = choice.delta?;
    let has_more = delta.refusal.is_some()
        || delta.reasoning_content.is_some()
        || delta.reasoning.is_some()
        || delta.tool_calls.is_some()
        || delta.function_call.is_some()
        || delta.annotations.is_some()
        || delta.audio.is_some()
        || choice.logprobs.is_some();
    let is_end = choice.finish_reason.as_deref().is_none_or(|end| ENDS.contains(&end));
    if has_more || !is_end || choice.message.is_some() || choice.index.is_none_or(|index| index.0 != 0) {
        return None;
    }
    let content = match delta.content {
        None => None,
        Some(raw) => Some((serde_json::from_str::<Text<'_>>(raw.get()).ok()?.0, within_quotes(line, raw)?)),
    };
    let has_role = delta.role.is_some();
    Some(Chunk { id, content, has_role, finish: choice.finish_reason, usage, is_usage: false })
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Where a text stands in what it was read from, its quotes left out.
fn within_quotes(whole: &str, part: &RawValue) -> Option<Range<usize>> {
    let part = part.get();
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let is_text = part.len() >= 2 && part.starts_with('"') && whole.get(start..start + part.len()) == Some(part);
    is_text.then(|| start + 1..start + part.len() - 1)
}
