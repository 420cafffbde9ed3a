//! Words: what every algorithm here counts.
//!
//! Boundaries follow Unicode (UAX #29). Scripts written without spaces come out of that as single ideographs or kana,
//! which say little alone; [`terms`] therefore joins neighbours into pairs for them.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

/// Longest word that is looked at, in scalar values; what is longer is data, not language, and is cut here.
pub(super) const MAX_WORD_CHARS: usize = 64;

/// The words of a text with their byte offsets.
pub(super) fn with_offsets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_word_bound_indices().filter(|(_, word)| word.chars().any(char::is_alphanumeric))
}

/// A word in the form in which it is compared: compatibility-composed, lower case, without accents.
pub(super) fn fold(word: &str) -> String {
    if word.is_ascii() {
        return word.chars().take(MAX_WORD_CHARS).map(|c| c.to_ascii_lowercase()).collect();
    }
    let stripped: String = word
        .nfkd()
        .filter(|&c| !is_combining_mark(c) || is_unspaced(c))
        .flat_map(char::to_lowercase)
        .take(MAX_WORD_CHARS)
        .collect();
    stripped.nfc().map(|c| if c == '’' { '\'' } else { c }).collect()
}

/// A word in lower case with its accents, as a person would read it.
pub(super) fn lower(word: &str) -> String {
    let composed = word.nfkc().flat_map(char::to_lowercase).take(MAX_WORD_CHARS);
    composed.map(|c| if c == '’' { '\'' } else { c }).collect()
}

/// Strips the English plural, the possessive and nothing more (the "S stemmer" of Harman, 1991).
pub(super) fn singular(word: &str) -> &str {
    let word = word.strip_suffix("'s").unwrap_or(word);
    let long_enough = word.len() > 3 && word.is_ascii();
    match word.strip_suffix('s') {
        Some(stem) if long_enough && !stem.ends_with(['s', 'u', 'i', 'a']) => stem,
        _ => word,
    }
}

/// True for scripts whose words are not parted by spaces.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF            // Thai, Lao
        | 0x1000..=0x109F          // Burmese
        | 0x1780..=0x17FF          // Khmer
        | 0x3040..=0x30FF          // kana
        | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF          // ideographs
        | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF
        | 0x20000..=0x3FFFF)
}

/// The terms under which a text is found: folded singular words; for unspaced scripts also each pair of neighbours.
pub(super) fn terms(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    let mut before: Option<(usize, &str)> = None;
    for (at, word) in with_offsets(text) {
        let unspaced = word.chars().next().is_some_and(is_unspaced);
        if unspaced {
            if let Some((end, previous)) = before
                && end == at
            {
                terms.push(fold(&format!("{previous}{word}")));
            }
            before = Some((at + word.len(), word));
            terms.push(fold(word));
        } else {
            before = None;
            let folded = fold(word);
            terms.push(singular(&folded).to_owned());
        }
    }
    terms.retain(|term| !term.is_empty());
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_removes_case_accents_and_ligatures() {
        assert_eq!(fold("Éﬃcient"), "efficient");
        assert_eq!(fold("STRASSE"), "strasse");
        assert_eq!(lower("ÉTÉ"), "été");
    }

    #[test]
    fn kana_voicing_survives_folding() {
        // が is か with a combining mark; without it the word would be another.
        assert_eq!(fold("が"), "が");
    }

    #[test]
    fn plural_is_stripped_and_other_endings_stay() {
        assert_eq!(singular("invoices"), "invoice");
        assert_eq!(singular("glass"), "glass");
        assert_eq!(singular("status"), "status");
        assert_eq!(singular("dog's"), "dog");
        assert_eq!(singular("gas"), "gas");
    }

    #[test]
    fn unspaced_scripts_yield_pairs_of_neighbours() {
        assert_eq!(terms("東京都"), ["東", "東京", "京", "京都", "都"]);
    }

    #[test]
    fn an_endless_word_is_cut() {
        assert_eq!(fold(&"a".repeat(1_000)).len(), MAX_WORD_CHARS);
        assert_eq!(fold(&"é".repeat(1_000)).len(), MAX_WORD_CHARS);
    }
}
