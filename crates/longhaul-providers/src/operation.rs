//! The kinds of text work that can be asked of a provider.

use std::fmt;

/// What can be asked of a provider of text work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A conversation.
    Chat,
    /// Vectors for texts.
    Embed,
    /// A shorter text.
    Summary,
    /// The terms that a text is about.
    Keywords,
    /// The attitude of a text.
    Sentiment,
    /// Names, dates, amounts.
    Entities,
    /// Which language a text is in.
    Language,
    /// Sorting a text among given labels.
    Classify,
    /// Filling a schema from a text.
    Extract,
}

impl Operation {
    /// The name used in requests and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Summary => "summary",
            Self::Keywords => "keywords",
            Self::Sentiment => "sentiment",
            Self::Entities => "entities",
            Self::Language => "language",
            Self::Classify => "classify",
            Self::Extract => "extract",
        }
    }

    /// What the operation does, to stand after "cannot".
    pub fn verb(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "make embeddings",
            Self::Summary => "summarize",
            Self::Keywords => "find keywords",
            Self::Sentiment => "judge sentiment",
            Self::Entities => "find entities",
            Self::Language => "detect the language",
            Self::Classify => "classify",
            Self::Extract => "extract data by a schema",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
