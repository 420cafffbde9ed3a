//! What can be passed on as it came: answers and chunks of exactly the shape that OpenAI documents.
//!
//! Everything is checked to be JSON, and what the gateway must know is taken out; nothing else is read.
//!
//! What is passed on can still be read the long way later, by a cache or a client of another dialect. So every field that
//! [`wire`](super::wire) reads has its place here too, with the same type or a narrower one: what it would refuse (a text
//! with half a character, a field told twice) is not plain.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::wire::{ExtraContent, Groq, UsageWire};
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
    choices: Vec<Braced<Choice<'a>>>,
    usage: Option<UsageWire>,
    #[serde(rename = "system_fingerprint")]
    _system_fingerprint: Option<IgnoredAny>,
    #[serde(rename = "service_tier")]
    _service_tier: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
    #[serde(rename = "message")]
    _message: Option<IgnoredAny>,
    x_groq: Option<Groq>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<Integer>,
    #[serde(borrow)]
    message: Option<Braced<Message<'a>>>,
    #[serde(borrow)]
    delta: Option<Braced<Delta<'a>>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    logprobs: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(rename = "reasoning")]
    _reasoning: Option<IgnoredAny>,
    #[serde(rename = "reasoning_details")]
    _reasoning_details: Option<IgnoredAny>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Braced<Call<'a>>>>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
    #[serde(rename = "audio")]
    _audio: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(rename = "index")]
    _index: Option<Integer>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    function: Braced<Function<'a>>,
    #[serde(rename = "extra_content")]
    _extra_content: Option<ExtraContent>,
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
    reasoning_details: Option<IgnoredAny>,
    tool_calls: Option<IgnoredAny>,
    function_call: Option<IgnoredAny>,
    annotations: Option<IgnoredAny>,
    audio: Option<IgnoredAny>,
}

/// A whole answer to a good status, if it is plain.
pub(super) fn answer(body: &Bytes, read: fn(&[u8]) -> crate::chat::ChatResponse) -> Option<RelayedAnswer> {
    let text = std::str::from_utf8(body).ok()?;
    let (id, usage) = match long_content(text) {
        None => looked_over(text)?,
        Some(content) => {
            let (id, usage) = looked_over(&[&text[..content.start], &text[content.end..]].concat())?;
            let left_out = if id.start < content.start { 0 } else { content.len() };
            (id.start + left_out..id.end + left_out, usage)
        }
    };
    Some(RelayedAnswer::new(Dialect::OpenAi, body.clone(), id, usage, read))
}

/// Shorter texts are read in no time.
const LONG: usize = 512;

/// Where the long text of an answer stands, between its quotes: a text that JSON reads as it is, or with escapes that are
/// not by number. An answer is mostly this text, so it is looked over many bytes at a time and left out of what is parsed.
///
/// The answer without it is JSON, and plain, exactly if the answer is. Within a text of JSON no quote stands bare, so what is
/// found here is no part of another text; and a quote that ends a text is followed by no name, in both or in neither.
fn long_content(text: &str) -> Option<Range<usize>> {
    const NAME: &[u8] = br#""content""#;
    let bytes = text.as_bytes();
    let skip_space = |at: usize| at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let colon = skip_space(memmem::find(bytes, NAME)? + NAME.len());
    let quote = (bytes.get(colon) == Some(&b':')).then(|| skip_space(colon + 1))?;
    let start = (bytes.get(quote) == Some(&b'"')).then_some(quote + 1)?;
    let mut end = start;
    loop {
        end += memchr::memchr2(b'"', b'\\', &bytes[end..])?;
        if bytes[end] == b'"' {
            break;
        }
        let is_short = matches!(bytes.get(end + 1)?, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't');
        end += is_short.then_some(2)?;
    }
    // Without a way out of the loop, so that it takes many bytes at once.
    let least = bytes[start..end].iter().fold(u8::MAX, |least, byte| least.min(*byte));
    (end - start >= LONG && least >= 0x20).then_some(start..end)
}

