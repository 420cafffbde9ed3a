//! `llm.response`: `POST /v1/responses` in the background.
//!
//! With `stream`, every event but the first three and the last is kept as an item of the output; those four follow from
//! the request and the end of the job, so readers make them ([`EventJoiner`](super::EventJoiner) and
//! `responses::facade` in `longhaul-providers`). When the server dies within the answer, the attempt after it
//! finds what was told and does as the model's `on_interrupt` says:
//!
//! - `restart`: what is open is closed as incomplete, and a new item is told from the start;
//! - `continue`: the model is asked to go on from the text that was told, if text is all there was and one of its targets
//!   can; else as `restart`;
//! - `fail`: the response has failed.
//!
//! A response that is only polled is simply asked for again.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::{EventKind, JobId, KindSpec, OutputData, Payload};
use longhaul_engine::{
    Check, Completed, Executor, Failure, FieldError, JobContext,
    store::{JobView, StoreError},
};
use longhaul_gateway::{ChatStream, ErrorClass, Gateway, GatewayError, settings::OnInterrupt};
use longhaul_providers::{
    chat::{ChatRequest, StreamEvent},
    facade::{Frame, StreamEncoder as _},
    protocol::Delivery,
    responses::facade::{ResponseStreamEncoder, ResponsesCall, decode_request, encode_response},
};
use serde_json::{json, value::RawValue};

use super::{
    call, failure,
    frames::{EventJoiner, items_of},
    pointer::field_error,
    stored::{HistoryError, Shelf, go_on, stamp_of},
};
use crate::spec;

/// How many events are read at once.
const PAGE: usize = 512;

/// The executor of `llm.response`.
#[derive(Debug)]
pub struct Response {
    kind: KindSpec,
    gateway: Gateway,
}

impl Response {
    /// Over the models of a gateway.
    pub fn new(gateway: Gateway) -> Self {
        let input = json!({
            "type": "object",
            "description": "The body of `POST /v1/responses`. With `stream`, its events are told as items of the output.",
            "required": ["model", "input"],
            "properties": {
                "model": {"type": "string", "description": "A model of the configuration."},
                "input": {"type": ["string", "array"], "description": "A text, or items."},
            },
        });
        let output = json!({"type": "object", "description": "A `response`."});
        let mut kind =
            spec::kind(super::RESPONSE, "Answers in the background, as OpenAI's responses do.", input, output);
        kind.max_attempts = Some(1);
        Self { kind, gateway }
    }

    async fn whole(&self, job: &JobContext, call: ResponsesCall) -> Result<Completed, Failure> {
        let options = call::options(job);
        let asked = async {
            match self.gateway.chat(&call.model, Arc::new(call.request), &options).await {
                Ok(answered) => Ok(answered),
                Err(error) => Err(failure::of_call(job, &error).await),
            }
        };
        let answered = job.outside(asked).await?;
        let report = call::tell(job, &answered.record).await?;
        let stamp = stamp_of(job.id(), call.model);
        let output = encode_response(&answered.response, &stamp, &call.echo, Some(call::now(job)));
        Ok(Completed { output: output.into(), report })
    }

    async fn streamed(&self, job: &JobContext, call: ResponsesCall) -> Result<Completed, Failure> {
        let ResponsesCall { model, echo, request, .. } = call;
        let mut rest = None;
        let stamp = stamp_of(job.id(), model.clone());
        let mut encoder = ResponseStreamEncoder::new(stamp.clone(), echo.clone());
        let prelude = encoder.prelude();
        let told = told(job).await?;
        if !told.is_empty() {
            let events = prelude.iter().map(|frame| frame.data.as_str()).chain(told.iter().map(String::as_str));
            encoder = ResponseStreamEncoder::recover(stamp, echo, events)
                .map_err(|error| Failure::permanent("stream_unreadable", error.to_string()))?;
            rest = self.rest(&model, &encoder, &request)?;
            if rest.is_none() {
                begin_anew(job, &mut encoder).await?;
            }
        }
        let options = call::options(job);
        let asked = async {
            let mut opened = match rest {
                Some(rest) => Some(self.gateway.chat_stream(&model, Arc::new(rest), &options).await),
                None => None,
            };
            if let Some(Err(error)) = &opened
                && is_unable(error)
            {
                call::tell(job, &error.record).await?;
                begin_anew(job, &mut encoder).await?;
                opened = None;
            }
            let opened = match opened {
                Some(opened) => opened,
                None => self.gateway.chat_stream(&model, Arc::new(request), &options).await,
            };
            match opened {
                Ok(stream) => pump(job, stream, &mut encoder).await,
                Err(error) => Err(failure::of_call(job, &error).await),
            }
        };
        job.outside(asked).await
    }

