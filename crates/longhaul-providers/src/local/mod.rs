//! The built-in provider: text algorithms that run offline, on the CPU, and give the same answer every time.
//!
//! These are classical algorithms, not language models, and each is called by its name: feature hashing for
//! [embeddings](Local::embed), TextRank for the [summary](Local::summary), RAKE for [keywords](Local::keywords), a word
//! list for [sentiment](Local::sentiment), rules for [entities](Local::entities), letter trigrams for
//! [language](Local::language), BM25 for [search](Bm25). They count and compare the words that are there; none
//! understands a text. What they cannot do at all is refused with [`LocalError::Unsupported`], never imitated.
//!
//! Everything is a pure function of its input: no clock, no network, no state. Work is bounded by [`Limits`], checked
//! before anything else, and grows about linearly with the text. The calls are synchronous and may hold a core for up
//! to a second on the largest texts, so a caller inside an async runtime moves them to a blocking thread.

mod bm25;
mod classify;
mod embed;
mod entities;
mod gazetteer;
mod keywords;
mod language;
mod lexicon;
mod sentences;
mod sentiment;
mod stopwords;
mod summary;
mod words;

pub use bm25::{Bm25, Bm25Builder, Hit};
pub use embed::EMBEDDING_MODEL;
pub use summary::SummaryLength;

use crate::Operation;
use crate::analysis::{Classification, Entity, Keyword, Language, Sentiment};

const CHAT: &str = "it has no language model; configure a provider and a model that have one, and name that model";
const EXTRACT: &str =
    "filling a schema takes a language model; configure a provider and a model that have one, and name that model";

/// What one call may ask for. All of it bounds memory and time; none of it depends on load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Unicode scalar values of one text. Default 4,000,000: a book of 1,500 pages, some seconds of work at most.
    pub max_chars: usize,
    /// Texts of one call to embed. Default 2,048, the number that hosted embedding services take.
    pub max_texts: usize,
    /// Labels of one classification. Default 256.
    pub max_labels: usize,
    /// Unicode scalar values of one label. Default 512.
    pub max_label_chars: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_chars: 4_000_000, max_texts: 2_048, max_labels: 256, max_label_chars: 512 }
    }
}

/// Why the local provider did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// Nothing to read: the text is empty or only white space.
    #[error("{what} is empty: there is nothing to read in it")]
    EmptyText {
        /// Which text, in words.
        what: String,
    },
    /// The text is above [`Limits::max_chars`].
    #[error("{what} has {chars} characters; at most {max} are taken")]
    TextTooLong {
        /// Which text, in words.
        what: String,
        /// Its length in Unicode scalar values.
        chars: usize,
        /// The limit.
        max: usize,
    },
    /// More texts than [`Limits::max_texts`], or none.
    #[error("{count} texts were given; from 1 to {max} are taken in one call")]
    TextCount {
        /// How many came.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// Labels that nothing can be sorted into.
    #[error("{problem}")]
    Labels {
        /// What is wrong with them.
        problem: String,
    },
    /// The dimensions of the embedding are out of range.
    #[error("{dimensions} dimensions were asked for; from {min} to {max} are possible")]
    Dimensions {
        /// What was asked for.
        dimensions: usize,
        /// The fewest possible.
        min: usize,
        /// The most possible.
        max: usize,
    },
    /// The text is in a language for which this algorithm has no data.
    #[error("{operation} knows English only, and this text seems to be in another language ({language})")]
    UnsupportedLanguage {
        /// What was asked for.
        operation: Operation,
        /// BCP 47 tag of the language that was detected.
        language: String,
    },
    /// A classical algorithm cannot do this at all.
    #[error("the local provider cannot {}: {why}", operation.verb())]
    Unsupported {
        /// What was asked for.
        operation: Operation,
        /// Why not, and what to do instead.
        why: &'static str,
    },
}

impl LocalError {
    /// A stable name of the error, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyText { .. } => "empty_text",
            Self::TextTooLong { .. } => "text_too_long",
            Self::TextCount { .. } => "text_count",
            Self::Labels { .. } => "invalid_labels",
            Self::Dimensions { .. } => "invalid_dimensions",
            Self::UnsupportedLanguage { .. } => "unsupported_language",
            Self::Unsupported { .. } => "unsupported_operation",
        }
    }
}

/// The local provider.
///
/// ```
/// use longhaul_providers::local::Local;
/// let local = Local::default();
/// let vectors = local.embed(&["The cat sleeps.", "A sleeping cat."])?;
/// assert_eq!(vectors[0].len(), local.dimensions());
/// # Ok::<(), longhaul_providers::local::LocalError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Local {
    dimensions: usize,
    limits: Limits,
}

impl Default for Local {
    fn default() -> Self {
        Self { dimensions: embed::DEFAULT_DIMENSIONS, limits: Limits::default() }
    }
}

impl Local {
    /// A provider whose embeddings have `dimensions` entries (16 to 4,096; the default is 512).
    pub fn new(dimensions: usize, limits: Limits) -> Result<Self, LocalError> {
        let (min, max) = (embed::MIN_DIMENSIONS, embed::MAX_DIMENSIONS);
        if !(min..=max).contains(&dimensions) {
            return Err(LocalError::Dimensions { dimensions, min, max });
        }
        Ok(Self { dimensions, limits })
    }

