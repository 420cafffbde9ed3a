//! `llm.chat`: `POST /v1/chat/completions` as a job.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::KindSpec;
use longhaul_engine::{Check, Completed, Executor, Failure, FieldError, JobContext};
use longhaul_gateway::{CallRecord, Gateway};
use longhaul_providers::{
    chat::{Accumulator, ChatResponse, StreamEvent},
    facade::ChatCall,
    openai::facade::{decode_request, encode_response},
    protocol::Delivery,
};
use serde_json::json;

use super::{call, failure, pointer::field_error};
use crate::spec;

/// The executor of `llm.chat`.
#[derive(Debug)]
pub struct Chat {
    kind: KindSpec,
    gateway: Gateway,
}

impl Chat {
    /// Over the models of a gateway.
    pub fn new(gateway: Gateway) -> Self {
        let input = json!({
            "type": "object",
            "description": "The body of `POST /v1/chat/completions`. With `stream`, the text is told as events.",
            "required": ["model", "messages"],
            "properties": {
                "model": {"type": "string", "description": "A model of the configuration."},
                "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            },
        });
        let output = json!({"type": "object", "description": "A `chat.completion`."});
        let mut kind = spec::kind("llm.chat", "Chats with a model.", input, output);
        kind.max_attempts = Some(1);
        Self { kind, gateway }
    }
}

#[async_trait]
impl Executor for Chat {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    fn check(&self) -> Option<&dyn Check> {
        Some(&Readable)
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let ChatCall { model, delivery, request, .. } =
            decode_request(job.input()).map_err(|error| Failure::permanent("input_unreadable", error.to_string()))?;
        let options = call::options(job);
        let request = Arc::new(request);
        let asked = async {
            match delivery {
                Delivery::Whole => match self.gateway.chat(&model, request, &options).await {
                    Ok(answered) => Ok((answered.response, answered.record)),
                    Err(error) => Err(failure::of_call(job, &error).await),
                },
                Delivery::Streamed => match self.gateway.chat_stream(&model, request, &options).await {
                    Ok(stream) => {
                        let (response, record) = told(job, stream).await?;
                        Ok((Arc::new(response), record))
                    }
                    Err(error) => Err(failure::of_call(job, &error).await),
                },
            }
        };
        let (response, record) = job.outside(asked).await?;
        let report = call::tell(job, &record).await?;
        let model = response.model.clone().unwrap_or(model);
        let output = encode_response(&response, &call::stamp(job, "chatcmpl-", model));
        Ok(Completed { output: output.into(), report })
    }
}

/// Tells the text as it comes, and gives the whole answer in the end.
pub(crate) async fn told(
    job: &JobContext,
    mut stream: longhaul_gateway::ChatStream,
) -> Result<(ChatResponse, CallRecord), Failure> {
    let mut whole = Accumulator::new();
    while let Some(event) = stream.next().await {
        match &event {
            StreamEvent::TextDelta { text } => job.emit_text(text).await.map_err(failure::amid_a_call)?,
            StreamEvent::Error(error) => {
                if let Some(record) = stream.record() {
                    call::tell(job, record).await?;
                }
                return Err(failure::of_stream(stream.record(), error));
            }
            _ => {}
        }
        whole.push(&event);
    }
    let record = stream.record().cloned().unwrap_or_default();
    Ok((whole.into_response(), record))
}

struct Readable;

impl Check for Readable {
    fn check(&self, input: &str) -> Vec<FieldError> {
        decode_request(input.as_bytes()).err().iter().map(field_error).collect()
    }
}
