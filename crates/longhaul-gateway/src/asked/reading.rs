//! What a chat model answered, read: nothing is taken that the caller did not ask for or that the text does not have.
//!
//! A complaint is a sentence for the model, so that its next answer is better.

use longhaul_providers::analysis::{Classification, Entity, EntityKind, Keyword, LabelScore, Language, Sentiment};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::InstanceCheck;
use crate::analysis::{Analysis, AnalysisResult};

/// Terms that are kept of an answer.
const MOST_KEYWORDS: usize = 50;

/// Reads an answer, or says what is wrong with it.
pub(super) fn read(
    said: &str,
    text: &str,
    analysis: &Analysis,
    check: Option<InstanceCheck<'_>>,
) -> Result<AnalysisResult, String> {
    let json = json_in(said)?;
    Ok(match analysis {
        Analysis::Summary => AnalysisResult::Summary(summary(json)?),
        Analysis::Keywords => AnalysisResult::Keywords(keywords(json)?),
        Analysis::Sentiment => {
            let sentiment: Sentiment = typed(json)?;
            within("score", sentiment.score, -1.0, 1.0)?;
            AnalysisResult::Sentiment(sentiment)
        }
        Analysis::Entities => AnalysisResult::Entities(entities(json, text)?),
        Analysis::Language => AnalysisResult::Language(language(json)?),
        Analysis::Classify { labels } => AnalysisResult::Classify(classification(json, labels)?),
        Analysis::Extract { .. } => {
            match check {
                Some(check) => check(&json)?,
                None if json.is_object() => {}
                None => return Err("it is no JSON object".to_owned()),
            }
            AnalysisResult::Extract(json)
        }
    })
}

/// The JSON value of an answer, also where a model wraps it in a fence or a sentence.
fn json_in(said: &str) -> Result<Value, String> {
    let said = said.trim();
    if said.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Ok(value) = serde_json::from_str(said) {
        return Ok(value);
    }
    let start = said.find(['{', '[']).ok_or_else(|| "it holds no JSON object".to_owned())?;
    let mut values = serde_json::Deserializer::from_str(&said[start..]).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(format!("it is no JSON: {error}")),
        None => Err("it holds no JSON object".to_owned()),
    }
}

fn typed<T: DeserializeOwned>(json: Value) -> Result<T, String> {
    serde_json::from_value(json).map_err(|error| format!("it does not fit the schema: {error}"))
}

fn within(name: &str, number: f64, least: f64, most: f64) -> Result<(), String> {
    if (least..=most).contains(&number) {
        return Ok(());
    }
    Err(format!("`{name}` is {number}; it must be from {least} to {most}"))
}

fn summary(json: Value) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Form {
        summary: String,
    }
    let Form { summary } = typed(json)?;
    let summary = summary.trim();
    if summary.is_empty() { Err("`summary` is empty".to_owned()) } else { Ok(summary.to_owned()) }
}

fn keywords(json: Value) -> Result<Vec<Keyword>, String> {
    #[derive(Deserialize)]
    struct Form {
        keywords: Vec<Keyword>,
    }
    let Form { mut keywords } = typed(json)?;
    for keyword in &mut keywords {
        within("score", keyword.score, 0.0, f64::MAX)?;
        keyword.term = keyword.term.trim().to_lowercase();
    }
    let mut seen = std::collections::HashSet::new();
    keywords.retain(|keyword| !keyword.term.is_empty() && seen.insert(keyword.term.clone()));
    keywords.sort_by(|a, b| b.score.total_cmp(&a.score));
    keywords.truncate(MOST_KEYWORDS);
    Ok(keywords)
}

