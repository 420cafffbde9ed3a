//! A stream passed on frame by frame.
//!
//! Frames of one stream are alike: the same fields around another piece of text. So the first is read, and of each that
//! follows only whether it begins and ends as the one before and has a text without escapes between, which takes a
//! fraction of reading it. Any other is read anew, and one that is not plain goes through the neutral decoder, whose
//! state is kept up to date meanwhile. A body that is not framed as OpenAI frames it goes through it altogether.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::plain;
use super::stream::Chunks;
use crate::chat::StreamEvent;
use crate::protocol::StreamDecoder;
use crate::relay::{RelayTo, Relayed};
use crate::sse::{MAX_EVENT_BYTES, SseStream};

const DATA: &[u8] = b"data: ";
const DONE: &str = "[DONE]";

/// Passes a stream on to a client of OpenAI's.
#[derive(Debug)]
pub(super) struct Relay {
    to: RelayTo,
    neutral: SseStream<Chunks>,
    /// A frame that is not whole yet.
    rest: BytesMut,
    like: Option<Like>,
    /// The body is not framed as expected: the neutral decoder has it to the end.
    is_strange: bool,
    /// What will be passed on with the next event.
    run: Run,
}

#[derive(Debug, Default)]
struct Run {
    frames: Vec<u8>,
    text: String,
    has_finish: bool,
    has_usage: bool,
}

/// What the last frame with text had around it, and what that becomes.
#[derive(Debug)]
struct Like {
    before: Vec<u8>,
    after: Vec<u8>,
    /// `before` with `data: ` and our id.
    told_before: Vec<u8>,
    /// `after` with the end of a frame.
    told_after: Vec<u8>,
}

/// A frame at the front of what came.
enum Front<'a> {
    /// One line of data, and how long the frame is.
    Data(&'a [u8], usize),
    /// A sign of life.
    Comment(usize),
    /// Not all there.
    Partial,
    /// Something else.
    Strange,
}

impl Relay {
    pub(super) fn new(to: RelayTo) -> Self {
        Self {
            to,
            neutral: SseStream::new(Chunks::default()),
            rest: BytesMut::new(),
            like: None,
            is_strange: false,
            run: Run::default(),
        }
    }

    /// Takes the whole frames off the front; tells how many bytes they were.
    fn frames(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) -> usize {
        let mut at = 0;
        while !self.neutral.has_ended() {
            let front = match front(&bytes[at..]) {
                Front::Partial if bytes.len() - at > MAX_EVENT_BYTES => Front::Strange,
                front => front,
            };
            match front {
                Front::Partial => break,
                Front::Comment(length) => at += length,
                Front::Data(line, length) => {
                    if !self.pass_like(line) {
                        self.look_at(line, events);
                    }
                    at += length;
                }
                Front::Strange => {
                    self.pass_on(events);
                    self.is_strange = true;
                    self.neutral.feed(&bytes[at..], events);
                    return bytes.len();
                }
            }
        }
        self.pass_on(events);
        at
    }

    /// Passes a frame on that is like the one before.
    fn pass_like(&mut self, line: &[u8]) -> bool {
        let Some(like) = &self.like else { return false };
        let Some(rest) = line.strip_prefix(like.before.as_slice()) else { return false };
        let Some(text) = rest.strip_suffix(like.after.as_slice()) else { return false };
        if text.is_empty() || !text.iter().all(|byte| *byte >= 0x20 && !matches!(byte, b'"' | b'\\')) {
            return false;
        }
        let Ok(text) = std::str::from_utf8(text) else { return false };
        self.run.text.push_str(text);
        let frames = &mut self.run.frames;
        frames.extend_from_slice(&like.told_before);
        frames.extend_from_slice(text.as_bytes());
        frames.extend_from_slice(&like.told_after);
        true
    }