    /// The length of the vectors of [`embed`](Self::embed).
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// What one call may ask for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// One vector of length 1 for each text: signed hashes of its words, word pairs and letter n-grams.
    ///
    /// Texts that share words or parts of words are near each other (dot product towards 1); others are near 0. Nothing
    /// was learned, so synonyms are strangers.
    pub fn embed<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>, LocalError> {
        let max = self.limits.max_texts;
        if texts.is_empty() || texts.len() > max {
            return Err(LocalError::TextCount { count: texts.len(), max });
        }
        for (index, text) in texts.iter().enumerate() {
            self.check(text.as_ref(), || format!("text {index}"))?;
        }
        Ok(texts.iter().map(|text| embed::embed(text.as_ref(), self.dimensions)).collect())
    }

    /// The sentences of the text that its other sentences have most words in common with (TextRank), in their order.
    ///
    /// Every sentence of the answer stands in the text. Of a long text, 400 sentences spread over the whole of it are
    /// compared; see [`SummaryLength`].
    pub fn summary(&self, text: &str) -> Result<String, LocalError> {
        self.summary_of_length(text, SummaryLength::default())
    }

    /// As [`summary`](Self::summary), with a length of the caller's choice.
    pub fn summary_of_length(&self, text: &str, length: SummaryLength) -> Result<String, LocalError> {
        self.check_text(text)?;
        Ok(summary::summary(text, length))
    }

    /// At most ten terms that the text is about (RAKE), best first.
    pub fn keywords(&self, text: &str) -> Result<Vec<Keyword>, LocalError> {
        self.check_text(text)?;
        Ok(keywords::keywords(text))
    }

    /// The attitude of an English text, by a list of words with negation and intensifiers.
    ///
    /// A text that is clearly in another language is refused rather than called neutral.
    pub fn sentiment(&self, text: &str) -> Result<Sentiment, LocalError> {
        self.check_text(text)?;
        sentiment::sentiment(text)
    }

    /// E-mail and web addresses, dates, amounts, percentages, telephone numbers and capitalised names, by rules.
    pub fn entities(&self, text: &str) -> Result<Vec<Entity>, LocalError> {
        self.check_text(text)?;
        Ok(entities::entities(text))
    }

    /// The language of the text, by script and letter trigrams.
    pub fn language(&self, text: &str) -> Result<Language, LocalError> {
        self.check_text(text)?;
        Ok(language::detect(text))
    }

    /// Sorts the text among the labels by the words that it shares with each.
    ///
    /// A label may explain itself: `"billing: invoice, charge, refund"` matches texts with any of these words.
    pub fn classify<T: AsRef<str>>(&self, text: &str, labels: &[T]) -> Result<Classification, LocalError> {
        self.check_text(text)?;
        classify::check_labels(labels, &self.limits)?;
        Ok(classify::classify(text, labels, self.dimensions))
    }

    /// The error for what no classical algorithm does, or `None` for what this provider does.
    pub fn unsupported(operation: Operation) -> Option<LocalError> {
        let why = match operation {
            Operation::Chat => CHAT,
            Operation::Extract => EXTRACT,
            Operation::Embed
            | Operation::Summary
            | Operation::Keywords
            | Operation::Sentiment
            | Operation::Entities
            | Operation::Language
            | Operation::Classify => return None,
        };
        Some(LocalError::Unsupported { operation, why })
    }

    /// Filling a schema is beyond every algorithm here.
    pub fn extract(&self) -> LocalError {
        LocalError::Unsupported { operation: Operation::Extract, why: EXTRACT }
    }

    fn check_text(&self, text: &str) -> Result<(), LocalError> {
        self.check(text, || "the text".to_owned())
    }

    fn check(&self, text: &str, what: impl Fn() -> String) -> Result<(), LocalError> {
        if text.trim().is_empty() {
            return Err(LocalError::EmptyText { what: what() });
        }
        let max = self.limits.max_chars;
        // Bytes bound scalar values from above, so that most texts need not be counted.
        if text.len() > max {
            let chars = text.chars().count();
            if chars > max {
                return Err(LocalError::TextTooLong { what: what(), chars, max });
            }
        }
        Ok(())
    }
}

/// Four decimals: enough to compare, and the same digits on every machine.
fn round4(value: f64) -> f64 {
    let rounded = (value * 10_000.0).round() / 10_000.0;
    if rounded == 0.0 { 0.0 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_or_too_much_is_refused_by_name() {
        let limits = Limits { max_chars: 10, max_texts: 2, ..Limits::default() };
        let local = Local::new(64, limits).unwrap();
        let cases = [
            (local.summary(" \n").unwrap_err(), "empty_text", "the text is empty"),
            (local.summary("eleven char").unwrap_err(), "text_too_long", "11 characters; at most 10"),
            (local.embed(&["a", "\t"]).unwrap_err(), "empty_text", "text 1 is empty"),
            (local.embed(&["a", "b", "c"]).unwrap_err(), "text_count", "3 texts"),
            (local.embed::<&str>(&[]).unwrap_err(), "text_count", "0 texts"),
            (local.classify("a", &[""; 0]).unwrap_err(), "invalid_labels", "no labels"),
            (Local::new(8, limits).unwrap_err(), "invalid_dimensions", "8 dimensions"),
            (local.extract(), "unsupported_operation", "cannot extract data by a schema"),
        ];
        for (error, code, said) in cases {
            assert_eq!(error.code(), code);
            assert!(error.to_string().contains(said), "{error}");
        }
        assert!(local.summary("ten chars.").is_ok() && local.language("éééééééééé").is_ok(), "characters, not bytes");
    }

    #[test]
    fn only_what_takes_a_language_model_is_unsupported() {
        for operation in [Operation::Chat, Operation::Extract] {
            assert_eq!(Local::unsupported(operation).unwrap().code(), "unsupported_operation");
        }
        assert_eq!(Local::unsupported(Operation::Summary), None);
    }
}
