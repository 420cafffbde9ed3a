//! The language of a text: letter trigrams, and grammar words where trigrams are unsure.
//!
//! Script and the ranks of letter trigrams decide (the method of Cavnar and Trenkle, 1994, as the `whatlang` crate
//! carries it out for 69 languages). On a sentence or two they are often unsure; then the share of
//! [grammar words](super::stopwords) of each listed language is asked, which is how a reader would do it.

use whatlang::Lang;

use super::{round4, stopwords, words};
use crate::analysis::Language;

/// Scalar values that are looked at. Trigrams settle within some hundred; the rest would only cost time.
const SAMPLE_CHARS: usize = 20_000;
/// Words that are looked at where trigrams are unsure: only short texts are.
const SAMPLE_WORDS: usize = 400;
/// Grammar words decide if there are so many of them, ...
const MIN_GRAMMAR_WORDS: usize = 2;
/// ... they are this part of the words, ...
const MIN_GRAMMAR_SHARE: f64 = 0.2;
/// ... and the next language has fewer by this part.
const MIN_LEAD: f64 = 0.25;
/// A verdict of this confidence is good enough to choose word lists by.
const RELIABLE: f64 = 0.3;

/// The language of a text; `und` with confidence 0 when no letter tells.
pub(super) fn detect(text: &str) -> Language {
    let (code, confidence) = verdict(text);
    Language { code: code.to_owned(), confidence: round4(confidence) }
}

/// The tag of the language if the verdict is good enough to choose word lists by.
pub(super) fn reliable(text: &str) -> Option<&'static str> {
    let (code, confidence) = verdict(text);
    (confidence >= RELIABLE).then_some(code)
}

fn verdict(text: &str) -> (&'static str, f64) {
    let text = sample(text);
    let Some(info) = whatlang::detect(text) else { return ("und", 0.0) };
    let (by_letters, confidence) = (tag(info.lang()), info.confidence().clamp(0.0, 1.0));
    if info.is_reliable() {
        return (by_letters, confidence);
    }
    match by_grammar_words(text) {
        Some((code, lead)) if code == by_letters => (code, lead.max(confidence)),
        Some(found) => found,
        None => (by_letters, confidence),
    }
}