fn language(json: Value) -> Result<Language, String> {
    let language: Language = typed(json)?;
    within("confidence", language.confidence, 0.0, 1.0)?;
    let mut parts = language.code.split('-');
    let is_primary = |part: &str| (2..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_further =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !parts.next().is_some_and(is_primary) || !parts.all(is_further) {
        return Err("`code` is no BCP 47 code such as `en` or `zh`".to_owned());
    }
    Ok(language)
}

fn classification(json: Value, labels: &[String]) -> Result<Classification, String> {
    #[derive(Deserialize)]
    struct Form {
        label: Option<String>,
        confidence: f64,
        #[serde(default)]
        scores: Vec<LabelScore>,
    }
    let Form { label, confidence, scores } = typed(json)?;
    within("confidence", confidence, 0.0, 1.0)?;
    let known = |label: &str| labels.iter().any(|known| known == label);
    if let Some(label) = label.as_deref().filter(|label| !known(label)) {
        let shown: String = label.chars().take(60).collect();
        return Err(format!("`label` is {shown:?}, which is none of the labels"));
    }
    // Every label with a score, as every analyst gives them: what the model did not name had nothing for it.
    let score_of = |wanted: &String| -> Result<LabelScore, String> {
        let given = scores.iter().find(|score| score.label == *wanted).map(|score| score.score);
        let given = given.or((label.as_ref() == Some(wanted)).then_some(confidence)).unwrap_or(0.0);
        within("score", given, 0.0, 1.0)?;
        Ok(LabelScore { label: wanted.clone(), score: given })
    };
    let mut all = labels.iter().map(score_of).collect::<Result<Vec<_>, _>>()?;
    // Stable: equals stay in the order in which the caller named them, but the chosen one goes first.
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    if let Some(at) = all.iter().position(|score| Some(&score.label) == label.as_ref()) {
        let best = all.remove(at);
        all.insert(0, best);
    }
    Ok(Classification { label, confidence, scores: all })
}

fn entities(json: Value, text: &str) -> Result<Vec<Entity>, String> {
    #[derive(Deserialize)]
    struct Form {
        entities: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        text: String,
        #[serde(rename = "type")]
        kind: EntityKind,
    }
    let Form { entities } = typed(json)?;
    let mut places = Places::of(text);
    let found = entities.into_iter().filter_map(|named| places.claim(named.text.trim(), named.kind));
    let mut found: Vec<Entity> = found.collect();
    found.sort_by_key(|entity| (entity.start, entity.end));
    Ok(found)
}

/// Finds mentions in a text, each place once.
///
/// Models copy words well and count letters badly. So a mention is looked for behind the one before it, and else anywhere;
/// what the text does not have is no entity of it.
struct Places<'a> {
    text: &'a str,
    /// The text in lower case, when that is as long in every letter; else mentions are found by their letters alone.
    folded: Option<String>,
    /// Byte and letter behind the last mention.
    cursor: usize,
    /// Places that are taken, as bytes.
    taken: std::collections::BTreeSet<(usize, usize)>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        let folded = text.to_lowercase();
        let same =
            folded.len() == text.len() && folded.char_indices().zip(text.char_indices()).all(|(a, b)| a.0 == b.0);
        Self { text, folded: same.then_some(folded), cursor: 0, taken: std::collections::BTreeSet::new() }
    }

    fn claim(&mut self, words: &str, kind: EntityKind) -> Option<Entity> {
        if words.is_empty() {
            return None;
        }
        let start =
            self.find(self.text, words, self.cursor).or_else(|| self.find(self.text, words, 0)).or_else(|| {
                let folded = self.folded.as_deref()?;
                let words = words.to_lowercase();
                self.find(folded, &words, self.cursor).or_else(|| self.find(folded, &words, 0))
            })?;
        let end = start + words.len();
        let found = self.text.get(start..end)?;
        self.taken.insert((start, end));
        self.cursor = self.cursor.max(end);
        let before = self.text[..start].chars().count();
        Some(Entity { text: found.to_owned(), kind, start: before, end: before + found.chars().count() })
    }

    /// The first place from `from` on that nobody has.
    fn find(&self, text: &str, words: &str, from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            let start = from + text.get(from..)?.find(words)?;
            if !self.taken.contains(&(start, start + words.len())) && self.stands_alone(start, words.len()) {
                return Some(start);
            }
            from = start + text[start..].chars().next().map_or(1, char::len_utf8);
        }
    }

    /// Whether the words are words there, and not a part of longer ones: *Ann* is not named by *Annual*.
    fn stands_alone(&self, start: usize, length: usize) -> bool {
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let within = self.text.get(start..start + length).unwrap_or_default();
        let is_one_script = |c: char| c.is_ascii_alphanumeric() || ('\u{c0}'..'\u{2000}').contains(&c);
        // Scripts that write no spaces have no ends of words to look for.
        let begins = !is_letter(within.chars().next().filter(|c| is_one_script(*c)))
            || !is_letter(self.text[..start].chars().next_back());
        let ends = !is_letter(within.chars().next_back().filter(|c| is_one_script(*c)))
            || !is_letter(self.text.get(start + length..).and_then(|rest| rest.chars().next()));
        begins && ends
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entities_of(text: &str, named: &[(&str, &str)]) -> Vec<(String, usize, usize)> {
        let list: Vec<Value> = named.iter().map(|(text, kind)| json!({"text": text, "type": kind})).collect();
        let found = entities(json!({"entities": list}), text).unwrap();
        for entity in &found {
            let at: String = text.chars().skip(entity.start).take(entity.end - entity.start).collect();
            assert_eq!(at, entity.text);
        }
        found.into_iter().map(|entity| (entity.text, entity.start, entity.end)).collect()
    }

    #[test]
    fn entities_are_found_in_the_text_and_counted_in_letters() {
        let text = "Zoë met Ann in Łódź. Ann left; the Annual fair stayed. ANN!";
        let found = entities_of(text, &[("Zoë", "person"), ("Ann", "person"), ("Łódź", "location"), ("Ann", "person")]);
        assert_eq!(
            found,
            [("Zoë".into(), 0, 3), ("Ann".into(), 8, 11), ("Łódź".into(), 15, 19), ("Ann".into(), 21, 24)]
        );
        // A third mention can only be the one in capitals; a fourth is nowhere.
        let found = entities_of(text, &[("Ann", "person"); 4]);
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].0, "ANN");
    }

    #[test]
    fn what_the_text_does_not_have_is_dropped() {
        assert!(entities_of("A fine day.", &[("Paris", "location"), ("", "name"), ("  ", "name")]).is_empty());
        assert_eq!(entities_of("東京タワー", &[("東京", "location")]), [("東京".into(), 0, 2)]);
    }

    #[test]
    fn an_unknown_type_and_a_wrong_shape_are_told() {
        let wrong = json!({"entities": [{"text": "a", "type": "planet"}]});
        assert!(entities(wrong, "a").unwrap_err().contains("planet"));
        assert!(entities(json!({"names": []}), "a").unwrap_err().contains("entities"));
    }

    #[test]
    fn an_answer_may_stand_in_a_fence_or_a_sentence() {
        for said in [
            "{\"summary\": \"short\"}",
            "```json\n{\"summary\": \"short\"}\n```",
            "Here you are: {\"summary\": \"short\"} I hope it helps.",
        ] {
            assert_eq!(summary(json_in(said).unwrap()).unwrap(), "short", "{said}");
        }
        for (said, complaint) in [("", "empty"), ("no", "no JSON object"), ("{\"summary\": ", "no JSON")] {
            assert!(json_in(said).unwrap_err().contains(complaint), "{said}");
        }
    }

    #[test]
    fn numbers_out_of_bounds_and_labels_that_were_not_given_are_refused() {
        let read = |json: Value, analysis: &Analysis| read(&json.to_string(), "text", analysis, None);
        let sentiment = json!({"label": "positive", "score": 5});
        assert_eq!(read(sentiment, &Analysis::Sentiment).unwrap_err(), "`score` is 5; it must be from -1 to 1");
        let labels = vec!["billing".to_owned(), "other".to_owned()];
        let classify = Analysis::Classify { labels };
        let wrong = json!({"label": "tax", "confidence": 1, "scores": []});
        assert!(read(wrong, &classify).unwrap_err().contains("none of the labels"));
        let right = json!({"label": "other", "confidence": 0.7, "scores": [{"label": "billing", "score": 0.2}]});
        let AnalysisResult::Classify(found) = read(right, &classify).unwrap() else { panic!("not classified") };
        assert_eq!(found.label.as_deref(), Some("other"));
        let scores: Vec<_> = found.scores.iter().map(|score| (score.label.as_str(), score.score)).collect();
        assert_eq!(scores, [("other", 0.7), ("billing", 0.2)]);
        for (code, fits) in [("en", true), ("pt-BR", true), ("english", false), ("", false), ("e-n", false)] {
            let answer = json!({"code": code, "confidence": 1});
            assert_eq!(read(answer, &Analysis::Language).is_ok(), fits, "{code}");
        }
    }

    #[test]
    fn keywords_are_lower_case_unlike_and_best_first() {
        let found = keywords(json!({"keywords": [
            {"term": "Lantern", "score": 0.2}, {"term": "storm ", "score": 0.9}, {"term": "lantern", "score": 0.1}
        ]}));
        let found: Vec<_> = found.unwrap().into_iter().map(|keyword| keyword.term).collect();
        assert_eq!(found, ["storm", "lantern"]);
    }

    #[test]
    fn what_is_extracted_is_held_to_its_schema_by_who_knows_it() {
        let extract = Analysis::Extract { schema: json!({"type": "object"}) };
        let check =
            |value: &Value| if value["total"].is_number() { Ok(()) } else { Err("/total is required".to_owned()) };
        assert_eq!(read("{\"sum\": 1}", "", &extract, Some(&check)).unwrap_err(), "/total is required");
        assert!(read("{\"total\": 1}", "", &extract, Some(&check)).is_ok());
        assert!(read("[1]", "", &extract, None).is_err());
    }
}
