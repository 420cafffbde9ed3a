//! Events of a streamed response, kept as the job's output.
//!
//! Each event is an item of the output. An event tells all of an item's text once more when the item ends, and an item
//! of an output may not be of any size; so one that is too large is kept in parts, and put together again by readers.

use serde::{Deserialize, Serialize};

/// How large an item is at most, with room for its wrapping.
const PART_BYTES: usize = 24 * 1024;

/// One part of a large event. No event of OpenAI's has this name.
#[derive(Serialize, Deserialize)]
struct Part {
    /// How many parts follow.
    longhaul_event_parts_left: usize,
    /// A piece of the event's JSON text.
    text: String,
}

/// An event as the items that are kept of it, as JSON texts.
pub(super) fn items_of(event: String) -> Vec<String> {
    if event.len() <= PART_BYTES {
        return vec![event];
    }
    let mut pieces = Vec::new();
    let mut rest = event.as_str();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(PART_BYTES));
        pieces.push(piece);
        rest = more;
    }
    let count = pieces.len();
    let part = |(at, text): (usize, &str)| Part { longhaul_event_parts_left: count - 1 - at, text: text.to_owned() };
    pieces.into_iter().enumerate().map(part).filter_map(|part| serde_json::to_string(&part).ok()).collect()
}

/// Puts events together again from kept items.
#[derive(Debug, Default)]
pub struct EventJoiner {
    begun: String,
}

impl EventJoiner {
    /// Takes the next item; gives an event when one is whole. A part that an interrupted attempt left without its rest
    /// is forgotten by the next whole event.
    pub fn take(&mut self, item: &str) -> Option<String> {
        // Parts begin with their name, events with their type.
        if !item.starts_with("{\"longhaul_event_parts_left\"") {
            self.begun.clear();
            return Some(item.to_owned());
        }
        let part: Part = serde_json::from_str(item).ok()?;
        self.begun.push_str(&part.text);
        (part.longhaul_event_parts_left == 0).then(|| std::mem::take(&mut self.begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_event_comes_back_as_it_was() {
        let large = format!("{{\"type\":\"x\",\"text\":\"{}\"}}", "ä\\n".repeat(20_000));
        let small = "{\"type\":\"y\"}".to_owned();
        let items: Vec<String> = [&large, &small].into_iter().flat_map(|event| items_of(event.clone())).collect();
        assert!(items.len() > 3 && items.iter().all(|item| item.len() < 64 * 1024));
        let mut joiner = EventJoiner::default();
        let events: Vec<String> = items.iter().filter_map(|item| joiner.take(item)).collect();
        assert_eq!(events, [large, small]);
    }

    #[test]
    fn parts_without_their_rest_are_forgotten() {
        let mut joiner = EventJoiner::default();
        let items = items_of("z".repeat(60_000));
        assert_eq!(joiner.take(&items[0]), None);
        assert_eq!(joiner.take("{}").as_deref(), Some("{}"));
        let again: Vec<String> = items.iter().filter_map(|item| joiner.take(item)).collect();
        assert_eq!(again, ["z".repeat(60_000)]);
    }
}