/// The listed language with the most grammar words in the text, and how sure that is.
fn by_grammar_words(text: &str) -> Option<(&'static str, f64)> {
    let read: Vec<String> = words::with_offsets(text).take(SAMPLE_WORDS).map(|(_, word)| words::lower(word)).collect();
    let mut votes: Vec<(usize, &'static str)> = stopwords::all()
        .map(|(code, list)| (read.iter().filter(|word| list.contains(word.as_str())).count(), code))
        .collect();
    votes.sort_by_key(|&(hits, _)| std::cmp::Reverse(hits));
    let (&(hits, code), &(next, _)) = (votes.first()?, votes.get(1)?);
    let share = hits as f64 / read.len() as f64;
    let lead = (hits - next) as f64 / hits as f64;
    let decided = hits >= MIN_GRAMMAR_WORDS && share >= MIN_GRAMMAR_SHARE && lead >= MIN_LEAD;
    decided.then(|| (code, lead * (1.0 - 0.6_f64.powi(hits.min(50) as i32))))
}

/// The beginning of the text, cut between scalar values.
fn sample(text: &str) -> &str {
    text.char_indices().nth(SAMPLE_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// BCP 47 wants the two-letter code where one exists.
fn tag(lang: Lang) -> &'static str {
    match lang {
        Lang::Epo => "eo",
        Lang::Eng => "en",
        Lang::Rus => "ru",
        Lang::Cmn => "zh",
        Lang::Spa => "es",
        Lang::Por => "pt",
        Lang::Ita => "it",
        Lang::Ben => "bn",
        Lang::Fra => "fr",
        Lang::Deu => "de",
        Lang::Ukr => "uk",
        Lang::Kat => "ka",
        Lang::Ara => "ar",
        Lang::Hin => "hi",
        Lang::Jpn => "ja",
        Lang::Heb => "he",
        Lang::Yid => "yi",
        Lang::Pol => "pl",
        Lang::Amh => "am",
        Lang::Jav => "jv",
        Lang::Kor => "ko",
        Lang::Nob => "nb",
        Lang::Dan => "da",
        Lang::Swe => "sv",
        Lang::Fin => "fi",
        Lang::Tur => "tr",
        Lang::Nld => "nl",
        Lang::Hun => "hu",
        Lang::Ces => "cs",
        Lang::Ell => "el",
        Lang::Bul => "bg",
        Lang::Bel => "be",
        Lang::Mar => "mr",
        Lang::Kan => "kn",
        Lang::Ron => "ro",
        Lang::Slv => "sl",
        Lang::Hrv => "hr",
        Lang::Srp => "sr",
        Lang::Mkd => "mk",
        Lang::Lit => "lt",
        Lang::Lav => "lv",
        Lang::Est => "et",
        Lang::Tam => "ta",
        Lang::Vie => "vi",
        Lang::Urd => "ur",
        Lang::Tha => "th",
        Lang::Guj => "gu",
        Lang::Uzb => "uz",
        Lang::Pan => "pa",
        Lang::Aze => "az",
        Lang::Ind => "id",
        Lang::Tel => "te",
        Lang::Pes => "fa",
        Lang::Mal => "ml",
        Lang::Ori => "or",
        Lang::Mya => "my",
        Lang::Nep => "ne",
        Lang::Sin => "si",
        Lang::Khm => "km",
        Lang::Tuk => "tk",
        Lang::Aka => "ak",
        Lang::Zul => "zu",
        Lang::Sna => "sn",
        Lang::Afr => "af",
        Lang::Lat => "la",
        Lang::Slk => "sk",
        Lang::Cat => "ca",
        Lang::Tgl => "tl",
        Lang::Hye => "hy",
        Lang::Cym => "cy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        let samples = [
            ("en", "The harbour was quiet, and the boats lay close together under a grey morning sky."),
            ("de", "Der Hafen war still, und die Boote lagen dicht beieinander unter einem grauen Himmel."),
            ("fr", "Le port était calme, et les bateaux étaient serrés les uns contre les autres sous le ciel gris."),
            ("es", "El puerto estaba tranquilo y los barcos descansaban juntos bajo un cielo gris de la mañana."),
            ("ru", "Гавань была тихой, и лодки стояли рядом под серым утренним небом."),
            ("ja", "港は静かで、船は灰色の朝の空の下に並んでいた。"),
            ("zh", "港口很安静，船只在灰色的晨空下紧紧地停靠在一起。"),
        ];
        for (code, text) in samples {
            let found = detect(text);
            assert_eq!(found.code, code, "{text}");
            assert!(found.confidence > 0.3, "{code} {}", found.confidence);
        }
    }

    #[test]
    fn short_sentences_are_told_by_their_grammar_words() {
        let samples = [
            ("en", "How do I reset my password?"),
            ("en", "The cat sleeps on the mat."),
            ("de", "Das ist gut für uns alle."),
            ("nl", "De kat slaapt op de mat en het is niet koud."),
            ("da", "Det er en god dag, og vi går over broen til den gamle by."),
            ("it", "Non so che cosa sia questo."),
        ];
        for (code, text) in samples {
            assert_eq!(detect(text).code, code, "{text}");
        }
    }

    #[test]
    fn digits_have_no_language() {
        assert_eq!(detect("12345 67890"), Language { code: "und".to_owned(), confidence: 0.0 });
    }

    #[test]
    fn every_language_has_a_tag_of_its_own() {
        let tags: std::collections::HashSet<_> = Lang::all().iter().map(|&lang| tag(lang)).collect();
        assert_eq!(tags.len(), Lang::all().len());
        assert!(tags.iter().all(|tag| tag.len() == 2), "{tags:?}");
    }
}
