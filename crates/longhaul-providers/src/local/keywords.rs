//! Keywords by RAKE (Rose, Engel, Cramer and Cowley, 2010).
//!
//! Candidates are the runs of words between stop words and punctuation. A word scores its degree (how many words stand
//! in its candidates, itself included) over its frequency; a candidate scores the sum of its words.
//!
//! RAKE alone favours long runs that occur once. Two bounds hold that down: a candidate has at most four words, and in
//! longer texts one of three words or more must occur twice. Stop words come from the list of the detected language;
//! for a language without a list, the shortest frequent words of the text itself serve. Scripts without spaces are read
//! by letters: grammar letters of Chinese and the kana of Japanese part the candidates.

use std::collections::{HashMap, HashSet};

use super::words::{self, is_unspaced};
use super::{language, round4, stopwords};
use crate::analysis::Keyword;

/// Keywords of an answer.
const MAX_KEYWORDS: usize = 10;
const MAX_WORDS: usize = 4;
/// Letters of a candidate in a script without spaces.
const MAX_LETTERS: usize = 8;
/// From so many words on, a long candidate must occur twice.
const LONG_TEXT_WORDS: usize = 300;

/// Letters of Chinese that carry grammar.
const CHINESE_GRAMMAR: &str =
    "的了是在和与或有我你他她它们这那不就也都而及到说要去会着没看好自己一个为以于上下中之对从把被让给向";

struct Candidate {
    words: Vec<String>,
    count: usize,
    first: usize,
    unspaced: bool,
}

pub(super) fn keywords(text: &str) -> Vec<Keyword> {
    let (runs, total) = runs(text);
    let mut frequency: HashMap<&str, usize> = HashMap::new();
    let mut degree: HashMap<&str, usize> = HashMap::new();
    let mut candidates: HashMap<&[String], Candidate> = HashMap::new();
    for (place, (unspaced, run)) in runs.iter().enumerate() {
        for word in run {
            *frequency.entry(word).or_default() += 1;
            *degree.entry(word).or_default() += run.len();
        }
        candidates
            .entry(run.as_slice())
            .or_insert_with(|| Candidate { words: run.clone(), count: 0, first: place, unspaced: *unspaced })
            .count += 1;
    }
    let long = total >= LONG_TEXT_WORDS;
    let mut scored: Vec<(f64, Candidate)> = candidates
        .into_values()
        .filter(|candidate| !(long && candidate.words.len() >= 3 && candidate.count < 2))
        .map(|candidate| {
            let words = candidate.words.iter().map(String::as_str);
            let score = words.map(|word| degree[word] as f64 / frequency[word] as f64).sum();
            (score, candidate)
        })
        .collect();
    scored.sort_by(|(a, left), (b, right)| {
        b.total_cmp(a).then(right.count.cmp(&left.count)).then(left.first.cmp(&right.first))
    });
    scored.truncate(MAX_KEYWORDS);
    scored
        .into_iter()
        .map(|(score, candidate)| {
            let separator = if candidate.unspaced { "" } else { " " };
            Keyword { term: candidate.words.join(separator), score: round4(score) }
        })
        .collect()
}

/// The runs of words between what parts them, in order, and the number of words read.
fn runs(text: &str) -> (Vec<(bool, Vec<String>)>, usize) {
    let found = language::reliable(text).or_else(|| Some("en").filter(|_| text.is_ascii()));
    let list = found.and_then(stopwords::of);
    let frequent = if list.is_none() { frequent_short_words(text) } else { HashSet::new() };
    let stops = |word: &str| {
        let listed = list.is_some_and(|words| words.contains(word));
        listed || frequent.contains(word) || !word.chars().any(char::is_alphabetic)
    };
    let mut collector = Collector::default();
    let mut end = 0;
    for (at, raw) in words::with_offsets(text) {
        if text[end..at].chars().any(parts) {
            collector.close();
        }
        end = at + raw.len();
        collector.total += 1;
        let word = words::lower(raw);
        let unspaced = word.chars().all(is_unspaced);
        if unspaced != collector.unspaced {
            collector.close();
            collector.unspaced = unspaced;
        }
        let stop = if unspaced { unspaced_grammar(&word) } else { stops(&word) };
        if stop { collector.close() } else { collector.current.push(word) }
    }
    collector.close();
    (collector.runs, collector.total)
}

