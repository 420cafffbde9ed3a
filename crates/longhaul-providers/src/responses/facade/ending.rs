//! The last event of a stream, made from the response object that was kept, instead of being kept besides it.

use super::stream::ResponseStreamEncoder;
use crate::chat::StreamEvent;
use crate::error::ProviderError;
use crate::facade::{Frame, StreamEncoder as _};
use crate::json::{Json, to_bytes};

impl ResponseStreamEncoder {
    /// The first three events of a background response, which follow from its request alone: created, queued, in
    /// progress. Whoever keeps the rest need not keep these.
    pub fn prelude(&mut self) -> [Frame; 3] {
        let mut frames = Vec::with_capacity(3);
        self.queued(&mut frames);
        self.begin(&mut frames);
        let mut frames = frames.into_iter();
        std::array::from_fn(|_| frames.next().unwrap_or_else(|| Frame::data(Vec::new())))
    }

    /// Ends the stream with an error: what is open is closed as incomplete, and the response has failed.
    pub fn fail_with(&mut self, error: ProviderError, frames: &mut Vec<Frame>) {
        self.push(&StreamEvent::Error(error), frames);
    }
}

/// The event that ends the stream of a response: `object` is its final object, `sequence` the event's number.
pub fn encode_ending(object: &str, sequence: u64) -> Option<Frame> {
    #[derive(serde::Deserialize)]
    struct Ended {
        status: String,
    }
    let Ended { status } = serde_json::from_str(object).ok()?;
    let kind = match status.as_str() {
        "completed" => "response.completed",
        "incomplete" => "response.incomplete",
        "failed" => "response.failed",
        _ => return None,
    };
    let object = Json::parse(object).ok()?;
    let data = to_bytes(|event| {
        event.field("type", kind).field("sequence_number", &sequence).field("response", &object);
    });
    Some(Frame::named(kind, Some(sequence), data))
}

/// The event that says that a stream cannot go on. It is no event of the response, which may be whole.
pub fn encode_stream_error(code: &str, message: &str, sequence: u64) -> Frame {
    let data = to_bytes(|event| {
        event.field("type", "error").field("code", code).field("message", message).field("param", &());
        event.field("sequence_number", &sequence);
    });
    Frame::named("error", Some(sequence), data)
}

/// The number and the name of an event that was kept, as it stands in its data.
pub fn read_event(data: &str) -> Option<(u64, String)> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        sequence_number: u64,
        r#type: String,
    }
    let Numbered { sequence_number, r#type } = serde_json::from_str(data).ok()?;
    Some((sequence_number, r#type))
}

#[cfg(test)]
mod tests {
    use super::super::decode_request;
    use super::*;
    use crate::chat::{Finish, FinishReason};
    use crate::facade::Stamp;

    fn encoder() -> ResponseStreamEncoder {
        let call = decode_request(br#"{"model":"m","input":"hi","background":true}"#).unwrap();
        ResponseStreamEncoder::new(Stamp { id: "resp_1".into(), created: 5, model: "m".into() }, call.echo)
    }

    #[test]
    fn an_ending_made_from_the_object_is_the_one_that_the_encoder_tells() {
        let mut encoder = encoder();
        let mut frames: Vec<Frame> = encoder.prelude().into();
        encoder.push(&StreamEvent::TextDelta { text: "ho".into() }, &mut frames);
        encoder.push(&StreamEvent::Finished(Finish::of(FinishReason::Stop)), &mut frames);
        let object = String::from_utf8(encoder.object()).unwrap();
        let told = frames.last().unwrap();
        assert_eq!(encode_ending(&object, told.sequence.unwrap()).as_ref(), Some(told));
        assert_eq!(read_event(&told.data), Some((told.sequence.unwrap(), "response.completed".into())));
    }

    #[test]
    fn the_prelude_is_the_same_every_time() {
        let first = encoder().prelude();
        assert_eq!(first, encoder().prelude());
        let kinds: Vec<_> = first.iter().map(|frame| frame.event.as_deref().unwrap()).collect();
        assert_eq!(kinds, ["response.created", "response.queued", "response.in_progress"]);
    }

    #[test]
    fn an_unfinished_object_ends_nothing() {
        assert_eq!(encode_ending(r#"{"status":"in_progress"}"#, 3), None);
    }
}
