//! What makes two questions the same.
//!
//! A key is a SHA-256 over the tenant, the model, the task with its parameters, and the text in a normal form. The rule
//! of the normal form is that it may not change an answer:
//!
//! | task | white space | case |
//! |---|---|---|
//! | `language`, `sentiment`, `keywords` | folded | folded: these look at words and give no case back |
//! | `summary`, `classify`, `embed` | folded | kept: an answer may quote the text, and *Polish* is not *polish* |
//! | `chat`, `extract` | kept but at the ends | kept: indentation and case are part of code and tables |
//! | `entities` | kept | kept: capitals mark names, and an answer counts characters from the start |
//!
//! Folding white space makes one space of a run within a line, and keeps the ends of lines and the empty lines between
//! paragraphs, for they part headings and lists from sentences. Punctuation is always kept: it ends sentences.

use longhaul_core::Tenant;
use longhaul_gateway::Analysis;
use sha2::{Digest as _, Sha256};

use super::Task;

/// Names a question of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(tenant: &Tenant, model: &str, task: &Task) -> Self {
        let mut hash = Fields(Sha256::new());
        hash.add(tenant);
        hash.add(model);
        hash.add(task.operation().name());
        match task {
            Task::Chat(request) => hash.add(&serde_json::to_string(&**request).unwrap_or_default()),
            Task::Embed(texts) => texts.iter().for_each(|text| hash.add(&spaced(text))),
            Task::Analyse(text, analysis) => {
                match analysis {
                    Analysis::Language | Analysis::Sentiment | Analysis::Keywords => {
                        hash.add(&spaced(text).to_lowercase());
                    }
                    Analysis::Summary | Analysis::Classify { .. } => hash.add(&spaced(text)),
                    Analysis::Extract { .. } => hash.add(text.trim()),
                    Analysis::Entities => hash.add(text),
                }
                match analysis {
                    Analysis::Classify { labels } => labels.iter().for_each(|label| hash.add(label)),
                    Analysis::Extract { schema } => hash.add(&schema.to_string()),
                    Analysis::Summary
                    | Analysis::Keywords
                    | Analysis::Sentiment
                    | Analysis::Entities
                    | Analysis::Language => {}
                }
            }
        }
        Self(hash.0.finalize().into())
    }
}

/// Each field is preceded by its length, so that no two lists of fields give the same bytes.
struct Fields(Sha256);

impl Fields {
    fn add(&mut self, field: &str) {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field.as_bytes());
    }
}

/// The text with its white space folded.
fn spaced(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let (mut gap, mut ends) = (false, 0_u8);
    for c in text.trim().chars() {
        if c == '\n' {
            ends = ends.saturating_add(1);
        } else if c.is_whitespace() {
            gap = true;
        } else {
            match (ends, gap) {
                (0, false) => {}
                (0, true) => folded.push(' '),
                (1, _) => folded.push('\n'),
                (_, _) => folded.push_str("\n\n"),
            }
            (gap, ends) = (false, 0);
            folded.push(c);
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn key(text: &str, analysis: Analysis) -> Key {
        Key::of(&Tenant::default_tenant(), "local", &Task::Analyse(text.into(), analysis))
    }

    #[test]
    fn spacing_does_not_matter_where_it_has_no_meaning() {
        let text = "What  a\tlovely \r\n morning. ";
        for analysis in [Analysis::Summary, Analysis::Sentiment, Analysis::Language] {
            assert_eq!(key(text, analysis.clone()), key("What a lovely\nmorning.", analysis));
        }
        assert_ne!(key(text, Analysis::Entities), key("What a lovely\nmorning.", Analysis::Entities));
        assert_ne!(key("Title\n\ntext", Analysis::Summary), key("Title text", Analysis::Summary), "a paragraph ends");
    }

    #[test]
    fn case_does_not_matter_only_where_no_answer_can_show_it() {
        for analysis in [Analysis::Language, Analysis::Sentiment, Analysis::Keywords] {
            assert_eq!(key("POLISH Goods", analysis.clone()), key("polish goods", analysis));
        }
        let classify = || Analysis::Classify { labels: vec!["a".into()] };
        for analysis in [Analysis::Summary, Analysis::Entities, classify()] {
            assert_ne!(key("Polish goods", analysis.clone()), key("polish goods", analysis));
        }
    }

    #[test]
    fn tenant_model_task_and_parameters_make_another_question() {
        let tenant = |name: &str| Tenant::new(name).unwrap();
        let task = |labels: &[&str]| {
            let labels = labels.iter().map(|&label| label.to_owned()).collect();
            Task::Analyse("text".into(), Analysis::Classify { labels })
        };
        let keys = [
            Key::of(&tenant("a"), "m", &task(&["x", "y"])),
            Key::of(&tenant("b"), "m", &task(&["x", "y"])),
            Key::of(&tenant("a"), "n", &task(&["x", "y"])),
            Key::of(&tenant("a"), "m", &task(&["y", "x"])),
            Key::of(&tenant("a"), "m", &task(&["xy"])),
            Key::of(&tenant("a"), "m", &Task::Analyse("text".into(), Analysis::Summary)),
            Key::of(&tenant("a"), "m", &Task::Embed(Arc::new(["text".to_owned()]))),
            Key::of(&tenant("a"), "m", &Task::Embed(Arc::new(["te".to_owned(), "xt".to_owned()]))),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{index}");
        }
    }

    proptest! {
        #[test]
        fn a_folded_text_stays_as_it_is_and_keeps_every_word(text in "[ab .\\n\\t]{0,40}") {
            let folded = spaced(&text);
            prop_assert_eq!(spaced(&folded), folded.clone());
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(words(&text), words(&folded));
        }
    }
}