    /// Reads a frame.
    fn look_at(&mut self, line: &[u8], events: &mut Vec<StreamEvent>) {
        let Ok(text) = std::str::from_utf8(line) else {
            self.pass_on(events);
            return self.neutral.event(&String::from_utf8_lossy(line), events);
        };
        let chunk = if text.trim() == DONE { None } else { plain::chunk(text) };
        // Behind a tool call everything is told the long way: it may change what the end is called.
        let is_early =
            |chunk: &plain::Chunk<'_>, known: &Chunks| !chunk.is_usage && !chunk.has_role && !known.has_started();
        // SDKs insist on a role, which some servers never name: then the first frame is ours.
        let is_fit = |chunk: &plain::Chunk<'_>, known: &Chunks| !known.has_calls() && !is_early(chunk, known);
        let Some(chunk) = chunk.filter(|chunk| is_fit(chunk, self.neutral.interpret())) else {
            self.pass_on(events);
            return self.neutral.event(text, events);
        };
        if !chunk.is_usage && !self.neutral.interpret().has_started() {
            // The neutral decoder tells who answers; what else it tells of this frame is passed on instead.
            let mut begun = Vec::new();
            self.neutral.event(text, &mut begun);
            events.extend(begun.into_iter().filter(|event| matches!(event, StreamEvent::Started { .. })));
        }
        self.neutral.interpret().note(chunk.usage, chunk.finish.as_deref());
        if chunk.is_usage && !self.to.include_usage {
            return;
        }
        self.run.has_usage |= chunk.is_usage;
        self.run.has_finish |= chunk.finish.is_some();
        let frames = &mut self.run.frames;
        frames.extend_from_slice(DATA);
        put_with_id(frames, line, &chunk.id, &self.to.id);
        frames.extend_from_slice(b"\n\n");
        if let Some((told, at)) = chunk.content {
            self.run.text.push_str(&told);
            // Only of frames that say nothing but text, and whose id is not in the text's way.
            if chunk.finish.is_none() && chunk.usage.is_none() && chunk.id.end < at.start && !told.is_empty() {
                self.like = Some(Like::of(line, &chunk.id, &at, &self.to.id));
            }
        }
    }

    fn pass_on(&mut self, events: &mut Vec<StreamEvent>) {
        if self.run.frames.is_empty() {
            return;
        }
        let Run { frames, text, has_finish, has_usage } = std::mem::take(&mut self.run);
        events.push(StreamEvent::Relayed(Relayed { frames: frames.into(), text, has_finish, has_usage }));
    }
}

impl Like {
    fn of(line: &[u8], id: &Range<usize>, text: &Range<usize>, our_id: &str) -> Self {
        let (before, after) = (&line[..text.start], &line[text.end..]);
        let mut told_before = DATA.to_vec();
        put_with_id(&mut told_before, before, id, our_id);
        Self { before: before.to_vec(), after: after.to_vec(), told_before, told_after: [after, b"\n\n"].concat() }
    }
}

fn put_with_id(out: &mut Vec<u8>, line: &[u8], id: &Range<usize>, ours: &str) {
    out.extend_from_slice(&line[..id.start]);
    out.extend_from_slice(ours.as_bytes());
    out.extend_from_slice(&line[id.end..]);
}

fn front(bytes: &[u8]) -> Front<'_> {
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        let could_be = DATA.starts_with(&bytes[..bytes.len().min(DATA.len())]) || bytes.starts_with(DATA);
        return if could_be || bytes.starts_with(b":") { Front::Partial } else { Front::Strange };
    };
    let line = &bytes[..end];
    let is_data = line.starts_with(DATA);
    if !(is_data || line.starts_with(b":")) || memchr::memchr(b'\r', line).is_some() {
        return Front::Strange;
    }
    match bytes.get(end + 1) {
        None => Front::Partial,
        Some(b'\n') if is_data => Front::Data(&line[DATA.len()..], end + 2),
        Some(b'\n') => Front::Comment(end + 2),
        Some(_) => Front::Strange,
    }
}

