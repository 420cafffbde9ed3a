//! An extractive summary by TextRank (Mihalcea and Tarau, 2004).
//!
//! Sentences are the nodes of a graph, the words they share (over the logarithms of their lengths) its weights, and the
//! rank of a sentence is what a walk over the graph gives it. The best are returned in their original order, word for
//! word; nothing is written anew.
//!
//! The graph is quadratic, so at most [`MAX_CANDIDATES`] sentences enter it. Of a longer text, that many equal stretches
//! are each represented by their sentence with the most frequent words, so the whole text has its say and the time stays
//! linear in its length.

use std::collections::{HashMap, HashSet};

use unicode_segmentation::UnicodeSegmentation;

use super::sentences::{self, Sentence};
use super::{language, stopwords, words};

/// Sentences that are compared with each other.
const MAX_CANDIDATES: usize = 400;
const DAMPING: f64 = 0.85;
const MAX_ROUNDS: usize = 60;
const CONVERGED: f64 = 1e-5;
/// Two sentences that share this part of their words say the same.
const SAME: f64 = 0.6;
/// Fewer content words than this make no sentence worth quoting.
const MIN_WORDS: usize = 3;

/// How long a summary may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SummaryLength {
    /// Sentences at most. Default 4.
    pub max_sentences: usize,
    /// Unicode scalar values at most. Default 800. One sentence is always given, cut at a word if it must be.
    pub max_chars: usize,
}

impl Default for SummaryLength {
    fn default() -> Self {
        Self { max_sentences: 4, max_chars: 800 }
    }
}

struct Candidate<'a> {
    sentence: Sentence<'a>,
    /// Content words, numbered, sorted, each once.
    words: Vec<u32>,
}

pub(super) fn summary(text: &str, length: SummaryLength) -> String {
    let all = sentences::split(text);
    if all.len() <= length.max_sentences && text.trim().chars().count() <= length.max_chars {
        return join(all.iter().map(|sentence| sentence.text));
    }
    let candidates = candidates(text, all);
    let ranks = rank(&candidates);
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| ranks[b].total_cmp(&ranks[a]).then(a.cmp(&b)));
    let mut chosen = choose(&candidates, &order, length);
    chosen.sort_unstable();
    if chosen.is_empty() {
        let first = order.first().map_or(text, |&best| candidates[best].sentence.text);
        return shorten(&join([first]), length.max_chars);
    }
    join(chosen.iter().map(|&index| candidates[index].sentence.text))
}

/// The sentences that enter the graph, in order.
fn candidates<'a>(text: &str, all: Vec<Sentence<'a>>) -> Vec<Candidate<'a>> {
    let stop = language::reliable(text).and_then(stopwords::of).unwrap_or_else(stopwords::english);
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut counts: Vec<u32> = Vec::new();
    let mut read: Vec<Candidate<'a>> = Vec::with_capacity(all.len());
    for sentence in all {
        let mut list = Vec::new();
        for term in words::terms(sentence.text) {
            if stop.contains(term.as_str()) {
                continue;
            }
            let next = counts.len() as u32;
            let number = *numbers.entry(term).or_insert(next);
            if number == next {
                counts.push(0);
            }
            counts[number as usize] += 1;
            list.push(number);
        }
        list.sort_unstable();
        list.dedup();
        read.push(Candidate { sentence, words: list });
    }
    let worthy = |candidate: &Candidate| !candidate.sentence.fragment && candidate.words.len() >= MIN_WORDS;
    if read.iter().any(worthy) {
        read.retain(worthy);
    }
    thin(read, &counts)
}

/// Leaves one sentence of each of `MAX_CANDIDATES` equal stretches: the one whose words are the most frequent.
fn thin<'a>(mut read: Vec<Candidate<'a>>, counts: &[u32]) -> Vec<Candidate<'a>> {
    let total = read.len();
    if total <= MAX_CANDIDATES {
        return read;
    }
    let weight = |candidate: &Candidate| {
        let sum: u64 = candidate.words.iter().map(|&word| u64::from(counts[word as usize])).sum();
        sum as f64 / (candidate.words.len() as f64 + 5.0)
    };
    let mut keep = HashSet::with_capacity(MAX_CANDIDATES);
    for stretch in 0..MAX_CANDIDATES {
        let (from, to) = (stretch * total / MAX_CANDIDATES, (stretch + 1) * total / MAX_CANDIDATES);
        let best = (from..to).max_by(|&a, &b| weight(&read[a]).total_cmp(&weight(&read[b])).then(b.cmp(&a)));
        keep.extend(best);
    }
    let mut index = 0;
    read.retain(|_| {
        index += 1;
        keep.contains(&(index - 1))
    });
    read
}

/// The rank of each candidate: power iteration over the weighted graph.
fn rank(candidates: &[Candidate]) -> Vec<f64> {
    let count = candidates.len();
    let mut edges: Vec<Vec<(usize, f64)>> = vec![Vec::new(); count];
    for a in 0..count {
        for b in a + 1..count {
            let weight = similarity(&candidates[a].words, &candidates[b].words);
            if weight > 0.0 {
                edges[a].push((b, weight));
                edges[b].push((a, weight));
            }
        }
    }
    let out: Vec<f64> = edges.iter().map(|list| list.iter().map(|(_, weight)| weight).sum()).collect();
    let mut ranks = vec![1.0; count];
    for _ in 0..MAX_ROUNDS {
        let next: Vec<f64> = edges
            .iter()
            .map(|list| {
                let flow: f64 = list.iter().map(|&(from, weight)| weight / out[from] * ranks[from]).sum();
                (1.0 - DAMPING) + DAMPING * flow
            })
            .collect();
        let moved: f64 = ranks.iter().zip(&next).map(|(a, b)| (a - b).abs()).sum();
        ranks = next;
        if moved < CONVERGED * count as f64 {
            break;
        }
    }
    ranks
}

