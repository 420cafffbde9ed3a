//! Sentiment by a word list with rules for negation, intensifiers and contrast: the family of Taboada et al. (2011,
//! SO-CAL) and of Hutto and Gilbert (2014, VADER), with a list and constants of our own. English only.

use super::sentences;
use super::words::{self, fold};
use super::{LocalError, language, lexicon, round4};
use crate::Operation;
use crate::analysis::{Sentiment, SentimentLabel};

/// A negation reaches so many words forward.
const NEGATION_REACH: usize = 3;
/// "Not excellent" is less bad than "terrible": a negated word is turned round and weakened.
const NEGATED: f64 = -0.6;
/// What stands before "but" counts less, what follows counts more.
const BEFORE_BUT: f64 = 0.6;
const AFTER_BUT: f64 = 1.3;
const EXCLAIMED: f64 = 1.2;
/// Pulls texts with one or two such words towards 0: a single mild word proves little.
const PRIOR: f64 = 1.5;
const NEUTRAL_BELOW: f64 = 0.12;
/// From this share of the weaker side on, and with this weight of it, a text is mixed.
const MIXED_SHARE: f64 = 0.45;
const MIXED_WEIGHT: f64 = 2.0;

pub(super) fn sentiment(text: &str) -> Result<Sentiment, LocalError> {
    let (mut positive, mut negative, mut words) = (0.0, 0.0, 0);
    for sentence in sentences::split(text) {
        for value in weigh(sentence.text, &mut words) {
            if value > 0.0 { positive += value } else { negative -= value }
        }
    }
    let silent = positive + negative < 0.02 * words as f64 || words == 0;
    if silent && let Some(language) = language::reliable(text).filter(|&code| code != "en") {
        return Err(LocalError::UnsupportedLanguage { operation: Operation::Sentiment, language: language.to_owned() });
    }
    let score = (positive - negative) / (positive + negative + PRIOR);
    let weaker = f64::min(positive, negative);
    let mixed = weaker >= MIXED_WEIGHT && weaker >= MIXED_SHARE * f64::max(positive, negative);
    let label = if mixed {
        SentimentLabel::Mixed
    } else if score.abs() < NEUTRAL_BELOW {
        SentimentLabel::Neutral
    } else if score > 0.0 {
        SentimentLabel::Positive
    } else {
        SentimentLabel::Negative
    };
    Ok(Sentiment { label, score: round4(score) })
}

/// The attitude of each word of a sentence that has one.
fn weigh(sentence: &str, words: &mut usize) -> Vec<f64> {
    let tokens: Vec<(usize, String)> = words::with_offsets(sentence).map(|(at, word)| (at, fold(word))).collect();
    *words += tokens.len();
    let contrast = tokens.iter().position(|(_, word)| matches!(word.as_str(), "but" | "however"));
    let loud = if sentence.ends_with('!') { EXCLAIMED } else { 1.0 };
    let mut found = Vec::new();
    for (index, (_, word)) in tokens.iter().enumerate() {
        // "Pretty good" and "terribly slow": before another such word these only set its strength.
        let only_scales = lexicon::scale(word).is_some()
            && tokens.get(index + 1).is_some_and(|(_, next)| lexicon::valence(next).is_some());
        // "What kind of room": a sort, no praise.
        let a_sort = word == "kind" && tokens.get(index + 1).is_some_and(|(_, next)| next == "of");
        let Some(base) = lexicon::valence(word).filter(|_| !only_scales && !a_sort) else { continue };
        let mut value = base * loud;
        let before = &tokens[..index];
        if let Some(factor) = before.last().and_then(|(_, word)| lexicon::scale(word)) {
            value *= factor;
        }
        if negated(sentence, before, tokens[index].0) {
            value *= NEGATED;
        }
        value *= match contrast {
            Some(but) if index < but => BEFORE_BUT,
            Some(_) => AFTER_BUT,
            None => 1.0,
        };
        found.push(value);
    }
    found
}

/// True if a negation stands within reach and no comma or the like between it and the word.
fn negated(sentence: &str, before: &[(usize, String)], at: usize) -> bool {
    let reach = &before[before.len().saturating_sub(NEGATION_REACH)..];
    let hits = reach.iter().enumerate().filter(|(index, (from, word))| {
        let parted = sentence[*from..at].contains([',', ';', ':', '(', ')']);
        // "Not only good": praises.
        let only = reach.get(index + 1).is_some_and(|(_, next)| next == "only");
        lexicon::negates(word) && !parted && !only
    });
    hits.count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Sentiment {
        sentiment(text).unwrap()
    }

    #[test]
    fn praise_and_blame_are_told_apart() {
        assert_eq!(of("The staff were friendly and the room was spotless.").label, SentimentLabel::Positive);
        assert_eq!(of("The room was filthy and nobody apologized.").label, SentimentLabel::Negative);
        assert_eq!(of("The room has a bed and two chairs.").label, SentimentLabel::Neutral);
    }

    #[test]
    fn negation_turns_a_word_round_and_weakens_it() {
        let (good, not_good, bad) = (of("It is good."), of("It is not good."), of("It is terrible."));
        assert!(good.score > 0.0 && not_good.score < 0.0 && bad.score < not_good.score);
        assert!(of("It was never a problem.").score > 0.0);
        assert!(of("No, it is good.").score > 0.0, "a comma ends the reach of a negation");
        assert!(of("Not only good but beautiful.").score > 0.5);
        assert!(of("I don't dislike it.").score >= 0.0);
    }

    #[test]
    fn everyday_phrases_are_no_praise() {
        for text in
            ["What kind of room is it?", "Please send the second key.", "It looks like a boat.", "I mean the blue one."]
        {
            assert_eq!(of(text).label, SentimentLabel::Neutral, "{text}");
        }
        assert_eq!(of("The staff were kind and helpful.").label, SentimentLabel::Positive);
    }

    #[test]
    fn intensifiers_scale() {
        assert!(of("It is extremely slow.").score < of("It is slow.").score);
        assert!(of("It is slightly slow.").score > of("It is slow.").score);
        assert!(of("It is terribly good.").score > 0.0);
        assert!(of("It is pretty bad.").score < 0.0);
    }

    #[test]
    fn what_follows_but_weighs_more() {
        assert!(of("It is pleasant but useless.").score < 0.0);
        assert!(of("It is useless but pleasant.").score > 0.0);
    }

    #[test]
    fn strong_words_on_both_sides_are_mixed() {
        let text =
            "The food was wonderful and the view was excellent. The service was horrible and the bill was a scam.";
        assert_eq!(of(text).label, SentimentLabel::Mixed);
    }

    #[test]
    fn another_language_is_refused_rather_than_called_neutral() {
        let error = sentiment("Das Zimmer war wunderschön, aber das Frühstück hat uns überhaupt nicht geschmeckt.");
        assert_eq!(error.unwrap_err().code(), "unsupported_language");
        assert_eq!(
            sentiment("部屋はとても綺麗でしたが、朝食は美味しくなかったです。").unwrap_err().code(),
            "unsupported_language"
        );
    }

    #[test]
    fn the_score_stays_within_its_bounds() {
        for text in ["love ".repeat(500), "hate! ".repeat(500)] {
            assert!(of(&text).score.abs() <= 1.0);
        }
    }
}