impl StreamDecoder for Relay {
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) {
        if self.is_strange || self.neutral.has_ended() {
            return self.neutral.feed(bytes, events);
        }
        if self.rest.is_empty() {
            // About as much goes out as came in.
            self.run.frames.reserve(bytes.len() + bytes.len() / 8);
            let taken = self.frames(bytes, events);
            self.rest.extend_from_slice(&bytes[taken..]);
            return;
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        self.run.frames.reserve(rest.len() + rest.len() / 8);
        let taken = self.frames(&rest, events);
        let _ = rest.split_to(taken);
        self.rest = rest;
    }

    fn finish(&mut self, events: &mut Vec<StreamEvent>) {
        let rest: Bytes = std::mem::take(&mut self.rest).freeze();
        if !rest.is_empty() {
            self.neutral.feed(&rest, events);
        }
        self.neutral.finish(events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Accumulator, FinishReason};
    use proptest::prelude::*;

    fn relay(usage: bool) -> Relay {
        Relay::new(RelayTo { dialect: crate::chat::Dialect::OpenAi, id: "chatcmpl-ours".into(), include_usage: usage })
    }

    fn frame(delta: &str, finish: &str) -> String {
        format!(
            "data: {{\"id\":\"theirs\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\"x\":1,\
             \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    }

    const USAGE: &str = "data: {\"id\":\"theirs\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\
        \"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";

    fn stream(texts: &[&str]) -> String {
        let mut body = frame(r#"{"role":"assistant","content":""}"#, "null");
        for text in texts {
            body += &frame(&format!("{{\"content\":{}}}", serde_json::to_string(text).unwrap()), "null");
        }
        body + &frame("{}", "\"stop\"") + USAGE + "data: [DONE]\n\n"
    }

    fn told(mut relay: Relay, pieces: &[&[u8]]) -> (String, Vec<StreamEvent>) {
        let mut events = Vec::new();
        for piece in pieces {
            relay.feed(piece, &mut events);
        }
        relay.finish(&mut events);
        let frames = events.iter().filter_map(|event| match event {
            StreamEvent::Relayed(relayed) => Some(String::from_utf8(relayed.frames.to_vec()).unwrap()),
            _ => None,
        });
        (frames.collect(), events)
    }

    fn answer(events: &[StreamEvent]) -> crate::chat::ChatResponse {
        let mut whole = Accumulator::new();
        events.iter().for_each(|event| whole.push(event));
        whole.into_response()
    }

    #[test]
    fn frames_are_passed_on_as_they_came_under_our_id() {
        let body = stream(&["Hello", ", world", "\n\"quoted\" ", "grüße", " end"]);
        let (frames, events) = told(relay(true), &[body.as_bytes()]);
        let expected = body.replace("theirs", "chatcmpl-ours").replace("data: [DONE]\n\n", "");
        assert_eq!(frames, expected);
        let answer = answer(&events);
        assert_eq!(answer.text(), "Hello, world\n\"quoted\" grüße end");
        assert_eq!((answer.usage.unwrap().output_tokens, answer.finish.reason), (4, FinishReason::Stop));
        assert!(matches!(&events[0], StreamEvent::Started { id: Some(id), created: Some(7), .. } if id == "theirs"));
        let (frames, _) = told(relay(false), &[body.as_bytes()]);
        assert_eq!(
            frames,
            expected.replace(&USAGE.replace("theirs", "chatcmpl-ours"), ""),
            "the usage was not asked for"
        );
    }

    #[test]
    fn what_is_not_plain_takes_the_long_way() {
        let calls =
            r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
        let body = frame(r#"{"role":"assistant","content":"a"}"#, "null")
            + &frame(calls, "null")
            + &frame("{}", "\"stop\"")
            + "data: [DONE]\n\n";
        let (frames, events) = told(relay(false), &[body.as_bytes()]);
        assert_eq!(frames.matches("data: ").count(), 1, "{frames}");
        assert_eq!(answer(&events).finish.reason, FinishReason::ToolCalls);
        assert_eq!(answer(&events).tool_calls().count(), 1);
        for strange in ["data: {\"error\":{\"message\":\"no\"}}\n\n", "event: error\ndata: {}\n\n", "data: {\n\n"] {
            let (_, events) =
                told(relay(false), &[(frame(r#"{"role":"assistant","content":"a"}"#, "null") + strange).as_bytes()]);
            assert!(matches!(events.last(), Some(StreamEvent::Error(_))), "{strange}: {events:?}");
        }
    }

    #[test]
    fn what_groq_tells_in_its_own_place_is_heard() {
        let begin = frame(r#"{"role":"assistant","content":"a"}"#, "null");
        let end = frame("{}", "\"stop\"");
        let groq = |frame: &str, told: &str| frame.replace("\"x\":1", &format!("\"x_groq\":{told}"));
        let usage = r#"{"id":"req_1","usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        let body = begin.clone() + &groq(&end, usage) + "data: [DONE]\n\n";
        let (_, events) = told(relay(false), &[body.as_bytes()]);
        assert_eq!(answer(&events).usage.unwrap().output_tokens, 4, "{events:?}");
        let body = begin + &groq(&frame("{}", "null"), r#"{"error":{"message":"no"}}"#);
        let (_, events) = told(relay(false), &[body.as_bytes()]);
        assert!(matches!(events.last(), Some(StreamEvent::Error(error)) if error.message == "no"), "{events:?}");
    }

    #[test]
    fn a_stream_that_names_no_role_begins_the_long_way() {
        let body = frame(r#"{"content":"a"}"#, "null") + &frame(r#"{"content":"b"}"#, "null") + "data: [DONE]\n\n";
        let (frames, events) = told(relay(false), &[body.as_bytes()]);
        assert_eq!(frames, frame(r#"{"content":"b"}"#, "null").replace("theirs", "chatcmpl-ours"));
        assert!(matches!(&events[1], StreamEvent::TextDelta { text } if text == "a"), "{events:?}");
    }

    #[test]
    fn other_line_ends_and_signs_of_life_are_understood() {
        let body = stream(&["Hello"]);
        let (frames, events) = told(relay(false), &[body.replace('\n', "\r\n").as_bytes()]);
        assert_eq!((frames.as_str(), answer(&events).text().as_str()), ("", "Hello"));
        let lively = format!(": alive\n\n{body}").replace("data: [DONE]", ": alive\n\ndata: [DONE]");
        assert_eq!(answer(&told(relay(false), &[lively.as_bytes()]).1).text(), "Hello");
    }

    #[test]
    fn a_stream_that_ends_early_says_so() {
        let body = frame(r#"{"role":"assistant","content":"a"}"#, "null") + "data: {\"id\":";
        let (frames, events) = told(relay(false), &[body.as_bytes()]);
        assert!(frames.contains("chatcmpl-ours"));
        assert!(matches!(events.last(), Some(StreamEvent::Error(_))));
    }

    #[test]
    fn a_text_that_breaks_out_of_its_quotes_is_no_plain_frame() {
        let good = frame(r#"{"role":"assistant","content":"a"}"#, "null");
        let evil = good.replace("\"a\"", "\"a\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}],\"y\":\"b\"");
        let (frames, _) = told(relay(false), &[(good.clone() + &evil).as_bytes()]);
        assert_eq!(frames, good.replace("theirs", "chatcmpl-ours"));
    }

    proptest! {
        #[test]
        fn how_the_body_is_cut_makes_no_difference(
            texts in proptest::collection::vec("[a-zé\\n\"\\\\🎈 ]{0,12}", 0..8),
            cuts in proptest::collection::vec(0usize..4_000, 0..8),
        ) {
            let body = stream(&texts.iter().map(String::as_str).collect::<Vec<_>>()).into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
            let (frames, events) = told(relay(true), &pieces);
            let (whole, _) = told(relay(true), &[&body]);
            prop_assert_eq!(frames, whole);
            prop_assert_eq!(answer(&events).text(), texts.concat());
        }

        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            told(relay(true), &body.chunks(7).collect::<Vec<_>>());
        }
    }
}
