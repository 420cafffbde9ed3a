//! The output of `analysis`.

use std::collections::BTreeMap;

use longhaul_gateway::{AnalysisResult, Classification, Entity, Keyword, Language, Sentiment};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::TaskError;

/// What the analyses gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisOutput {
    /// The results of those that succeeded.
    pub results: AnalysisResults,
    /// Why the others have none, by the name of the analysis.
    pub errors: BTreeMap<String, TaskError>,
    /// The analyses that another than the model's first target answered: one further down its list, or `local`.
    pub degraded: Vec<String>,
    /// The model that was asked.
    pub model: String,
}

impl AnalysisOutput {
    pub(crate) fn of_model(model: &str) -> Self {
        Self {
            results: AnalysisResults::default(),
            errors: BTreeMap::new(),
            degraded: Vec::new(),
            model: model.to_owned(),
        }
    }
}

/// One result for each analysis that was asked for and succeeded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AnalysisResults {
    /// A shorter text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The terms that it is about, best first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Vec<Keyword>>,
    /// Its attitude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentiment: Option<Sentiment>,
    /// Names, dates, amounts, in the order of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<Vec<Entity>>,
    /// Which language it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Which of the labels fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classify: Option<Classification>,
    /// An instance of the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<Value>,
}

impl AnalysisResults {
    /// The answer to one analysis.
    pub(crate) fn of(result: AnalysisResult) -> Self {
        let mut results = Self::default();
        match result {
            AnalysisResult::Summary(summary) => results.summary = Some(summary),
            AnalysisResult::Keywords(keywords) => results.keywords = Some(keywords),
            AnalysisResult::Sentiment(sentiment) => results.sentiment = Some(sentiment),
            AnalysisResult::Entities(entities) => results.entities = Some(entities),
            AnalysisResult::Language(language) => results.language = Some(language),
            AnalysisResult::Classify(classification) => results.classify = Some(classification),
            AnalysisResult::Extract(instance) => results.extract = Some(instance),
        }
        results
    }

    /// Takes over what `other` has.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { summary, keywords, sentiment, entities, language, classify, extract } = other;
        self.summary = summary.or(self.summary.take());
        self.keywords = keywords.or(self.keywords.take());
        self.sentiment = sentiment.or(self.sentiment.take());
        self.entities = entities.or(self.entities.take());
        self.language = language.or(self.language.take());
        self.classify = classify.or(self.classify.take());
        self.extract = extract.or(self.extract.take());
    }
}
