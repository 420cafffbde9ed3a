//! Making an encoder again from the events that it wrote, after a server died.
//!
//! A fold over the committed frames: the number to go on with, the items that are whole, the item that was open. What
//! the frames do not tell (the usage so far) was not committed and is told again by the next attempt.

use serde::Deserialize;

use super::object::{Echo, Status};
use super::stream::{OpenItem, ResponseStreamEncoder, SaidPart, What};
use crate::facade::Stamp;
use crate::json::Json;

/// Kept events that no encoder wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {at} of the kept stream: {why}")]
pub struct RecoverError {
    /// Which.
    pub at: usize,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    sequence_number: u64,
    output_index: u32,
    item: Option<Json>,
    part: Option<Part>,
    delta: String,
    annotation: Option<Json>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    call_id: String,
    name: String,
}

impl ResponseStreamEncoder {
    /// The encoder that wrote these frames, given the data of each in order.
    ///
    /// What was open is open: [`interrupt`](Self::interrupt) it to start over, or push on to continue.
    pub fn recover<'a>(
        stamp: Stamp,
        echo: Echo,
        frames: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, RecoverError> {
        let mut encoder = Self::new(stamp, echo);
        for (at, data) in frames.into_iter().enumerate() {
            let fault = |why: String| RecoverError { at, why };
            let event: Event = serde_json::from_str(data).map_err(|error| fault(error.to_string()))?;
            if event.sequence_number != encoder.sequence {
                return Err(fault(format!("its number is {}, not {}", event.sequence_number, encoder.sequence)));
            }
            encoder.sequence += 1;
            encoder.replay(event).map_err(fault)?;
        }
        Ok(encoder)
    }

    fn replay(&mut self, event: Event) -> Result<(), String> {
        match event.kind.as_str() {
            "response.created" => self.created = true,
            "response.queued" => self.status = Status::Queued,
            "response.in_progress" => (self.begun, self.status) = (true, Status::InProgress),
            "response.output_item.added" => {
                self.next_output = event.output_index + 1;
                self.open = open(event)?;
            }
            "response.content_part.added" => {
                let refusal = event.part.is_some_and(|part| part.kind == "refusal");
                if let Some(OpenItem { what: What::Message(parts), .. }) = &mut self.open {
                    parts.push(SaidPart { refusal, text: String::new(), annotations: Vec::new() });
                }
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                self.open_part()?.text.push_str(&event.delta);
            }
            "response.output_text.annotation.added" => {
                let part = self.open_part()?;
                part.annotations.extend(event.annotation);
            }
            "response.function_call_arguments.delta" => match &mut self.open {
                Some(OpenItem { what: What::Call { arguments, .. }, .. }) => arguments.push_str(&event.delta),
                _ => return Err("arguments without a call".to_owned()),
            },
            "response.reasoning_summary_text.delta" => match &mut self.open {
                Some(OpenItem { what: What::Thought(text), .. }) => {
                    text.get_or_insert_default().push_str(&event.delta);
                }
                _ => return Err("a thought without its item".to_owned()),
            },
            "response.output_item.done" => {
                self.open = None;
                self.items.extend(event.item);
            }
            // Our mark of an interruption.
            "keepalive" => self.items.clear(),
            "response.completed" => (self.ended, self.status) = (true, Status::Completed),
            "response.incomplete" => (self.ended, self.status) = (true, Status::Incomplete),
            "response.failed" => (self.ended, self.status) = (true, Status::Failed),
            // Ends of parts say again what deltas said.
            _ => {}
        }
        Ok(())
    }

    fn open_part(&mut self) -> Result<&mut SaidPart, String> {
        match &mut self.open {
            Some(OpenItem { what: What::Message(parts), .. }) => {
                parts.last_mut().ok_or_else(|| "a delta without its part".to_owned())
            }
            _ => Err("a delta without its message".to_owned()),
        }
    }
}

/// The item that an event opens; `None` for one that is whole from the start.
fn open(event: Event) -> Result<Option<OpenItem>, String> {
    let item: Item = match &event.item {
        Some(item) => item.read().map_err(|error| error.to_string())?,
        None => return Err("an item's start without the item".to_owned()),
    };
    let what = match item.kind.as_str() {
        "message" => What::Message(Vec::new()),
        // Which of the provider's calls it was is not told; the provider is gone too.
        "function_call" => What::Call { call: None, call_id: item.call_id, name: item.name, arguments: String::new() },
        "reasoning" => What::Thought(None),
        _ => return Ok(None),
    };
    Ok(Some(OpenItem { output_index: event.output_index, id: item.id, what }))
}
