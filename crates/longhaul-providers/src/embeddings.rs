//! Vectors for texts, in nobody's JSON.

use serde::Serialize;

use crate::chat::{Dialect, Usage};
use crate::json::Extra;

/// A request for one vector per text.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EmbeddingsRequest {
    /// What to embed.
    pub input: EmbeddingsInput,
    /// The wanted length of the vectors.
    pub dimensions: Option<u32>,
    /// The end user, opaque.
    pub user: Option<String>,
    /// Whose words `extra` is in.
    pub dialect: Dialect,
    /// Fields that one vendor alone has.
    pub extra: Extra,
}

/// What to embed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingsInput {
    /// Texts.
    Texts(Vec<String>),
    /// Texts that the caller has already cut into one model's tokens. Only OpenAI's protocol can carry them.
    Tokens(Vec<Vec<u32>>),
}

impl Default for EmbeddingsInput {
    fn default() -> Self {
        Self::Texts(Vec::new())
    }
}

impl EmbeddingsInput {
    /// How many vectors are asked for.
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Tokens(tokens) => tokens.len(),
        }
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The vectors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmbeddingsResponse {
    /// The model that made them, in the provider's words.
    pub model: Option<String>,
    /// One for each input, in their order, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// What it cost, if the provider says. There are no output tokens.
    pub usage: Option<Usage>,
}
