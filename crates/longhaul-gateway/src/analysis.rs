//! What can be asked of a text, as clients write it and as models are given it.
//!
//! In JSON a plain analysis is its name, and one with parameters is an object with its name as only key:
//! `["summary", {"classify": {"labels": ["a", "b"]}}]`. The set is closed; what is not in it is refused with the place
//! of the entry and the nearest known name.

use longhaul_providers::Operation;
use longhaul_providers::analysis::{Classification, Entity, Keyword, Language, Sentiment};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::nearest::nearest;

/// Labels of one classification.
const MAX_LABELS: usize = 256;
/// Letters of a bad entry that are quoted back.
const MAX_QUOTED: usize = 40;

const NAMES: [&str; 7] = ["summary", "keywords", "sentiment", "entities", "language", "classify", "extract"];

/// One thing that is asked of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Analysis {
    /// A shorter text.
    Summary,
    /// The terms that it is about.
    Keywords,
    /// Its attitude.
    Sentiment,
    /// Names, dates, amounts.
    Entities,
    /// Which language it is in.
    Language,
    /// Which of these labels fits.
    Classify {
        /// The labels, at least one, no two alike.
        labels: Vec<String>,
    },
    /// Data from it, in this form.
    Extract {
        /// A JSON Schema of an object.
        schema: Value,
    },
}

/// What is wrong with an entry of a list of analyses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct AnalysisProblem {
    /// JSON Pointer (RFC 6901) to the bad value, from the list on: `/1/classify/labels`. Empty for the list itself.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}

impl Analysis {
    /// What is asked when nothing is said: summary, keywords and sentiment.
    pub fn defaults() -> Vec<Self> {
        vec![Self::Summary, Self::Keywords, Self::Sentiment]
    }

    /// The name, which is also the key of its result.
    pub fn name(&self) -> &'static str {
        self.operation().name()
    }

    /// The operation that a model must be capable of.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Summary => Operation::Summary,
            Self::Keywords => Operation::Keywords,
            Self::Sentiment => Operation::Sentiment,
            Self::Entities => Operation::Entities,
            Self::Language => Operation::Language,
            Self::Classify { .. } => Operation::Classify,
            Self::Extract { .. } => Operation::Extract,
        }
    }

    /// Reads a list of analyses. All problems are found, not only the first.
    ///
    /// ```
    /// use longhaul_gateway::Analysis;
    /// let list = serde_json::json!(["sumary"]);
    /// let problems = Analysis::parse_list(&list).unwrap_err();
    /// assert_eq!(problems[0].pointer, "/0");
    /// assert!(problems[0].message.contains("did you mean `summary`?"));
    /// ```
    pub fn parse_list(list: &Value) -> Result<Vec<Self>, Vec<AnalysisProblem>> {
        let Value::Array(entries) = list else {
            return Err(vec![problem("", format!("a list of analyses is expected, not {}", describe(list)))]);
        };
        if entries.is_empty() {
            return Err(vec![problem("", "the list is empty: name at least one analysis, or leave it out")]);
        }
        let mut analyses: Vec<Self> = Vec::new();
        let mut problems = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let at = format!("/{index}");
            match Self::parse(entry) {
                Ok(analysis) if analyses.iter().any(|other| other.name() == analysis.name()) => {
                    problems.push(problem(at, format!("`{}` is asked twice", analysis.name())));
                }
                Ok(analysis) => analyses.push(analysis),
                Err(found) => problems.push(AnalysisProblem { pointer: at + &found.pointer, ..found }),
            }
            // A hostile list must not earn an answer as long as itself.
            if problems.len() == NAMES.len() {
                break;
            }
        }
        if problems.is_empty() { Ok(analyses) } else { Err(problems) }
    }

    /// Reads one entry of a list; the pointer of a problem starts at the entry.
    pub fn parse(entry: &Value) -> Result<Self, AnalysisProblem> {
        match entry {
            Value::String(name) => Self::plain(name),
            Value::Object(object) => {
                let mut keys = object.iter();
                match (keys.next(), keys.next()) {
                    (Some((name, parameters)), None) => Self::with_parameters(name, parameters),
                    (None, _) => Err(problem("", "an empty object names no analysis")),
                    (Some(_), Some(_)) => {
                        Err(problem("", format!("an analysis is one name; this object has {} keys", object.len())))
                    }
                }
            }
            other => Err(problem(
                "",
                format!("an analysis is a name or an object with a name as its only key, not {}", describe(other)),
            )),
        }
    }

    fn plain(name: &str) -> Result<Self, AnalysisProblem> {
        Ok(match name {
            "summary" => Self::Summary,
            "keywords" => Self::Keywords,
            "sentiment" => Self::Sentiment,
            "entities" => Self::Entities,
            "language" => Self::Language,
            "classify" => {
                return Err(problem("", "`classify` needs its labels: {\"classify\": {\"labels\": [\"…\", \"…\"]}}"));
            }
            "extract" => return Err(problem("", "`extract` needs its schema: {\"extract\": {\"schema\": {…}}}")),
            other => return Err(unknown(other)),
        })
    }

    fn with_parameters(name: &str, parameters: &Value) -> Result<Self, AnalysisProblem> {
        let at = format!("/{name}");
        match name {
            "classify" => {
                let labels = only_field(parameters, &at, "labels")?;
                Ok(Self::Classify { labels: parse_labels(labels, &format!("{at}/labels"))? })
            }
            "extract" => {
                let schema = only_field(parameters, &at, "schema")?;
                if !schema.is_object() {
                    let message = format!("a JSON Schema is an object, not {}", describe(schema));
                    return Err(problem(format!("{at}/schema"), message));
                }
                Ok(Self::Extract { schema: schema.clone() })
            }
            name if NAMES.contains(&name) => {
                Err(problem(at, format!("`{name}` takes no parameters: write \"{name}\"")))
            }
            other => Err(unknown(other)),
        }
    }
}

