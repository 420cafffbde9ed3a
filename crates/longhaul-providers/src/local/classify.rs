//! Sorting a text among labels by the words they share: no training, so it is only as good as the labels' wording.
//!
//! A label's score mixes two kinds of evidence: how many of its words stand in the text, whole or as the beginning of a
//! word, and the cosine of the two [embeddings](super::embed). Each label is judged by itself; scores are no
//! probabilities and need not add up to 1.

use std::collections::{BTreeSet, HashSet};

use super::{Limits, LocalError, embed, round4, stopwords, words};
use crate::analysis::{Classification, LabelScore};

const OVERLAP_WEIGHT: f64 = 0.7;
/// A score below this is chance: hashed letters of any two texts coincide a little.
const EVIDENCE: f64 = 0.1;
/// Words that share this many letters at their beginning are taken for forms of one word.
const PREFIX_CHARS: usize = 5;

pub(super) fn check_labels<T: AsRef<str>>(labels: &[T], limits: &Limits) -> Result<(), LocalError> {
    let refuse = |problem: String| Err(LocalError::Labels { problem });
    if labels.is_empty() {
        return refuse("no labels were given to sort the text among".to_owned());
    }
    if labels.len() > limits.max_labels {
        return refuse(format!("{} labels were given; at most {} are taken", labels.len(), limits.max_labels));
    }
    let mut seen = HashSet::new();
    for (index, label) in labels.iter().enumerate() {
        let label = label.as_ref();
        if label.trim().is_empty() {
            return refuse(format!("label {index} is empty"));
        }
        if label.chars().count() > limits.max_label_chars {
            return refuse(format!("label {index} has more than {} characters", limits.max_label_chars));
        }
        if !seen.insert(label) {
            return refuse(format!("label {index} (`{label}`) was given before"));
        }
    }
    Ok(())
}

pub(super) fn classify<T: AsRef<str>>(text: &str, labels: &[T], dimensions: usize) -> Classification {
    let words: BTreeSet<String> = words::terms(text).into_iter().collect();
    let vector = embed::embed(text, dimensions);
    let mut scores: Vec<LabelScore> = labels
        .iter()
        .map(|label| {
            let label = label.as_ref();
            let near = embed::cosine(&vector, &embed::embed(label, dimensions)).max(0.0);
            let score = OVERLAP_WEIGHT * overlap(&words, label) + (1.0 - OVERLAP_WEIGHT) * near.sqrt();
            LabelScore { label: label.to_owned(), score: round4(score.clamp(0.0, 1.0)) }
        })
        .collect();
    // Stable: equals stay in the order in which the caller named them.
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
    let best = scores.first().filter(|best| best.score >= EVIDENCE);
    let second = scores.get(1).map_or(0.0, |second| second.score);
    let label = best.map(|best| best.label.clone());
    let confidence = best.map_or(0.0, |best| round4((best.score - second) / best.score));
    Classification { label, confidence, scores }
}

/// How much of a label stands in the text, from 0 to 1. One of several words already counts for much: a label that
/// lists its synonyms must not lose by it.
fn overlap(words: &BTreeSet<String>, label: &str) -> f64 {
    let stop = stopwords::english();
    let mut wanted = words::terms(label);
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.iter().any(|word| !stop.contains(word.as_str())) {
        wanted.retain(|word| !stop.contains(word.as_str()));
    }
    let hits: f64 = wanted.iter().map(|word| if words.contains(word) { 1.0 } else { form_of(words, word) }).sum();
    1.0 - 0.4_f64.powf(hits)
}

/// 0.8 if a word of the text begins as this one does.
fn form_of(words: &BTreeSet<String>, word: &str) -> f64 {
    let Some((end, _)) = word.char_indices().nth(PREFIX_CHARS) else { return 0.0 };
    let prefix = &word[..end];
    let next = words.range(prefix.to_owned()..).next();
    if next.is_some_and(|found| found.starts_with(prefix)) { 0.8 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(text: &str, labels: &[&str]) -> Option<String> {
        classify(text, labels, 512).label
    }

    #[test]
    fn the_label_whose_words_stand_in_the_text_wins() {
        let labels = ["billing", "shipping", "password"];
        assert_eq!(best("I forgot my password again.", &labels).as_deref(), Some("password"));
        assert_eq!(
            best("You billed me twice for shipping one parcel by ship; the shipping cost is wrong.", &labels)
                .as_deref(),
            Some("shipping")
        );
    }

    #[test]
    fn a_label_may_list_what_it_stands_for() {
        let labels = ["billing: invoice, charge, refund", "delivery: parcel, courier, late"];
        assert_eq!(best("Please refund the second charge.", &labels).as_deref(), Some(labels[0]));
        assert_eq!(best("The courier lost my parcel.", &labels).as_deref(), Some(labels[1]));
    }

    #[test]
    fn a_text_without_evidence_gets_no_label() {
        let found = classify("Zebras graze at dusk.", &["billing", "shipping"], 512);
        assert_eq!((found.label, found.confidence), (None, 0.0), "{:?}", found.scores);
    }

    #[test]
    fn confidence_is_the_lead_over_the_next_label() {
        let clear = classify("A refund, please.", &["refund", "weather"], 512);
        let tied = classify("A refund and the weather.", &["refund", "weather"], 512);
        assert!(clear.confidence > 0.6 && tied.confidence < 0.2, "{} {}", clear.confidence, tied.confidence);
    }

    #[test]
    fn bad_labels_are_named() {
        let limits = Limits::default();
        for (labels, said) in
            [(vec![], "no labels"), (vec!["a", " "], "label 1 is empty"), (vec!["a", "a"], "label 1 (`a`)")]
        {
            let error = check_labels(&labels, &limits).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!(error.code(), "invalid_labels");
        }
        assert!(check_labels(&vec!["x"; 300], &limits).is_err());
    }
}