/// Shared words over the logarithms of both lengths, as in the paper; 1 is added so that short ones do not divide by 0.
fn similarity(a: &[u32], b: &[u32]) -> f64 {
    let shared = shared(a, b);
    if shared == 0 {
        return 0.0;
    }
    shared as f64 / ((a.len() as f64 + 1.0).ln() + (b.len() as f64 + 1.0).ln())
}

fn shared(a: &[u32], b: &[u32]) -> usize {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                shared += 1;
                i += 1;
                j += 1;
            }
        }
    }
    shared
}

/// The best candidates that fit into the length and do not repeat each other.
fn choose(candidates: &[Candidate], order: &[usize], length: SummaryLength) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut left = length.max_chars;
    for &index in order {
        if chosen.len() == length.max_sentences {
            break;
        }
        let candidate = &candidates[index];
        let repeats = chosen.iter().any(|&other| {
            let other = &candidates[other].words;
            let shorter = other.len().min(candidate.words.len());
            shorter > 0 && shared(other, &candidate.words) as f64 / shorter as f64 >= SAME
        });
        let cost = candidate.sentence.text.chars().count() + 1;
        if repeats || cost > left + 1 {
            continue;
        }
        left = left.saturating_sub(cost);
        chosen.push(index);
    }
    chosen
}

/// Sentences one after the other, each with its white space and line breaks reduced to single spaces.
fn join<'a>(sentences: impl IntoIterator<Item = &'a str>) -> String {
    let mut joined = String::new();
    for word in sentences.into_iter().flat_map(str::split_whitespace) {
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    joined
}

/// Cuts at a word, or within one if it must be, and says so by an ellipsis.
fn shorten(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let room = max_chars.saturating_sub(1);
    let mut kept = 0;
    let mut used = 0;
    for (at, word) in text.split_word_bound_indices() {
        used += word.chars().count();
        if used > room {
            break;
        }
        kept = at + word.len();
    }
    if kept == 0 {
        kept = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
    }
    format!("{}…", text[..kept].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIGHTHOUSE: &str = "The lighthouse stands on a rock three miles from the coast. \
        Its lamp was lit by oil for eighty years. \
        My aunt prefers tea. \
        The keeper of the lighthouse climbed the tower each evening to light the oil lamp. \
        When electricity reached the rock, the lamp no longer needed a keeper. \
        Ships along the coast still steer by the lamp of the lighthouse. \
        The last keeper left the rock in winter. \
        Bread was cheap that year.";

    #[test]
    fn the_summary_quotes_central_sentences_in_their_order() {
        let two = summary(LIGHTHOUSE, SummaryLength { max_sentences: 2, max_chars: 800 });
        assert!(two.contains("keeper of the lighthouse climbed"), "{two}");
        assert!(!two.contains("aunt") && !two.contains("Bread"), "{two}");
        for max_sentences in 2..7 {
            let found = summary(LIGHTHOUSE, SummaryLength { max_sentences, max_chars: 800 });
            let places: Vec<_> = sentences::split(&found).iter().map(|s| LIGHTHOUSE.find(s.text)).collect();
            assert_eq!(places.len(), max_sentences);
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
        }
    }

    #[test]
    fn a_short_text_is_its_own_summary() {
        assert_eq!(summary("One  sentence\nonly.", SummaryLength::default()), "One sentence only.");
    }

    #[test]
    fn a_summary_never_exceeds_its_length() {
        let texts = [LIGHTHOUSE.to_owned(), "word ".repeat(900), "字".repeat(3_000), "x".repeat(9_000)];
        for text in texts {
            for max_chars in [1, 2, 20, 150] {
                let found = summary(&text, SummaryLength { max_sentences: 3, max_chars });
                assert!(!found.is_empty());
                assert!(found.chars().count() <= max_chars, "{max_chars}: {found}");
            }
        }
    }

    #[test]
    fn a_sentence_is_not_said_twice() {
        let text = format!("{LIGHTHOUSE} {LIGHTHOUSE}");
        let found = summary(&text, SummaryLength::default());
        let parts = sentences::split(&found);
        let distinct: HashSet<_> = parts.iter().map(|s| s.text).collect();
        assert_eq!(parts.len(), distinct.len(), "{found}");
    }

    #[test]
    fn headings_are_not_quoted_where_there_are_sentences() {
        let text = format!("The Lighthouse Lamp Keeper Rock\n\n{LIGHTHOUSE}");
        assert!(!summary(&text, SummaryLength::default()).contains("Lamp Keeper Rock"));
    }

    #[test]
    fn the_end_of_a_long_text_can_be_quoted() {
        let filler: String = (0..2_000).map(|n| format!("Line number {n} says a{n} b{n} c{n}. ")).collect();
        let length = SummaryLength { max_sentences: 6, max_chars: 2_000 };
        let found = summary(&format!("{filler}\n\n{LIGHTHOUSE}"), length);
        assert!(!found.is_empty() && found.chars().count() <= 2_000);
    }
}