#[derive(Default)]
struct Collector {
    current: Vec<String>,
    unspaced: bool,
    runs: Vec<(bool, Vec<String>)>,
    total: usize,
}

impl Collector {
    /// Ends the current run; one that is too long or too slight is no candidate.
    fn close(&mut self) {
        let run = std::mem::take(&mut self.current);
        let letters: usize = run.iter().map(|word| word.chars().count()).sum();
        let fits = if self.unspaced { letters <= MAX_LETTERS } else { run.len() <= MAX_WORDS };
        if fits && letters >= 2 {
            self.runs.push((self.unspaced, run));
        }
    }
}

/// What parts candidates. Hyphens, apostrophes and single line breaks do not.
fn parts(c: char) -> bool {
    !(c.is_whitespace() || matches!(c, '-' | '\'' | '’' | '_' | '/' | '\u{ad}'))
}

fn unspaced_grammar(word: &str) -> bool {
    let hiragana = |c: char| matches!(u32::from(c), 0x3040..=0x309F);
    word.chars().all(hiragana) || CHINESE_GRAMMAR.contains(word)
}

/// Stand-in for a list of stop words: the most frequent words of up to four letters.
fn frequent_short_words(text: &str) -> HashSet<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (_, word) in words::with_offsets(text) {
        if word.chars().count() <= 4 {
            *counts.entry(words::lower(word)).or_default() += 1;
        }
    }
    let mut order: Vec<(String, usize)> = counts.into_iter().filter(|(_, count)| *count > 1).collect();
    order.sort_by(|(a, left), (b, right)| right.cmp(left).then(a.cmp(b)));
    order.into_iter().take(60).map(|(word, _)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<String> {
        keywords(text).into_iter().map(|keyword| keyword.term).collect()
    }

    #[test]
    fn terms_that_stand_together_come_first() {
        let found = terms(
            "Tide tables predict the height of the tide. A harbour master reads tide tables daily, \
             and the harbour master warns ships about low water.",
        );
        assert!(found.iter().any(|term| term.starts_with("tide tables")), "{found:?}");
        assert!(found.iter().any(|term| term.starts_with("harbour master")), "{found:?}");
        assert!(!found.iter().any(|term| term == "the" || term == "of"), "{found:?}");
    }

    #[test]
    fn scores_are_degree_over_frequency() {
        // "deep sea" twice and "sea" alone: deep = 4/2, sea = 5/3.
        let found = keywords("the deep sea, the sea, the deep sea");
        assert_eq!(found[0], Keyword { term: "deep sea".to_owned(), score: 3.6667 });
        assert_eq!(found[1], Keyword { term: "sea".to_owned(), score: 1.6667 });
    }

    #[test]
    fn stop_words_of_other_languages_part_candidates() {
        let german = terms("Der Leuchtturm steht auf einem Felsen, und das Licht des Leuchtturms ist weit zu sehen.");
        assert!(german.contains(&"felsen".to_owned()) && german.contains(&"licht".to_owned()), "{german:?}");
        let french = terms("Le phare se dresse sur un rocher, et la lumière du phare est visible de très loin en mer.");
        assert!(french.contains(&"rocher".to_owned()), "{french:?}");
        let spanish =
            terms("El faro se alza sobre una roca y la luz del faro se ve desde muy lejos en el mar abierto.");
        assert!(spanish.contains(&"roca".to_owned()) && spanish.contains(&"mar abierto".to_owned()), "{spanish:?}");
    }

    #[test]
    fn scripts_without_spaces_have_keywords() {
        assert!(terms("港口的灯塔很高。灯塔在夜里发光。").iter().any(|term| term.contains("灯塔")));
        assert!(terms("灯台は高い岩の上にあります。灯台の光は遠くから見えます。").contains(&"灯台".to_owned()));
    }

    #[test]
    fn a_long_text_does_not_prefer_what_occurs_once() {
        let text = format!("{} rare green copper lantern.", "The storm warning came. ".repeat(100));
        assert_eq!(terms(&text)[0], "storm warning");
        assert!(!terms(&text).contains(&"rare green copper lantern".to_owned()));
    }
}
