//! A model of the gateway behind the port that tasks speak to.

use std::sync::Arc;

use longhaul_providers::chat::ChatRequest;
use longhaul_providers::embeddings::{EmbeddingsInput, EmbeddingsRequest};
use longhaul_providers::{ErrorClass, Operation};

use crate::analysis::{Analysis, AnalysisResult};
use crate::call::CallOptions;
use crate::error::{Failure, GatewayError};
use crate::gateway::Gateway;
use crate::port::{Capabilities, Embeddings, Model, ModelError, ModelFuture, Said};
use crate::settings::Serves;

/// Texts that one call for vectors takes: what OpenAI takes.
const MAX_EMBED_TEXTS: usize = 2_048;

/// What a model that chats can be asked: everything that can be put into words.
const CHAT: [Operation; 8] = [
    Operation::Chat,
    Operation::Summary,
    Operation::Keywords,
    Operation::Sentiment,
    Operation::Entities,
    Operation::Language,
    Operation::Classify,
    Operation::Extract,
];

/// A configured model, called through all its layers.
///
/// Tasks keep their own results per tenant. They call without naming a tenant, so no answer is taken from a cache.
#[derive(Debug, Clone)]
pub(crate) struct GatewayModel {
    gateway: Gateway,
    name: String,
    provider: String,
    capabilities: Capabilities,
}

impl GatewayModel {
    /// The model of this name, if the gateway has one.
    pub(crate) fn find(gateway: &Gateway, name: &str) -> Option<Self> {
        let model = gateway.find(name).ok()?;
        let operations = match model.settings.serves {
            Serves::Chat => CHAT.to_vec(),
            Serves::Embeddings => vec![Operation::Embed],
        };
        Some(Self {
            gateway: gateway.clone(),
            name: name.to_owned(),
            provider: model.targets.iter().next().map(|target| target.served.provider.to_string()).unwrap_or_default(),
            capabilities: Capabilities {
                operations,
                embedding_dimensions: model.settings.dimensions,
                max_embed_texts: MAX_EMBED_TEXTS,
                cpu_bound: false,
            },
        })
    }

    fn options() -> CallOptions {
        CallOptions::for_tenant("").skip_cache(true)
    }
}

impl Model for GatewayModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn provider(&self) -> &str {
        &self.provider
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> ModelFuture<'a, Embeddings> {
        Box::pin(async move {
            self.require(Operation::Embed)?;
            let request =
                EmbeddingsRequest { input: EmbeddingsInput::Texts(texts.to_vec()), ..EmbeddingsRequest::default() };
            let answer = self.gateway.embed(&self.name, Arc::new(request), &Self::options()).await?;
            let vectors = Arc::unwrap_or_clone(answer.response).vectors;
            // Which model made them decides what they can be compared with, so it is the target's name and not ours.
            let model = answer.record.upstream_model.as_deref().unwrap_or(&self.name).to_owned();
            Ok(Embeddings { model, dimensions: vectors.first().map_or(0, Vec::len), vectors })
        })
    }

    /// What is extracted is not held to its schema here: who can check it asks [`Gateway::analyse`].
    fn analyse<'a>(&'a self, text: &'a str, analysis: &'a Analysis) -> ModelFuture<'a, AnalysisResult> {
        Box::pin(async move {
            self.require(analysis.operation())?;
            let answer = self.gateway.analyse(&self.name, text, analysis, None, &Self::options()).await;
            Ok(answer.map_err(|failed| failed.why)?.result)
        })
    }

    fn chat(&self, request: Arc<ChatRequest>) -> ModelFuture<'_, Said> {
        Box::pin(async move {
            let answer = self.gateway.chat(&self.name, request, &Self::options()).await?;
            let model = answer.record.upstream_model.as_deref().unwrap_or(&self.name).to_owned();
            Ok(Said { text: answer.response.text(), model, degraded: answer.record.degraded })
        })
    }
}

impl From<GatewayError> for ModelError {
    fn from(error: GatewayError) -> Self {
        let class = match &error.failure {
            // Asked again at once it would only be told the same.
            Failure::Open { .. } | Failure::Full => ErrorClass::Throttled,
            _ => error.class(),
        };
        Self { code: error.code(), class, message: error.to_string() }
    }
}
