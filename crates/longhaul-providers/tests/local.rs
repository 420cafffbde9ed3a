//! Whatever text comes in, the local provider answers, within its promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use longhaul_providers::local::{Bm25, Local, SummaryLength};
use proptest::prelude::*;

/// Text with what is troublesome in it: marks, emoji of several letters, scripts of all kinds, near-entities.
fn troublesome() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        "[a-zA-Z]{1,12}",
        Just(" ".to_owned()),
        Just(". ".to_owned()),
        Just("\n\n".to_owned()),
        Just("e\u{301}\u{302}".to_owned()),
        Just("👩‍👩‍👧‍👦🇩🇪".to_owned()),
        Just("東京は晴れ。".to_owned()),
        Just("한국어 ".to_owned()),
        Just("Dr. Zoë Ångström of Lisbon ".to_owned()),
        Just("İstanbul ﬃ ß ".to_owned()),
        Just("not very good, but terrible! ".to_owned()),
        "[0-9./:+() -]{1,14}",
        "[a-z@.:/$€%-]{1,14}",
        "\\PC{1,6}",
    ];
    prop::collection::vec(pieces, 1..80).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_text_is_answered_and_twice_alike(text in troublesome()) {
        prop_assume!(!text.trim().is_empty());
        let local = Local::default();
        let keywords = local.keywords(&text).unwrap();
        prop_assert!(keywords.len() <= 10 && keywords.iter().all(|keyword| keyword.score.is_finite()));
        prop_assert_eq!(local.keywords(&text).unwrap(), keywords);
        let language = local.language(&text).unwrap();
        prop_assert!((0.0..=1.0).contains(&language.confidence));
        match local.sentiment(&text) {
            Ok(sentiment) => prop_assert!((-1.0..=1.0).contains(&sentiment.score)),
            Err(error) => prop_assert_eq!(error.code(), "unsupported_language"),
        }
        let found = local.classify(&text, &["lisbon", "weather: rain, sun", "天気"]).unwrap();
        prop_assert!(found.scores.iter().all(|score| (0.0..=1.0).contains(&score.score)));
        prop_assert!((0.0..=1.0).contains(&found.confidence));
        prop_assert_eq!(local.classify(&text, &["lisbon", "weather: rain, sun", "天気"]).unwrap(), found);
    }

    #[test]
    fn entities_point_at_their_words(text in troublesome()) {
        prop_assume!(!text.trim().is_empty());
        let letters: Vec<char> = text.chars().collect();
        let found = Local::default().entities(&text).unwrap();
        for entity in &found {
            prop_assert_eq!(letters[entity.start..entity.end].iter().collect::<String>(), entity.text.as_str());
        }
        prop_assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }

    #[test]
    fn summaries_keep_their_length(text in troublesome(), max_sentences in 1..5usize, max_chars in 1..200usize) {
        prop_assume!(!text.trim().is_empty());
        let local = Local::default();
        let length = SummaryLength { max_sentences, max_chars };
        let summary = local.summary_of_length(&text, length).unwrap();
        prop_assert!(!summary.is_empty());
        prop_assert!(summary.chars().count() <= max_chars, "{} letters of {max_chars}", summary.chars().count());
        prop_assert_eq!(local.summary_of_length(&text, length).unwrap(), summary);
    }

    #[test]
    fn a_text_finds_itself(texts in prop::collection::vec("[a-z]{4,9}( [a-z]{4,9}){3,9}", 2..6), pick in any::<prop::sample::Index>()) {
        let asked = pick.index(texts.len());
        let hits = Bm25::of(&texts).search(&texts[asked], 10);
        prop_assert!(hits.iter().any(|hit| hit.text == asked && hit.score >= hits[0].score * 0.5));
        let vectors = Local::default().embed(&texts).unwrap();
        for vector in &vectors {
            let length: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
            prop_assert!((length - 1.0).abs() < 1e-4);
        }
    }
}

#[test]
fn text_made_to_be_slow_is_answered_in_time() {
    let hostile = [
        "a".repeat(33_000),
        "a.".repeat(16_000),
        "Aa ".repeat(10_000),
        "A of ".repeat(6_000),
        "http://((((".repeat(3_000),
        format!("http://{}", ")".repeat(33_000)),
        format!("http://{}", "(".repeat(16_000) + &").".repeat(16_000)),
        "a@".repeat(16_000),
        "a.a@a.".repeat(5_000),
        "1-".repeat(16_000),
        "+1 (2".repeat(6_000),
        "1 million ".repeat(3_000),
        "\u{301}".repeat(16_000),
        "🇩".repeat(10_000),
        "字".repeat(10_000),
        "Mr. ".repeat(8_000),
        "not not ".repeat(4_000),
        "\n- ".repeat(10_000),
    ];
    let local = Local::default();
    for text in hostile {
        local.summary(&text).unwrap();
        local.keywords(&text).unwrap();
        local.entities(&text).unwrap();
        local.language(&text).unwrap();
        local.classify(&text, &["one", "two"]).unwrap();
        let _refused_or_not = local.sentiment(&text);
    }
}