impl<'de> Deserialize<'de> for Analysis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entry = Value::deserialize(deserializer)?;
        Self::parse(&entry).map_err(|found| {
            let place = if found.pointer.is_empty() { String::new() } else { format!(" (at `{}`)", found.pointer) };
            D::Error::custom(format!("{}{place}", found.message))
        })
    }
}

/// The answer to one [`Analysis`], in the shape in which clients read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AnalysisResult {
    /// To [`Analysis::Summary`].
    Summary(String),
    /// To [`Analysis::Keywords`], best first.
    Keywords(Vec<Keyword>),
    /// To [`Analysis::Sentiment`].
    Sentiment(Sentiment),
    /// To [`Analysis::Entities`], in the order of the text.
    Entities(Vec<Entity>),
    /// To [`Analysis::Language`].
    Language(Language),
    /// To [`Analysis::Classify`].
    Classify(Classification),
    /// To [`Analysis::Extract`]: an instance of the schema.
    Extract(Value),
}

fn problem(pointer: impl Into<String>, message: impl Into<String>) -> AnalysisProblem {
    AnalysisProblem { pointer: pointer.into(), message: message.into() }
}

fn unknown(name: &str) -> AnalysisProblem {
    let quoted: String = name.chars().take(MAX_QUOTED).collect();
    let hint = nearest(name, NAMES).map(|near| format!(" did you mean `{near}`?")).unwrap_or_default();
    problem("", format!("`{quoted}` is no analysis;{hint} known are {}", NAMES.join(", ")))
}

/// The only field that an object of parameters may have.
fn only_field<'a>(parameters: &'a Value, at: &str, field: &str) -> Result<&'a Value, AnalysisProblem> {
    let Value::Object(object) = parameters else {
        return Err(problem(at, format!("an object with `{field}` is expected, not {}", describe(parameters))));
    };
    if let Some(other) = other_key(object, field) {
        let quoted: String = other.chars().take(MAX_QUOTED).collect();
        return Err(problem(at, format!("`{quoted}` is no parameter here; `{field}` is the only one")));
    }
    object.get(field).ok_or_else(|| problem(at, format!("`{field}` is missing")))
}

fn other_key<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a String> {
    object.keys().find(|key| key.as_str() != field)
}

