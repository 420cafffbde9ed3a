//! `llm.embeddings`: `POST /v1/embeddings` as a job.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::KindSpec;
use longhaul_engine::{Check, Completed, Executor, Failure, FieldError, JobContext};
use longhaul_gateway::Gateway;
use longhaul_providers::openai::facade::{EmbeddingsCall, decode_embeddings_request, encode_embeddings};
use serde_json::json;

use super::{call, failure, pointer::field_error};
use crate::spec;

/// The executor of `llm.embeddings`.
#[derive(Debug)]
pub struct Embeddings {
    kind: KindSpec,
    gateway: Gateway,
}

impl Embeddings {
    /// Over the models of a gateway.
    pub fn new(gateway: Gateway) -> Self {
        let input = json!({
            "type": "object",
            "description": "The body of `POST /v1/embeddings`.",
            "required": ["model", "input"],
            "properties": {
                "model": {"type": "string", "description": "A model of the configuration."},
                "input": {"description": "A text, texts, tokens, or lists of tokens."},
                "encoding_format": {"enum": ["float", "base64", null]},
            },
        });
        let output = json!({"type": "object", "description": "A `list` of `embedding`s."});
        let mut kind = spec::kind("llm.embeddings", "Makes vectors of texts.", input, output);
        kind.max_attempts = Some(1);
        Self { kind, gateway }
    }
}

#[async_trait]
impl Executor for Embeddings {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    fn check(&self) -> Option<&dyn Check> {
        Some(&Readable)
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let EmbeddingsCall { model, format, request } = decode_embeddings_request(job.input())
            .map_err(|error| Failure::permanent("input_unreadable", error.to_string()))?;
        let options = call::options(job);
        let asked = async {
            match self.gateway.embed(&model, Arc::new(request), &options).await {
                Ok(answered) => Ok(answered),
                Err(error) => Err(failure::of_call(job, &error).await),
            }
        };
        let answered = job.outside(asked).await?;
        let report = call::tell(job, &answered.record).await?;
        let model = answered.response.model.as_deref().unwrap_or(&model);
        let output = encode_embeddings(&answered.response, model, format);
        Ok(Completed { output: output.into(), report })
    }
}

struct Readable;

impl Check for Readable {
    fn check(&self, input: &str) -> Vec<FieldError> {
        decode_embeddings_request(input.as_bytes()).err().iter().map(field_error).collect()
    }
}
