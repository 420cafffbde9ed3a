//! The built-in model `local`, and how its errors are classed.

use longhaul_providers::local::{EMBEDDING_MODEL, Local, LocalError};
use longhaul_providers::{ErrorClass, Operation};

use crate::analysis::{Analysis, AnalysisResult};
use crate::port::{Capabilities, Embeddings, Model, ModelError, ModelFuture};

/// The name of the built-in model, which is there without any configuration.
pub const LOCAL_MODEL: &str = "local";

const OPERATIONS: [Operation; 7] = [
    Operation::Embed,
    Operation::Summary,
    Operation::Keywords,
    Operation::Sentiment,
    Operation::Entities,
    Operation::Language,
    Operation::Classify,
];

/// The local provider as a model. Its futures compute when first polled and are ready at once.
#[derive(Debug, Clone)]
pub struct LocalModel {
    local: Local,
    capabilities: Capabilities,
}

impl Default for LocalModel {
    fn default() -> Self {
        Self::new(Local::default())
    }
}

impl LocalModel {
    /// The model `local` with this provider behind it.
    pub fn new(local: Local) -> Self {
        let capabilities = Capabilities {
            operations: OPERATIONS.to_vec(),
            embedding_dimensions: Some(local.dimensions()),
            max_embed_texts: local.limits().max_texts,
            cpu_bound: true,
        };
        Self { local, capabilities }
    }

    fn answer(&self, text: &str, analysis: &Analysis) -> Result<AnalysisResult, ModelError> {
        Ok(match analysis {
            Analysis::Summary => AnalysisResult::Summary(self.local.summary(text)?),
            Analysis::Keywords => AnalysisResult::Keywords(self.local.keywords(text)?),
            Analysis::Sentiment => AnalysisResult::Sentiment(self.local.sentiment(text)?),
            Analysis::Entities => AnalysisResult::Entities(self.local.entities(text)?),
            Analysis::Language => AnalysisResult::Language(self.local.language(text)?),
            Analysis::Classify { labels } => AnalysisResult::Classify(self.local.classify(text, labels)?),
            Analysis::Extract { .. } => return Err(self.local.extract().into()),
        })
    }
}

impl Model for LocalModel {
    fn name(&self) -> &str {
        LOCAL_MODEL
    }

    fn provider(&self) -> &str {
        "local"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> ModelFuture<'a, Embeddings> {
        Box::pin(async move {
            let vectors = self.local.embed(texts)?;
            Ok(Embeddings { model: EMBEDDING_MODEL.to_owned(), dimensions: self.local.dimensions(), vectors })
        })
    }

    fn analyse<'a>(&'a self, text: &'a str, analysis: &'a Analysis) -> ModelFuture<'a, AnalysisResult> {
        Box::pin(async move { self.answer(text, analysis) })
    }

    fn require(&self, operation: Operation) -> Result<(), ModelError> {
        Local::unsupported(operation).map_or(Ok(()), |error| Err(error.into()))
    }
}

impl From<LocalError> for ModelError {
    fn from(error: LocalError) -> Self {
        let class = match error {
            LocalError::EmptyText { .. }
            | LocalError::TextTooLong { .. }
            | LocalError::TextCount { .. }
            | LocalError::Labels { .. }
            | LocalError::Dimensions { .. } => ErrorClass::Caller,
            LocalError::UnsupportedLanguage { .. } | LocalError::Unsupported { .. } => ErrorClass::Unsupported,
        };
        Self { code: error.code(), class, message: error.to_string() }
    }
}