    /// What an attempt asks for after an earlier one has told something: the rest of it; or, if none, all of it.
    fn rest(
        &self,
        model: &str,
        encoder: &ResponseStreamEncoder,
        request: &ChatRequest,
    ) -> Result<Option<ChatRequest>, Failure> {
        let settings = self.gateway.settings();
        let on_interrupt = settings.models.get(model).map(|model| model.on_interrupt).unwrap_or_default();
        match (on_interrupt, encoder.open_text()) {
            (OnInterrupt::Fail, _) => {
                let why = "the server was interrupted within the answer, and the model's `on_interrupt` is `fail`";
                Err(Failure::permanent("interrupted", why))
            }
            (OnInterrupt::Continue, Some(text)) if !text.is_empty() => Ok(Some(request.going_on_from(text))),
            (OnInterrupt::Continue | OnInterrupt::Restart, _) => Ok(None),
        }
    }
}

/// No target can be asked for the rest of an answer, or the one that was does not take its beginning.
fn is_unable(error: &GatewayError) -> bool {
    matches!(error.class(), ErrorClass::Unsupported | ErrorClass::Caller)
}

/// Closes what an earlier attempt has left open.
async fn begin_anew(job: &JobContext, encoder: &mut ResponseStreamEncoder) -> Result<(), Failure> {
    let mut frames = Vec::new();
    encoder.interrupt(&mut frames);
    emit(job, &mut frames).await
}

#[async_trait]
impl Executor for Response {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    fn check(&self) -> Option<&dyn Check> {
        Some(&Readable)
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let mut call =
            decode_request(job.input()).map_err(|error| Failure::permanent("input_unreadable", error.to_string()))?;
        go_on(&mut call, &OwnShelf(job)).await.map_err(|error| match error {
            HistoryError::Request(error) => {
                Failure::permanent(error.code.unwrap_or("invalid_request"), error.to_string())
            }
            HistoryError::Search(failure) => failure,
        })?;
        match call.delivery {
            Delivery::Whole => self.whole(job, call).await,
            Delivery::Streamed => self.streamed(job, call).await,
        }
    }
}

/// The responses of the job's tenant.
struct OwnShelf<'a>(&'a JobContext);

#[async_trait]
impl Shelf for OwnShelf<'_> {
    type Error = Failure;

    async fn job(&self, job: JobId) -> Result<Arc<JobView>, StoreError> {
        self.0.store().job(self.0.tenant(), job).await
    }

    async fn read(&self, payload: &Payload) -> Result<Bytes, Failure> {
        self.0.read(payload).await
    }
}

/// Tells the answer as it comes. The last event is not kept: it is the job's end.
async fn pump(
    job: &JobContext,
    mut stream: ChatStream,
    encoder: &mut ResponseStreamEncoder,
) -> Result<Completed, Failure> {
    let mut frames = Vec::new();
    while let Some(event) = stream.next().await {
        match &event {
            StreamEvent::Error(error) => {
                if let Some(record) = stream.record() {
                    call::tell(job, record).await?;
                }
                return Err(failure::of_stream(stream.record(), error));
            }
            StreamEvent::Finished(_) => encoder.set_completed_at(Some(call::now(job))),
            _ => {}
        }
        encoder.push(&event, &mut frames);
        if encoder.is_ended() {
            frames.pop();
        }
        emit(job, &mut frames).await.map_err(failure::amid_a_call)?;
    }
    let record = stream.record().cloned().unwrap_or_default();
    let report = call::tell(job, &record).await?;
    Ok(Completed { output: encoder.object().into(), report })
}

async fn emit(job: &JobContext, frames: &mut Vec<Frame>) -> Result<(), Failure> {
    for frame in frames.drain(..) {
        for item in items_of(frame.data) {
            let raw = RawValue::from_string(item)
                .map_err(|error| Failure::permanent("output_unserialisable", error.to_string()))?;
            job.emit_item(&raw).await?;
        }
    }
    Ok(())
}

/// The events that earlier attempts have told, in order.
async fn told(job: &JobContext) -> Result<Vec<String>, Failure> {
    let mut events = Vec::new();
    let mut joiner = EventJoiner::default();
    let mut after = 0;
    loop {
        let page = job.store().events(job.tenant(), job.id(), after, PAGE).await?;
        let is_last = page.len() < PAGE;
        for event in page {
            after = event.seq;
            if let EventKind::OutputDelta { data: OutputData::Items(items) } = event.kind {
                events.extend(items.iter().filter_map(|item| joiner.take(item)));
            }
        }
        if is_last {
            return Ok(events);
        }
    }
}

struct Readable;

impl Check for Readable {
    fn check(&self, input: &str) -> Vec<FieldError> {
        decode_request(input.as_bytes()).err().iter().map(field_error).collect()
    }
}
