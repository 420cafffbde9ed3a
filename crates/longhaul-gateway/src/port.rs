//! The port: what a model can be asked, and how it fails.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use longhaul_providers::chat::ChatRequest;
use longhaul_providers::{ErrorClass, Operation};
use serde::Serialize;

use crate::analysis::{Analysis, AnalysisResult};

/// The answer of a model, to be awaited on any runtime.
pub type ModelFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ModelError>> + Send + 'a>>;

/// A model that text work can be given to.
///
/// Calls are stateless and may run concurrently. Dropping a future gives the call up.
pub trait Model: fmt::Debug + Send + Sync {
    /// The name that clients ask for.
    fn name(&self) -> &str;

    /// The name of the provider behind it.
    fn provider(&self) -> &str;

    /// What it can do, and how.
    fn capabilities(&self) -> &Capabilities;

    /// One vector for each text, in their order.
    fn embed<'a>(&'a self, texts: &'a [String]) -> ModelFuture<'a, Embeddings>;

    /// One analysis of a text.
    fn analyse<'a>(&'a self, text: &'a str, analysis: &'a Analysis) -> ModelFuture<'a, AnalysisResult>;

    /// An answer to a conversation, in words. Models that cannot chat refuse.
    fn chat(&self, request: Arc<ChatRequest>) -> ModelFuture<'_, Said> {
        let _ = request;
        let refused = self.require(Operation::Chat).err();
        let refused =
            refused.unwrap_or_else(|| ModelError::unsupported(format!("the model `{}` cannot chat", self.name())));
        Box::pin(std::future::ready(Err(refused)))
    }

    /// Refuses at once what this model cannot do, saying why; lets a request be turned down before it is queued.
    fn require(&self, operation: Operation) -> Result<(), ModelError> {
        if self.capabilities().can(operation) {
            return Ok(());
        }
        Err(ModelError::unsupported(format!("the model `{}` cannot {}", self.name(), operation.verb())))
    }
}

/// What a model can do, and what a caller must know to ask it well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// What it can be asked.
    pub operations: Vec<Operation>,
    /// The length of its vectors, if it makes any and the length is known before.
    pub embedding_dimensions: Option<usize>,
    /// Texts that one call to [`Model::embed`] takes.
    pub max_embed_texts: usize,
    /// Its calls compute instead of waiting: they never yield, so an async caller runs them on a blocking thread.
    pub cpu_bound: bool,
}

impl Capabilities {
    /// True if it can be asked this.
    pub fn can(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }
}

/// Vectors of texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Embeddings {
    /// What made them. Only vectors of the same name and dimensions can be compared.
    pub model: String,
    /// The length of each vector.
    pub dimensions: usize,
    /// One vector for each text, in their order.
    pub vectors: Vec<Vec<f32>>,
}

/// What a model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The words.
    pub text: String,
    /// What said them.
    pub model: String,
    /// It was not the first choice.
    pub degraded: bool,
}

/// Why a model did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// A stable name of the error, for machines.
    pub code: &'static str,
    /// Whose fault it is, and so whether trying again can help.
    pub class: ErrorClass,
    /// What happened, for people.
    pub message: String,
}

impl ModelError {
    /// What was asked is beyond the model.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self { code: "unsupported_operation", class: ErrorClass::Unsupported, message: message.into() }
    }
}