/// Where the id of a plain answer stands, and what the answer cost.
fn looked_over(text: &str) -> Option<(Range<usize>, Option<Usage>)> {
    let Braced(answer) = serde_json::from_str::<Braced<Answer<'_>>>(text).ok()?;
    let [Braced(choice)] = answer.choices.as_slice() else { return None };
    let Braced(message) = choice.message.as_ref()?;
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    let is_plain = answer.error.is_none()
        && answer.object == "chat.completion"
        && choice.delta.is_none()
        && choice.index.is_some_and(|index| index.0 == 0)
        && choice.finish_reason.as_deref().is_some_and(|end| ENDS.contains(&end))
        && [message.content, message.refusal, message.reasoning_content].into_iter().flatten().all(is_text)
        && calls.iter().all(|Braced(call)| {
            !call.id.is_empty()
                && call.kind == "function"
                && !call.function.0.name.is_empty()
                && is_text(call.function.0.arguments)
        });
    if !is_plain {
        return None;
    }
    Some((within_quotes(text, answer.id)?, answer.usage.map(Usage::from)))
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
    let Braced(answer) = serde_json::from_str::<Braced<Answer<'_>>>(line).ok()?;
    // Groq tells the usage of a stream, and errors, in a place of its own.
    if answer.error.is_some() || answer.x_groq.is_some() || answer.object != "chat.completion.chunk" {
        return None;
    }
    let id = within_quotes(line, answer.id)?;
    let usage = answer.usage.map(Usage::from);
    let choice = match <[Braced<Choice<'_>>; 1]>::try_from(answer.choices) {
        Ok([Braced(choice)]) => choice,
        // Azure's chunks about its filters have neither.
        Err(choices) => {
            let is_usage = choices.is_empty() && usage.is_some();
            return is_usage.then_some(Chunk { id, content: None, has_role: false, finish: None, usage, is_usage });
        }
    };
    let Braced(delta) = choice.delta?;
    let has_more = delta.refusal.is_some()
        || delta.reasoning_content.is_some()
        || delta.reasoning.is_some()
        || delta.reasoning_details.is_some()
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

/// Whether it is a text that can be read. That it is JSON is known, and then only an escape by number can be half of a
/// character that takes two.
fn is_text(raw: &RawValue) -> bool {
    let raw = raw.get();
    let is_whole = || memmem::find(raw.as_bytes(), br"\u").is_none() || serde_json::from_str::<Text<'_>>(raw).is_ok();
    raw.starts_with('"') && is_whole()
}

/// Where a text stands in what it was read from, its quotes left out.
fn within_quotes(whole: &str, part: &RawValue) -> Option<Range<usize>> {
    let is_text = is_text(part);
    let part = part.get();
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let is_within = part.len() >= 2 && whole.get(start..start + part.len()) == Some(part);
    (is_text && is_within).then(|| start + 1..start + part.len() - 1)
}

/// An object. What serde derives for a type reads a list of its fields as well, in whatever order they are declared.
struct Braced<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Braced<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BracedVisitor(PhantomData))
    }
}

