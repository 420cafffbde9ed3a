//! The answers of text analyses, in the shape in which clients read them.
//!
//! These are plain data. Every provider answers in them, so that a client need not know which one answered. Offsets
//! count **Unicode scalar values** (what Python calls a character), never bytes or UTF-16 units.

use serde::{Deserialize, Serialize};

/// A term that stands for what a text is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keyword {
    /// The term, in lower case.
    pub term: String,
    /// Its weight. Comparable within one answer only.
    pub score: f64,
}

/// The attitude of a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sentiment {
    /// The attitude in one word.
    pub label: SentimentLabel,
    /// From -1 (wholly negative) to 1 (wholly positive).
    pub score: f64,
}

/// The attitude of a text in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SentimentLabel {
    /// Mostly approving.
    Positive,
    /// Mostly disapproving.
    Negative,
    /// No attitude found.
    Neutral,
    /// Strong approval and strong disapproval side by side.
    Mixed,
}

/// Something in a text that has a name, or a form of its own such as a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// The words as they stand in the text.
    pub text: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntityKind,
    /// Where it starts, in Unicode scalar values from the start of the text.
    pub start: usize,
    /// Where it ends (exclusive), in Unicode scalar values from the start of the text.
    pub end: usize,
}

/// What an entity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    /// An e-mail address.
    Email,
    /// An address on the web.
    Url,
    /// A day, or a month of a year.
    Date,
    /// An amount of money.
    Money,
    /// A percentage.
    Percent,
    /// A telephone number.
    Phone,
    /// A human being.
    Person,
    /// A company, an authority, an association.
    Organization,
    /// A country, a city, a region.
    Location,
    /// A proper name of which nothing more is known.
    Name,
}

/// The language of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Language {
    /// A BCP 47 tag such as `en` or `zh`; `und` when it cannot be told.
    pub code: String,
    /// From 0 to 1.
    pub confidence: f64,
}

/// How a text was sorted among the caller's labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// The best label, or `null` when the text gives no evidence for any.
    pub label: Option<String>,
    /// From 0 to 1: how far the best label is ahead of the next.
    pub confidence: f64,
    /// Every label with its score from 0 to 1, best first.
    pub scores: Vec<LabelScore>,
}

/// The score of one label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelScore {
    /// The label as the caller wrote it.
    pub label: String,
    /// From 0 (no evidence) to 1.
    pub score: f64,
}
