//! Embeddings by feature hashing (Weinberger et al., 2009): no vocabulary, no training, no file.
//!
//! Features are words, pairs of neighbouring words, and letter n-grams inside a word marked at its ends (as fastText
//! takes them, Bojanowski et al., 2017), so that "sleep" and "sleeping" meet. Each feature is hashed to one dimension
//! with a sign from another bit of the hash, so that collisions cancel rather than add up. Its weight is sublinear in
//! its count, lower for grammar words. The vector has length 1.
//!
//! Two vectors can be compared only if they were made with the same number of dimensions **and this version of the
//! features**. Any change here that moves a vector must change [`EMBEDDING_MODEL`].

use std::collections::BTreeMap;

use super::stopwords;
use super::words::{self, fold, is_unspaced, singular};

/// The name under which these vectors are stored.
pub const EMBEDDING_MODEL: &str = "local-hashed-ngrams";

pub(super) const DEFAULT_DIMENSIONS: usize = 512;
pub(super) const MIN_DIMENSIONS: usize = 16;
pub(super) const MAX_DIMENSIONS: usize = 4_096;

const WORD_WEIGHT: f32 = 1.0;
const PAIR_WEIGHT: f32 = 0.5;
/// All letter n-grams of a word together.
const LETTERS_WEIGHT: f32 = 1.0;
/// Grammar words say little of the matter, but are all that some short texts have.
const STOP_WORD_WEIGHT: f32 = 0.1;
const LETTER_NGRAMS: [usize; 2] = [3, 4];

/// Weights by feature hash. Ordered, so that sums of floats are taken in one order everywhere.
type Features = BTreeMap<u64, (f32, f32)>;

/// The vector of a text, of length 1.
pub(super) fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    let features = features(text);
    let mut vector = vec![0.0_f32; dimensions];
    for (&hash, &(weight, count)) in &features {
        let value = weight * (1.0 + count.ln());
        let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
        vector[slot(hash, dimensions)] += sign * value;
    }
    normalise(&mut vector);
    vector
}

/// The cosine of two vectors of length 1.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

fn features(text: &str) -> Features {
    let stop = stopwords::english();
    let mut features = Features::new();
    let mut add = |hash: u64, weight: f32| {
        let entry = features.entry(hash).or_insert((weight, 0.0));
        entry.1 += 1.0;
    };
    let mut before: Option<String> = None;
    for (_, raw) in words::with_offsets(text) {
        let folded = fold(raw);
        let word = singular(&folded);
        let weight = if stop.contains(folded.as_str()) { STOP_WORD_WEIGHT } else { 1.0 };
        add(hash(b'w', word), weight * WORD_WEIGHT);
        if let Some(previous) = &before {
            // An ideograph or kana alone says little: there the pair is the word.
            let scale = if word.chars().all(is_unspaced) { WORD_WEIGHT } else { PAIR_WEIGHT };
            add(hash(b'p', &format!("{previous} {word}")), weight * scale);
        }
        if weight >= 1.0 {
            letter_ngrams(word, &mut add);
        }
        before = Some(word.to_owned());
    }
    if features.is_empty() {
        // Nothing but punctuation or symbols: still a vector, so that its length stays 1.
        for symbol in text.split_whitespace() {
            let entry = features.entry(hash(b's', symbol)).or_insert((1.0, 0.0));
            entry.1 += 1.0;
        }
    }
    features
}

fn letter_ngrams(word: &str, add: &mut impl FnMut(u64, f32)) {
    let letters: Vec<char> = std::iter::once('<').chain(word.chars()).chain(std::iter::once('>')).collect();
    let total: usize = LETTER_NGRAMS.iter().map(|n| (letters.len() + 1).saturating_sub(*n)).sum();
    if total == 0 {
        return;
    }
    let weight = LETTERS_WEIGHT / (total as f32).sqrt();
    let mut ngram = String::new();
    for n in LETTER_NGRAMS {
        for window in letters.windows(n) {
            ngram.clear();
            ngram.extend(window);
            add(hash(b'n', &ngram), weight);
        }
    }
}

/// Which dimension a feature falls into. The top bit is the sign and takes no part.
fn slot(hash: u64, dimensions: usize) -> usize {
    let below = (hash << 1 >> 1) % dimensions as u64;
    usize::try_from(below).unwrap_or(0)
}

/// FNV-1a with a finalizer (the one of MurmurHash3): FNV alone spreads short keys badly in its high bits.
fn hash(kind: u8, text: &str) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in std::iter::once(kind).chain(text.bytes()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^= state >> 33;
    state = state.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}

fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector.iter_mut() {
            *value = (f64::from(*value) / length) as f32;
        }
    } else if let Some(first) = vector.first_mut() {
        // Every feature met its opposite. Rare to the point of never, but a zero vector would break every cosine.
        *first = 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: &str, b: &str) -> f64 {
        cosine(&embed(a, 512), &embed(b, 512))
    }

    #[test]
    fn related_texts_are_closer_than_unrelated_ones() {
        let triples = [
            ("The invoice was charged twice.", "Two charges on one invoice", "Our cat likes warm windows."),
            ("How do I reset my password?", "password reset instructions", "The train leaves at noon."),
            ("Die Katze schläft am Fenster.", "eine schlafende Katze", "Rechnungen sind sofort fällig."),
            ("東京の天気は晴れです。", "東京は明日も晴れ", "請求書の支払い方法"),
        ];
        for (text, related, unrelated) in triples {
            let (close, far) = (near(text, related), near(text, unrelated));
            assert!(close > far + 0.1, "{text}: {close} against {far}");
        }
    }

    #[test]
    fn vectors_have_length_one_whatever_the_text() {
        for text in ["a", "!!! ???", "😀😀", "the the the", "\u{301}", "\u{200b}x", "1 2 3"] {
            let length: f64 = embed(text, 64).iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
            assert!((length - 1.0).abs() < 1e-5, "{text:?} {length}");
        }
    }

    #[test]
    fn the_vector_of_a_text_never_changes() {
        // Stored vectors outlive the program: if this fails, EMBEDDING_MODEL needs a new name.
        let vector = embed("Longhaul carries work that takes its time.", 16);
        let seen: Vec<i32> = vector.iter().map(|v| (v * 1_000.0).round() as i32).collect();
        assert_eq!(seen, [-334, -101, -191, -126, -152, 254, -339, -173, 86, -101, 354, -441, 28, -40, -204, -461]);
    }
}
