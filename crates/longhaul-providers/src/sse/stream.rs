//! What all decoders of streamed answers share: events in, one end out.

use std::fmt::Debug;

use super::{Decoder, MAX_EVENT_BYTES};
use crate::chat::StreamEvent;
use crate::error::{ErrorCode, ProviderError};
use crate::protocol::StreamDecoder;

/// What one protocol makes of the events of its streams.
pub(crate) trait Interpret: Debug + Send {
    /// Takes one event. An error ends the stream.
    fn event(&mut self, name: Option<&str>, data: &str, out: &mut Vec<StreamEvent>) -> Result<(), ProviderError>;

    /// The body has ended without an end of the answer. Appends the end if what came is whole all the same.
    fn close(&mut self, out: &mut Vec<StreamEvent>);
}

/// Feeds one protocol's interpreter from bytes and holds the rule of one end.
#[derive(Debug)]
pub(crate) struct SseStream<P> {
    decoder: Decoder,
    interpret: P,
    ended: bool,
}

impl<P: Interpret> SseStream<P> {
    pub(crate) fn new(interpret: P) -> Self {
        Self { decoder: Decoder::new(MAX_EVENT_BYTES), interpret, ended: false }
    }

    /// Takes an event that somebody else has taken apart; there must be no half of another within.
    pub(crate) fn event(&mut self, data: &str, out: &mut Vec<StreamEvent>) {
        take(&mut self.interpret, &mut self.ended, super::Event { name: None, data, id: None }, out);
    }

    pub(crate) fn interpret(&mut self) -> &mut P {
        &mut self.interpret
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }
}

fn take<P: Interpret>(interpret: &mut P, ended: &mut bool, event: super::Event<'_>, out: &mut Vec<StreamEvent>) {
    if *ended {
        return;
    }
    let before = out.len();
    if let Err(error) = interpret.event(event.name, event.data, out) {
        out.push(StreamEvent::Error(error));
    }
    cut_after_end(before, ended, out);
}

/// Whatever an interpreter appends behind an end is no part of the stream.
fn cut_after_end(before: usize, ended: &mut bool, out: &mut Vec<StreamEvent>) {
    if let Some(at) = out.iter().skip(before).position(StreamEvent::is_end) {
        out.truncate(before + at + 1);
        *ended = true;
    }
}

impl<P: Interpret> StreamDecoder for SseStream<P> {
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) {
        if self.ended {
            return;
        }
        let Self { decoder, interpret, ended } = self;
        if let Err(error) = decoder.feed(bytes, |event| take(interpret, ended, event, events))
            && !self.ended
        {
            self.ended = true;
            let error = ProviderError::new(ErrorCode::ResponseTooLarge, error.to_string());
            events.push(StreamEvent::Error(error));
        }
    }

    fn finish(&mut self, events: &mut Vec<StreamEvent>) {
        if self.ended {
            return;
        }
        let Self { decoder, interpret, ended } = self;
        let mut last = Vec::new();
        decoder.finish(|event| take(interpret, ended, event, &mut last));
        // An event that the end of the body cut through is no malformed answer but a short one.
        if matches!(last.last(), Some(StreamEvent::Error(error)) if error.code == ErrorCode::MalformedResponse) {
            last.pop();
            *ended = false;
        }
        events.append(&mut last);
        if self.ended {
            return;
        }
        let before = events.len();
        self.interpret.close(events);
        cut_after_end(before, &mut self.ended, events);
        if !self.ended {
            self.ended = true;
            let error =
                ProviderError::new(ErrorCode::StreamInterrupted, "the stream ended before the answer was whole");
            events.push(StreamEvent::Error(error));
        }
    }
}
