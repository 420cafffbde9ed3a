//! Full-text ranking by Okapi BM25 (Robertson and Zaragoza, 2009), held in memory.
//!
//! Built once from a set of texts, then asked any number of times. A text is known by its place in the order in which it
//! was added. The index owns no text, only its terms and counts: about as much memory as the texts themselves.

use std::collections::{BTreeMap, HashMap};

use super::{round4, words};

/// How fast repeated terms stop counting.
const K1: f64 = 1.2;
/// How much long texts are held back.
const B: f64 = 0.75;
/// Terms of a query that are looked at.
const MAX_QUERY_TERMS: usize = 64;

/// Takes in texts one by one.
#[derive(Debug, Clone, Default)]
pub struct Bm25Builder {
    postings: HashMap<String, Vec<(u32, u32)>>,
    lengths: Vec<u32>,
}

impl Bm25Builder {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text; its number is how many were added before.
    pub fn add(&mut self, text: &str) {
        let number = self.lengths.len() as u32;
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        let terms = words::terms(text);
        self.lengths.push(terms.len() as u32);
        for term in terms {
            *counts.entry(term).or_default() += 1;
        }
        for (term, count) in counts {
            self.postings.entry(term).or_default().push((number, count));
        }
    }

    /// The finished index.
    pub fn build(self) -> Bm25 {
        let total: u64 = self.lengths.iter().map(|&length| u64::from(length)).sum();
        let mean_length = (total as f64 / self.lengths.len().max(1) as f64).max(1.0);
        Bm25 { postings: self.postings, lengths: self.lengths, mean_length }
    }
}

/// An index of texts for ranked search.
///
/// ```
/// use longhaul_providers::local::Bm25;
/// let index = Bm25::of(["the tide turns", "a ship at anchor"]);
/// assert_eq!(index.search("ships", 10)[0].text, 1);
/// ```
#[derive(Debug, Clone)]
pub struct Bm25 {
    postings: HashMap<String, Vec<(u32, u32)>>,
    lengths: Vec<u32>,
    mean_length: f64,
}

/// A text that has terms of the query in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The number of the text: how many were added before it.
    pub text: usize,
    /// How well it fits; above 0, comparable within one answer only.
    pub score: f64,
}

impl Bm25 {
    /// An index of these texts.
    pub fn of<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut builder = Bm25Builder::new();
        for text in texts {
            builder.add(text.as_ref());
        }
        builder.build()
    }

    /// How many texts are in the index.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// True if no text is in the index.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// At most `limit` texts with a term of the query, best first; equals in the order in which they were added.
    ///
    /// Terms are compared without case, accents and English plural. The first 64 distinct terms count.
    pub fn search(&self, query: &str, limit: usize) -> Vec<Hit> {
        let mut asked = Vec::new();
        for term in words::terms(query) {
            if !asked.contains(&term) {
                asked.push(term);
            }
            if asked.len() == MAX_QUERY_TERMS {
                break;
            }
        }
        let mut scores: BTreeMap<u32, f64> = BTreeMap::new();
        for term in &asked {
            let Some(postings) = self.postings.get(term) else { continue };
            let weight = self.rarity(postings.len());
            for &(text, count) in postings {
                let length = f64::from(self.lengths[text as usize]) / self.mean_length;
                let count = f64::from(count);
                let part = count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
                *scores.entry(text).or_default() += weight * part;
            }
        }
        let mut hits: Vec<Hit> =
            scores.into_iter().map(|(text, score)| Hit { text: text as usize, score: round4(score) }).collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.text.cmp(&b.text)));
        hits.truncate(limit);
        hits
    }

    /// Inverse document frequency, in the form that never turns negative.
    fn rarity(&self, found_in: usize) -> f64 {
        let (total, found) = (self.lengths.len() as f64, found_in as f64);
        ((total - found + 0.5) / (found + 0.5) + 1.0).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = [
        "The ferry crosses the bay every hour.",
        "Café prices rose; the café by the ferry closed.",
        "A heron stands in the shallow water of the bay.",
        "潮の満ち引きは月の動きによる。",
    ];

    fn found(query: &str) -> Vec<usize> {
        Bm25::of(TEXTS).search(query, 10).into_iter().map(|hit| hit.text).collect()
    }

    #[test]
    fn rare_terms_weigh_more_than_common_ones() {
        assert_eq!(found("heron bay"), [2, 0]);
        assert_eq!(found("ferries"), Vec::<usize>::new());
        assert_eq!(found("FERRYS café"), [1, 0]);
    }

    #[test]
    fn accents_and_case_do_not_matter() {
        assert_eq!(found("cafe"), [1]);
    }

    #[test]
    fn scripts_without_spaces_are_searched() {
        assert_eq!(found("満ち引き")[0], 3);
    }

    #[test]
    fn scores_follow_the_formula() {
        // Two texts of two terms; "tide" in one: idf = ln(1.5/1.5 + 1), tf part = 2.2/2.2.
        let hits = Bm25::of(["tide turns", "ship sails"]).search("tide", 10);
        assert_eq!(hits, [Hit { text: 0, score: round4(2.0_f64.ln()) }]);
    }

    #[test]
    fn an_empty_index_and_an_empty_query_find_nothing() {
        assert!(Bm25::of(Vec::<&str>::new()).search("tide", 10).is_empty());
        assert!(found("").is_empty());
        assert_eq!(Bm25::of(TEXTS).search("the", 1).len(), 1);
    }
}
