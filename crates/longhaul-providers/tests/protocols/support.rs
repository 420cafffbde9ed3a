//! What the tests of all protocols share: replies out of fixtures, streams fed in every way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use longhaul_providers::chat::{Accumulator, ChatResponse, StreamEvent};
use longhaul_providers::exchange::{Access, Head, Reply, Secret};
use longhaul_providers::facade::{Frame, StreamEncoder};
use longhaul_providers::protocol::{Protocol, StreamDecoder};

/// The bytes of a fixture.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// 2026-01-01T00:00:00Z.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

pub(crate) fn access() -> Access {
    Access { api_key: Some(Secret::new("key-123")), ..Access::default() }
}

pub(crate) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

/// Calls a function with a reply.
pub(crate) fn with_reply<T>(
    status: u16,
    pairs: &[(&'static str, &str)],
    body: &[u8],
    judge: impl FnOnce(Reply<'_>) -> T,
) -> T {
    let headers = headers(pairs);
    let head = Head { status: StatusCode::from_u16(status).unwrap(), headers: &headers, received_at: now() };
    judge(Reply { head, body })
}

/// A whole answer out of a fixture.
pub(crate) fn whole(protocol: &dyn Protocol, name: &str) -> ChatResponse {
    with_reply(200, &[("content-type", "application/json")], &fixture(name), |reply| protocol.decode_chat(reply))
        .unwrap()
}

/// What a decoder tells of pieces.
pub(crate) fn events<'a>(
    mut decoder: Box<dyn StreamDecoder>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<StreamEvent> {
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut events);
    }
    decoder.finish(&mut events);
    events
}

/// What a protocol tells of a streamed fixture, having checked that it tells the same however the bytes are cut.
pub(crate) fn streamed(protocol: &dyn Protocol, name: &str) -> Vec<StreamEvent> {
    let body = fixture(name);
    let at_once = events(protocol.stream_decoder(), [&body[..]]);
    assert_eq!(at_once.iter().filter(|event| event.is_end()).count(), 1, "{name}: one end");
    assert!(at_once.last().unwrap().is_end(), "{name}: nothing behind the end");
    for cut in 0..=body.len() {
        let (a, b) = body.split_at(cut);
        assert_eq!(events(protocol.stream_decoder(), [a, b]), at_once, "{name}, cut at {cut}");
    }
    assert_eq!(events(protocol.stream_decoder(), body.chunks(1)), at_once, "{name}, byte by byte");
    at_once
}

/// Every beginning of a streamed body short of the whole ends in an error or, where the protocol has said all, in the
/// same end.
pub(crate) fn cut_short(protocol: &dyn Protocol, name: &str) {
    let body = fixture(name);
    let all = streamed(protocol, name);
    for cut in 0..body.len() {
        let some = events(protocol.stream_decoder(), [&body[..cut]]);
        let end = some.last().unwrap();
        assert!(end.is_end(), "{name}, cut short at {cut}");
        assert!(
            matches!(end, StreamEvent::Error(_)) || end == all.last().unwrap(),
            "{name}, cut short at {cut}: {end:?}"
        );
    }
}

/// The answer that a stream told.
pub(crate) fn folded(events: &[StreamEvent]) -> ChatResponse {
    let mut answer = Accumulator::new();
    events.iter().for_each(|event| answer.push(event));
    assert!(answer.is_finished(), "{events:?}");
    answer.into_response()
}

/// What an encoder writes for events.
pub(crate) fn frames(mut encoder: impl StreamEncoder, events: &[StreamEvent]) -> Vec<Frame> {
    let mut frames = Vec::new();
    events.iter().for_each(|event| encoder.push(event, &mut frames));
    frames
}

/// Frames as the bytes of a body.
pub(crate) fn sse(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.write_to(&mut out));
    out
}

/// Bytes as JSON.
pub(crate) fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}