struct BracedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for BracedVisitor<T> {
    type Value = Braced<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Braced)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::super::response::{decode, decode_plain};
    use super::super::wire::Completion;
    use super::*;
    use crate::exchange::{Head, Reply};

    /// Where a field stands.
    const LEVELS: [&str; 6] = ["answer", "choice", "message", "delta", "call", "function"];

    /// Every field that is read anywhere, plain or the long way.
    const NAMES: [&str; 27] = [
        "id",
        "object",
        "created",
        "model",
        "choices",
        "usage",
        "system_fingerprint",
        "service_tier",
        "error",
        "message",
        "x_groq",
        "index",
        "delta",
        "finish_reason",
        "logprobs",
        "content",
        "refusal",
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "tool_calls",
        "annotations",
        "audio",
        "extra_content",
        "function",
        "name",
        "arguments",
    ];

    const VALUES: [&str; 17] = [
        "null",
        "true",
        "0",
        "1.0",
        "-1",
        "1e400",
        r#""""#,
        r#""text""#,
        r#""two \ud83c\udf88""#,
        r#""half \ud83d""#,
        r#""half \udf88 \\u0041""#,
        r#""\u0009""#,
        "[]",
        r#"["text"]"#,
        r#"["text",null,null,null,null,null,null]"#,
        "{}",
        r#"{"usage":{"prompt_tokens":"many"},"google":{"thought_signature":5}}"#,
    ];

    /// The fields of each level, in JSON. A field that holds the next level has no value of its own.
    type Fields = Vec<(&'static str, &'static str)>;

    fn fields(level: &str, is_whole: bool) -> Fields {
        match level {
            "answer" => vec![
                ("id", "\"theirs\""),
                ("object", if is_whole { "\"chat.completion\"" } else { "\"chat.completion.chunk\"" }),
                ("created", "7"),
                ("model", "\"m\""),
                ("choices", ""),
            ],
            "choice" if is_whole => vec![("index", "0"), ("message", ""), ("finish_reason", "\"stop\"")],
            "choice" => vec![("index", "0"), ("delta", ""), ("finish_reason", "null")],
            "message" => vec![("role", "\"assistant\""), ("content", "\"told\""), ("tool_calls", "")],
            "delta" => vec![("role", "\"assistant\""), ("content", "\"told\"")],
            "call" => vec![("id", "\"c\""), ("type", "\"function\""), ("function", "")],
            _ => vec![("name", "\"f\""), ("arguments", "\"{}\"")],
        }
    }

    /// A field of a level set to a value, or told once more.
    #[derive(Debug, Clone)]
    struct Change {
        level: &'static str,
        name: &'static str,
        value: &'static str,
        again: bool,
    }

    fn change() -> impl Strategy<Value = Change> {
        use proptest::sample::select;
        (select(&LEVELS[..]), select(&NAMES[..]), select(&VALUES[..]), any::<bool>())
            .prop_map(|(level, name, value, again)| Change { level, name, value, again })
    }

    fn written(level: &str, is_whole: bool, changes: &[Change]) -> String {
        let mut fields = fields(level, is_whole);
        for change in changes.iter().filter(|change| change.level == level) {
            match fields.iter_mut().find(|(name, _)| *name == change.name) {
                Some(field) if !change.again => field.1 = change.value,
                _ => fields.push((change.name, change.value)),
            }
        }
        let below = |level: &str| written(level, is_whole, changes);
        let fields = fields.into_iter().map(|(name, value)| match (name, value) {
            ("choices", "") => format!("\"choices\":[{}]", below("choice")),
            ("message" | "delta" | "function", "") => format!("\"{name}\":{}", below(name)),
            ("tool_calls", "") => format!("\"tool_calls\":[{}]", below("call")),
            _ => format!("\"{name}\":{value}"),
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }

    fn is_plain(body: &str) -> bool {
        answer(&Bytes::copy_from_slice(body.as_bytes()), decode_plain).is_some()
    }

    #[test]
    fn what_openai_documents_is_plain() {
        assert!(is_plain(&written("answer", true, &[])));
        assert!(chunk(&written("answer", false, &[])).is_some());
        for (name, value) in [("refusal", "null"), ("content", r#""two \ud83c\udf88""#), ("annotations", "[]")] {
            let change = Change { level: "message", name, value, again: false };
            assert!(is_plain(&written("answer", true, &[change])), "{name}: {value}");
        }
    }

    /// What stands before the text, the text, and what stands after it.
    fn with_content(before: &str, content: &str, after: &str) -> String {
        format!(
            r#"{{"id":"theirs","object":"chat.completion","created":7,"model":"m",{before}
               "choices":[{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content": "{content}"}}}}]{after}}}"#
        )
    }

    #[test]
    fn a_long_text_is_looked_over_without_being_read() {
        let long = r#"He said \"no\".\n"#.repeat(100);
        let body = with_content("", &long, r#","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#);
        assert_eq!(long_content(&body).map(|range| &body[range]), Some(&*long));
        let told = answer(&Bytes::from(body.clone()), decode_plain).expect("plain");
        assert_eq!(told.body("ours"), body.replace("theirs", "ours").as_bytes());
        assert_eq!(told.usage().map(|usage| usage.output_tokens), Some(4));
        // The id may stand after it.
        let body = body.replace(r#""id":"theirs","#, "").replacen("]", r#"],"id":"theirs""#, 1);
        let told = answer(&Bytes::from(body.clone()), decode_plain).expect("plain");
        assert_eq!(told.body("ours"), body.replace("theirs", "ours").as_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_048))]

        #[test]
        fn an_answer_without_its_long_text_is_plain_exactly_if_the_answer_is(
            before in proptest::sample::select(&[
                "", r#""user":"content","#, r#""user":"\"content\":\"","#, r#""user":"x"content":"y","#, r#""content":"x","#,
                r#""user":{"content":"x"},"#, r#""user":"\\","#, r#"""content":"#, r#""\u0063ontent":"x","#, r#""user":"\","#,
            ][..]),
            pieces in proptest::collection::vec(proptest::sample::select(&[
                "some words", r#"\n"#, r#"\""#, r#"\\"#, r#"\/"#, r#"\u00e4"#, r#"\ud83d"#, r#"\x"#, "é", "\u{1}", "\n", "\"", r#"\"#,
                r#"","x":""#, r#""},"y":{"content":""#,
            ][..]), 0..6),
            at in 0..600_usize,
        ) {
            let filler = "x".repeat(600);
            let content = [&filler[..at], &pieces.concat(), &filler[at..]].concat();
            let body = with_content(before, &content, "");
            let told = answer(&Bytes::from(body.clone()), decode_plain);
            let read_whole = looked_over(&body);
            prop_assert_eq!(told.is_some(), read_whole.is_some(), "{}", body);
            if let (Some(told), Some((id, usage))) = (told, read_whole) {
                prop_assert_eq!(told.usage(), usage);
                prop_assert_eq!(told.body("ours"), [&body[..id.start], "ours", &body[id.end..]].concat().into_bytes());
            }
        }
    }

    #[test]
    fn a_list_of_fields_is_no_object() {
        let usual = r#"{"role":"assistant","content":"told"}"#;
        let body = |message: &str| {
            format!(
                r#"{{"id":"x","object":"chat.completion","created":7,"model":"m",
                    "choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]}}"#
            )
        };
        assert!(is_plain(&body(usual)));
        assert!(!is_plain(&body(r#"["told",null,null,null,null,null,null]"#)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn what_is_plain_can_be_read(changes in proptest::collection::vec(change(), 1..4)) {
            let body = written("answer", true, &changes);
            if is_plain(&body) {
                let head = Head { status: StatusCode::OK, headers: &HeaderMap::new(), received_at: std::time::SystemTime::UNIX_EPOCH };
                let read = decode(Reply { head, body: body.as_bytes() });
                prop_assert!(read.is_ok(), "{}: {:?}", body, read);
            }
            let line = written("answer", false, &changes);
            if chunk(&line).is_some() {
                prop_assert!(serde_json::from_str::<Completion>(&line).is_ok(), "{}", line);
            }
        }
    }
}
