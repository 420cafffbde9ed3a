//! The beginning of an answer, told once more by a provider that was asked for the rest.

use longhaul_providers::chat::StreamEvent;

/// Takes a known beginning out of a stream.
///
/// What may be the beginning is held back until it is certain; if the stream goes another way, it was not the beginning
/// and is told after all.
#[derive(Debug)]
pub(super) struct Echo {
    beginning: String,
    /// How much of it has come, in bytes.
    come: usize,
    over: bool,
}

impl Echo {
    pub(super) fn of(beginning: &str) -> Self {
        Self { beginning: beginning.to_owned(), come: 0, over: beginning.is_empty() }
    }

    pub(super) fn take_out(&mut self, events: &mut Vec<StreamEvent>) {
        if self.over {
            return;
        }
        let mut told = Vec::with_capacity(events.len());
        for mut event in events.drain(..) {
            if let StreamEvent::TextDelta { text } = &mut event {
                self.shorten(text);
                if text.is_empty() {
                    continue;
                }
            } else if !self.over && (event.is_content() || event.is_end()) {
                // It ends, or turns to something else, within what was held back: that was no echo.
                self.over = true;
                let text = self.beginning[..self.come].to_owned();
                if !text.is_empty() {
                    told.push(StreamEvent::TextDelta { text });
                }
            }
            told.push(event);
        }
        *events = told;
    }

    fn shorten(&mut self, text: &mut String) {
        if self.over {
            return;
        }
        let missing = &self.beginning[self.come..];
        if let Some(rest) = text.strip_prefix(missing) {
            self.over = true;
            *text = rest.to_owned();
        } else if missing.starts_with(text.as_str()) {
            self.come += text.len();
            text.clear();
        } else {
            self.over = true;
            text.insert_str(0, &self.beginning[..self.come]);
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_providers::chat::{Accumulator, Finish, FinishReason};

    use super::*;

    fn told(beginning: &str, pieces: &[&str]) -> String {
        let mut echo = Echo::of(beginning);
        let mut answer = Accumulator::new();
        let text = |piece: &&str| StreamEvent::TextDelta { text: (*piece).to_owned() };
        let end = StreamEvent::Finished(Finish::of(FinishReason::Stop));
        for event in pieces.iter().map(text).chain([end]) {
            let mut events = vec![event];
            echo.take_out(&mut events);
            events.iter().for_each(|event| answer.push(event));
        }
        assert!(answer.is_finished());
        answer.into_response().text()
    }

    #[test]
    fn a_beginning_that_comes_again_is_left_out_however_it_is_cut() {
        for pieces in [&["Hello"][..], &["Hel", "lo"], &["H", "e", "llo"], &["He", "llo"]] {
            assert_eq!(told("Hel", pieces), "lo", "{pieces:?}");
        }
    }

    #[test]
    fn what_only_looks_like_the_beginning_is_told() {
        assert_eq!(told("Hel", &["H", "a", "!"]), "Ha!");
        assert_eq!(told("Hel", &["He"]), "He", "the end came first");
        assert_eq!(told("", &["He"]), "He");
        assert_eq!(told("Hel", &["Hel", "Hel", "lo"]), "Hello", "once");
    }
}
