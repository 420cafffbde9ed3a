//! Calling models from jobs: where a call runs, and what its failure means.

use std::{panic, sync::Arc};

use longhaul_core::{JobError, ProviderError};
use longhaul_engine::{Failure, SchemaCompiler};
use longhaul_gateway::{
    Analysis, AnalysisResult, CallOptions, CallRecord, Embeddings, EmbeddingsAnswer, ErrorClass, Gateway, GatewayError,
    Model, ModelError, Models, Operation, UnknownModel,
};
use longhaul_providers::embeddings::{EmbeddingsInput, EmbeddingsRequest};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::asked::Schemas;

/// Why one part of a job has no result, as clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl TaskError {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

impl From<&ModelError> for TaskError {
    fn from(error: &ModelError) -> Self {
        Self::new(error.code, error.message.clone())
    }
}

impl From<&JobError> for TaskError {
    fn from(error: &JobError) -> Self {
        Self::new(&error.code, error.message.clone())
    }
}

/// The models, and the places for calls that compute instead of waiting.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    pub(crate) models: Arc<Models>,
    /// Bounds calls on blocking threads: more of them than cores only make each other late.
    cpu: Arc<Semaphore>,
    pub(crate) schemas: Schemas,
}

impl Calls {
    pub(crate) fn new(models: Arc<Models>, cpu_concurrency: usize, schemas: Arc<dyn SchemaCompiler>) -> Self {
        Self { models, cpu: Arc::new(Semaphore::new(cpu_concurrency.max(1))), schemas: Schemas(schemas) }
    }

    /// The model that is meant by a name that was given, or by the default of the kind, or by none.
    pub(crate) fn model(&self, given: Option<&str>, default: Option<&str>) -> Result<Arc<dyn Model>, UnknownModel> {
        self.models.get(given.or(default))
    }

    /// As [`Calls::model`], if it can do this.
    pub(crate) fn model_for(
        &self,
        given: Option<&str>,
        default: Option<&str>,
        operation: Operation,
    ) -> Result<Arc<dyn Model>, ModelError> {
        self.models.get_for(given.or(default), operation)
    }

    pub(crate) async fn analyse(
        &self,
        model: &Arc<dyn Model>,
        text: Arc<str>,
        analysis: Analysis,
    ) -> Result<AnalysisResult, ModelError> {
        if !model.capabilities().cpu_bound {
            return model.analyse(&text, &analysis).await;
        }
        let model = model.clone();
        self.compute(move |runtime| runtime.block_on(model.analyse(&text, &analysis))).await
    }

    pub(crate) async fn embed(&self, model: &Arc<dyn Model>, texts: Arc<[String]>) -> Result<Embeddings, ModelError> {
        if !model.capabilities().cpu_bound {
            return model.embed(&texts).await;
        }
        let model = model.clone();
        self.compute(move |runtime| runtime.block_on(model.embed(&texts))).await
    }

    /// As [`Calls::embed`], of a model of the gateway: the call is made as `options` say, and leaves a record.
    pub(crate) async fn embed_configured(
        &self,
        gateway: &Gateway,
        model: &Arc<dyn Model>,
        texts: Arc<[String]>,
        options: &CallOptions,
    ) -> Result<(Embeddings, CallRecord), GatewayError> {
        let input = EmbeddingsInput::Texts(texts.to_vec());
        let request = EmbeddingsRequest { input, ..EmbeddingsRequest::default() };
        let EmbeddingsAnswer { response, record } = gateway.embed(model.name(), Arc::new(request), options).await?;
        let vectors = Arc::unwrap_or_clone(response).vectors;
        // Which model made them decides what they can be compared with, so it is the target's name and not ours.
        let name = record.upstream_model.as_deref().unwrap_or(model.name()).to_owned();
        Ok((Embeddings { model: name, dimensions: vectors.first().map_or(0, Vec::len), vectors }, record))
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&tokio::runtime::Handle) -> Result<T, ModelError> + Send + 'static,
    ) -> Result<T, ModelError> {
        blocking(&self.cpu, move || work(&tokio::runtime::Handle::current()))
            .await
            .unwrap_or_else(|stopped| Err(stopped.into()))
    }

    /// Runs work that computes on a blocking thread, when there is a place for it. The place is held until the work is
    /// over, also when nobody waits for it any more.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        blocking(&self.cpu, work).await
    }
}

/// A computation that gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It panicked.
    Panicked,
    /// The runtime is shutting down.
    ShuttingDown,
}

async fn blocking<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopped> {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.map_err(|_| Stopped::ShuttingDown)?;
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        panic::catch_unwind(panic::AssertUnwindSafe(work))
    });
    match done.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(Stopped::Panicked),
        Err(_) => Err(Stopped::ShuttingDown),
    }
}

impl From<Stopped> for ModelError {
    fn from(stopped: Stopped) -> Self {
        let (class, message) = match stopped {
            // What computes gives the same again.
            Stopped::Panicked => (ErrorClass::Permanent, "the model failed unexpectedly on this input"),
            Stopped::ShuttingDown => (ErrorClass::Transient, "the server is shutting down"),
        };
        Self { code: "model_failed", class, message: message.to_owned() }
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Panicked => Failure::permanent("internal", "the code of this step failed unexpectedly"),
            Stopped::ShuttingDown => Failure::Interrupted,
        }
    }
}

/// The failure of a job, or of a step of it, because a model did not answer.
pub(crate) fn failure(model: &Arc<dyn Model>, error: ModelError) -> Failure {
    let provider = ProviderError { name: model.provider().to_owned(), http_status: None, request_id: None };
    Failure::from(JobError {
        code: error.code.to_owned(),
        message: error.message,
        retryable: error.class.is_retryable(),
        attempt: 0,
        provider: Some(provider),
    })
}
