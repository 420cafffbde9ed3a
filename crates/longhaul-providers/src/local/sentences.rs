//! Sentences, as slices of the text.
//!
//! Boundaries follow Unicode (UAX #29), with three corrections for text as it is found in documents: a line break inside
//! a paragraph ends nothing, a full stop after an abbreviation or an initial ends nothing, and what has no sentence ends
//! at all (tables, logs, scripts without punctuation) is cut at white space, or between letters, after
//! [`MAX_SENTENCE_CHARS`].

use unicode_segmentation::UnicodeSegmentation;

/// Longest sentence in scalar values; longer ones are cut.
pub(super) const MAX_SENTENCE_CHARS: usize = 1_000;

/// Words after which a full stop ends no sentence, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "etc", "e.g", "i.e", "cf", "no", "fig", "al", "inc",
    "ltd", "co", "corp", "gen", "col", "capt", "lt", "sgt", "rev", "hon", "dept", "approx", "vol", "pp", "ed", "eds",
    "u.s", "u.k", "a.m", "p.m", "bzw", "z.b", "d.h", "ca", "nr", "usw", "str", "hr", "fr", "mme", "mlle", "sra",
    "srta", "av", "art", "p.ej", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
];

/// A sentence and where it starts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sentence<'a> {
    pub(super) start: usize,
    pub(super) text: &'a str,
    /// It stands in a block without any sentence end: a heading, a cell, a list entry.
    pub(super) fragment: bool,
}

/// Splits a text into its sentences, in order, trimmed, none empty.
pub(super) fn split(text: &str) -> Vec<Sentence<'_>> {
    let mut sentences = Vec::new();
    for (start, block) in blocks(text) {
        split_block(start, block, &mut sentences);
    }
    sentences
}

/// Blocks: runs of lines parted by a blank line, or by the start of a list entry.
fn blocks(text: &str) -> Vec<(usize, &str)> {
    let mut blocks = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.is_empty() || starts_entry(trimmed) {
            if start < at {
                blocks.push((start, &text[start..at]));
            }
            start = if trimmed.is_empty() { at + line.len() } else { at };
        }
        at += line.len();
    }
    if start < text.len() {
        blocks.push((start, &text[start..]));
    }
    blocks
}

fn starts_entry(line: &str) -> bool {
    let mut chars = line.chars();
    match chars.next() {
        Some('•' | '‣' | '◦' | '▪' | '–' | '#' | '|' | '>') => true,
        Some('-' | '*' | '+') => chars.next().is_some_and(char::is_whitespace),
        _ => false,
    }
}

fn split_block<'a>(start: usize, block: &'a str, sentences: &mut Vec<Sentence<'a>>) {
    // UAX #29 ends a sentence at every line feed; a space of the same width keeps the offsets true.
    let joined: String = block.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }).collect();
    let fragment = !joined.contains(['.', '!', '?', '。', '！', '？', '…', '।', '؟']);
    let mut from = 0;
    for (at, piece) in joined.split_sentence_bound_indices() {
        let end = at + piece.len();
        if end < joined.len() && ends_with_abbreviation(&joined[from..end]) {
            continue;
        }
        push_bounded(start + from, &block[from..end], fragment, sentences);
        from = end;
    }
    if from < block.len() {
        push_bounded(start + from, &block[from..], fragment, sentences);
    }
}

fn ends_with_abbreviation(piece: &str) -> bool {
    let Some(body) = piece.trim_end().strip_suffix('.') else { return false };
    let word = body.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '[' | '"' | '“')).next().unwrap_or(body);
    let mut letters = word.chars();
    // A single capital is an initial ("J. Smith"); the pronoun "I" ends a sentence now and then.
    if let (Some(only), None) = (letters.next(), letters.next()) {
        return only.is_uppercase() && only != 'I';
    }
    word.len() <= 5 && ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

fn push_bounded<'a>(start: usize, piece: &'a str, fragment: bool, sentences: &mut Vec<Sentence<'a>>) {
    let trimmed_start = piece.len() - piece.trim_start().len();
    let (mut start, mut rest) = (start + trimmed_start, piece.trim());
    while !rest.is_empty() {
        let cut = bounded_prefix(rest);
        let text = rest[..cut].trim_end();
        if !text.is_empty() {
            sentences.push(Sentence { start, text, fragment });
        }
        let skipped = rest[cut..].len() - rest[cut..].trim_start().len();
        start += cut + skipped;
        rest = &rest[cut + skipped..];
    }
}

/// Bytes of the longest prefix within the bound, at white space if there is any, else between graphemes.
fn bounded_prefix(text: &str) -> usize {
    let Some((limit, _)) = text.char_indices().nth(MAX_SENTENCE_CHARS) else { return text.len() };
    if let Some(space) = text[..limit].rfind(char::is_whitespace).filter(|&at| at > limit / 2) {
        return space;
    }
    // Only the part within the bound is looked at: a single grapheme may be as long as the text.
    let cut = text[..limit].grapheme_indices(true).next_back().map_or(limit, |(at, _)| at);
    if cut == 0 { limit } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|sentence| sentence.text).collect()
    }

    #[test]
    fn a_line_break_inside_a_paragraph_ends_nothing() {
        assert_eq!(texts("One line\nwraps here. Two."), ["One line\nwraps here.", "Two."]);
    }

    #[test]
    fn a_blank_line_ends_a_sentence_without_a_full_stop() {
        assert_eq!(texts("A Heading\n\nThe text.\r\n\r\nMore."), ["A Heading", "The text.", "More."]);
        assert!(split("A Heading\n\nThe text.")[0].fragment);
    }

    #[test]
    fn abbreviations_and_initials_end_nothing() {
        assert_eq!(texts("Dr. Smith met J. Doe. They spoke."), ["Dr. Smith met J. Doe.", "They spoke."]);
        assert_eq!(texts("It was him or I. Nobody knew."), ["It was him or I.", "Nobody knew."]);
    }

    #[test]
    fn ideographic_full_stops_part_sentences_without_spaces() {
        assert_eq!(texts("今日は晴れです。明日は雨です。"), ["今日は晴れです。", "明日は雨です。"]);
    }

    #[test]
    fn text_without_any_sentence_end_is_cut_at_the_bound() {
        for text in ["word ".repeat(2_000), "字".repeat(5_000), "e\u{301}".repeat(3_000), "\u{301}".repeat(3_000)] {
            let parts = split(&text);
            assert!(parts.len() > 2);
            assert!(parts.iter().all(|part| part.text.chars().count() <= MAX_SENTENCE_CHARS));
        }
    }

    #[test]
    fn offsets_point_at_the_sentences() {
        let text = "  Ünïcode first.\n\n- second entry\n- third! 最後。 ";
        for sentence in split(text) {
            assert_eq!(&text[sentence.start..sentence.start + sentence.text.len()], sentence.text);
        }
        assert_eq!(split(text).len(), 4);
    }
}
