//! Calls whose pieces come in turns, for protocols that tell one thing after the other.

use serde::de::IgnoredAny;

use crate::chat::StreamEvent;

/// Puts what belongs to one call together: whatever else comes before its arguments are whole waits for them.
///
/// Chat completions number the pieces of calls, so that pieces of several, and text, may come in any order. Where calls
/// come one after the other, as nearly all do, nothing waits. What waits is a part of the answer, and bounded as that is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    open: Option<OpenCall>,
    waiting: Vec<StreamEvent>,
}

/// The call that is being told.
#[derive(Debug, Clone)]
struct OpenCall {
    index: u32,
    arguments: String,
}

impl Turns {
    /// Takes one piece in and tells what has its turn.
    pub(crate) fn push(&mut self, event: &StreamEvent, mut tell: impl FnMut(&StreamEvent)) {
        match event {
            StreamEvent::Started { .. } | StreamEvent::Logprobs { .. } | StreamEvent::Usage(_) => tell(event),
            StreamEvent::Error(_) => {
                self.clear();
                tell(event);
            }
            StreamEvent::Finished(_) => {
                // A call that was left unfinished is told as it is.
                while !self.waiting.is_empty() {
                    self.open = None;
                    self.release(&mut tell);
                }
                self.open = None;
                tell(event);
            }
            _ => {
                if !self.waiting.is_empty() && !self.is_of_open(event) {
                    self.release(&mut tell);
                }
                self.offer(event, &mut tell);
            }
        }
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Tells what waits, up to the next call that is not whole.
    fn release(&mut self, tell: &mut impl FnMut(&StreamEvent)) {
        while !self.waiting.is_empty() && !self.is_unfinished() {
            // The first of them is told, so this ends.
            for event in std::mem::take(&mut self.waiting) {
                self.offer(&event, tell);
            }
        }
    }

    fn offer(&mut self, event: &StreamEvent, tell: &mut impl FnMut(&StreamEvent)) {
        if let (Some(open), StreamEvent::ToolCallArguments { index, delta }) = (&mut self.open, event)
            && open.index == *index
        {
            open.arguments.push_str(delta);
            return tell(event);
        }
        if !self.waiting.is_empty() || self.is_unfinished() {
            self.waiting.push(event.clone());
            return;
        }
        match event {
            StreamEvent::ToolCallStarted { index, .. } => {
                self.open = Some(OpenCall { index: *index, arguments: String::new() });
            }
            // White space behind the arguments of a call that has been told.
            StreamEvent::ToolCallArguments { delta, .. } if delta.trim().is_empty() => return,
            _ => self.open = None,
        }
        tell(event);
    }

    fn is_of_open(&self, event: &StreamEvent) -> bool {
        let StreamEvent::ToolCallArguments { index, .. } = event else { return false };
        self.open.as_ref().is_some_and(|open| open.index == *index)
    }

    fn is_unfinished(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let arguments = open.arguments.trim_end();
            !arguments.ends_with('}') || serde_json::from_str::<IgnoredAny>(arguments).is_err()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::{Accumulator, Finish, FinishReason};

    fn started(index: u32) -> StreamEvent {
        StreamEvent::ToolCallStarted { index, id: format!("c{index}"), name: "f".into(), signature: None }
    }

    fn piece(index: u32, delta: &str) -> StreamEvent {
        StreamEvent::ToolCallArguments { index, delta: delta.into() }
    }

    fn text(text: &str) -> StreamEvent {
        StreamEvent::TextDelta { text: text.into() }
    }

    fn ordered(events: &[StreamEvent]) -> Vec<StreamEvent> {
        let (mut turns, mut told) = (Turns::default(), Vec::new());
        events.iter().for_each(|event| turns.push(event, |event| told.push(event.clone())));
        told
    }

    #[test]
    fn calls_one_after_the_other_wait_for_nothing() {
        let mut turns = Turns::default();
        let events =
            [text("a"), started(0), piece(0, "{\"a\""), piece(0, ":{}}"), started(1), piece(1, "{}"), text("b")];
        for event in events {
            let mut told = Vec::new();
            turns.push(&event, |event| told.push(event.clone()));
            assert_eq!(told, [event]);
        }
    }

    #[test]
    fn pieces_in_turns_are_told_call_by_call() {
        let end = StreamEvent::Finished(Finish::of(FinishReason::ToolCalls));
        let came = [
            started(0),
            started(1),
            piece(0, "{\"a\":"),
            piece(1, "{\"b\":"),
            text("\n"),
            piece(0, "1}"),
            piece(1, "2}"),
            end.clone(),
        ];
        let told = [
            started(0),
            piece(0, "{\"a\":"),
            piece(0, "1}"),
            started(1),
            piece(1, "{\"b\":"),
            piece(1, "2}"),
            text("\n"),
            end,
        ];
        assert_eq!(ordered(&came), told);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_call_is_gone_back_to(draws in proptest::collection::vec((0_u32..4, 0_usize..5), 0..40)) {
            const PIECES: [&str; 5] = ["{", "}", "{}", " ", "\"a\":1"];
            let mut came = Vec::new();
            for (call, draw) in draws {
                if !came.contains(&started(call)) {
                    came.push(started(call));
                }
                came.push(if draw == 3 { text("x") } else { piece(call, PIECES[draw]) });
            }
            came.push(StreamEvent::Finished(Finish::of(FinishReason::ToolCalls)));
            let told = ordered(&came);
            prop_assert_eq!(told.len(), came.len());
            let folded = |events: &[StreamEvent]| {
                let mut answer = Accumulator::new();
                events.iter().for_each(|event| answer.push(event));
                let answer = answer.into_response();
                (answer.text(), answer.tool_calls().cloned().map(|call| (call.id, call.arguments)).collect::<std::collections::BTreeMap<_, _>>())
            };
            prop_assert_eq!(folded(&told), folded(&came));
        }
    }
}