fn parse_labels(labels: &Value, at: &str) -> Result<Vec<String>, AnalysisProblem> {
    let Value::Array(entries) = labels else {
        return Err(problem(at, format!("a list of labels is expected, not {}", describe(labels))));
    };
    if entries.is_empty() || entries.len() > MAX_LABELS {
        return Err(problem(at, format!("{} labels were given; from 1 to {MAX_LABELS} are taken", entries.len())));
    }
    let mut parsed: Vec<String> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let at = format!("{at}/{index}");
        let Value::String(label) = entry else {
            return Err(problem(at, format!("a label is a string, not {}", describe(entry))));
        };
        if label.trim().is_empty() {
            return Err(problem(at, "the label is empty"));
        }
        if parsed.contains(label) {
            return Err(problem(at, format!("the label `{label}` was given before")));
        }
        parsed.push(label.clone());
    }
    Ok(parsed)
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(list: Value) -> Vec<String> {
        Analysis::parse_list(&list).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_list_reads_and_writes_the_same() {
        let list = json!([
            "summary", "keywords", "sentiment", "entities", "language",
            {"classify": {"labels": ["a", "b"]}},
            {"extract": {"schema": {"type": "object"}}}
        ]);
        let read = Analysis::parse_list(&list).unwrap();
        assert_eq!(read.len(), NAMES.len());
        assert_eq!(read.iter().map(Analysis::name).collect::<Vec<_>>(), NAMES);
        assert_eq!(serde_json::to_value(&read).unwrap(), list);
        assert_eq!(serde_json::from_value::<Vec<Analysis>>(list).unwrap(), read);
    }

    #[test]
    fn every_bad_entry_is_named_with_its_place() {
        let found = problems(json!(["sumary", "summary", 7, {"classify": {"labels": ["a", "a"]}}, "summary"]));
        assert_eq!(found.len(), 4);
        assert!(found[0].starts_with("/0: `sumary` is no analysis; did you mean `summary`?"), "{}", found[0]);
        assert!(found[1].starts_with("/2: ") && found[1].ends_with("not a number"), "{}", found[1]);
        assert_eq!(found[2], "/3/classify/labels/1: the label `a` was given before");
        assert_eq!(found[3], "/4: `summary` is asked twice");
    }

    #[test]
    fn wrong_shapes_are_explained() {
        let cases = [
            (json!("summary"), ": a list of analyses is expected, not a string"),
            (json!([]), ": the list is empty: name at least one analysis, or leave it out"),
            (json!([{}]), "/0: an empty object names no analysis"),
            (
                json!([{"classify": {"labels": ["a"]}, "extract": {}}]),
                "/0: an analysis is one name; this object has 2 keys",
            ),
            (json!([{"classify": ["a"]}]), "/0/classify: an object with `labels` is expected, not a list"),
            (json!([{"classify": {}}]), "/0/classify: `labels` is missing"),
            (json!([{"classify": {"labels": []}}]), "/0/classify/labels: 0 labels were given; from 1 to 256 are taken"),
            (
                json!([{"classify": {"labels": ["a"], "top": 1}}]),
                "/0/classify: `top` is no parameter here; `labels` is the only one",
            ),
            (json!([{"classify": {"labels": [" "]}}]), "/0/classify/labels/0: the label is empty"),
            (json!([{"extract": {"schema": "object"}}]), "/0/extract/schema: a JSON Schema is an object, not a string"),
            (json!([{"summary": {}}]), "/0/summary: `summary` takes no parameters: write \"summary\""),
        ];
        for (list, said) in cases {
            assert_eq!(problems(list), [said]);
        }
        assert!(problems(json!(["classify"]))[0].contains("needs its labels"));
        assert!(problems(json!(["extract"]))[0].contains("needs its schema"));
    }

    #[test]
    fn the_answer_to_a_hostile_list_stays_short() {
        let list = Value::Array(vec![json!("x".repeat(10_000)); 10_000]);
        let found = problems(list);
        assert_eq!(found.len(), NAMES.len());
        assert!(found.iter().all(|line| line.len() < 300));
    }

    #[test]
    fn results_have_the_shapes_that_clients_read() {
        use longhaul_providers::analysis::{EntityKind, LabelScore, SentimentLabel};
        let results = [
            (AnalysisResult::Summary("s".into()), json!("s")),
            (
                AnalysisResult::Keywords(vec![Keyword { term: "t".into(), score: 1.5 }]),
                json!([{"term": "t", "score": 1.5}]),
            ),
            (
                AnalysisResult::Sentiment(Sentiment { label: SentimentLabel::Mixed, score: -0.5 }),
                json!({"label": "mixed", "score": -0.5}),
            ),
            (
                AnalysisResult::Entities(vec![Entity { text: "a".into(), kind: EntityKind::Person, start: 0, end: 1 }]),
                json!([{"text": "a", "type": "person", "start": 0, "end": 1}]),
            ),
            (
                AnalysisResult::Language(Language { code: "en".into(), confidence: 1.0 }),
                json!({"code": "en", "confidence": 1.0}),
            ),
            (
                AnalysisResult::Classify(Classification {
                    label: None,
                    confidence: 0.0,
                    scores: vec![LabelScore { label: "a".into(), score: 0.0 }],
                }),
                json!({"label": null, "confidence": 0.0, "scores": [{"label": "a", "score": 0.0}]}),
            ),
        ];
        for (result, shape) in results {
            assert_eq!(serde_json::to_value(&result).unwrap(), shape);
        }
    }
}
