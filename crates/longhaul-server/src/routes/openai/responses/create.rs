//! `POST /v1/responses`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};
use bytes::Bytes;
use longhaul_core::{Caller, JobId};
use longhaul_engine::JobRequest;
use longhaul_gateway::{CallOptions, CallRecord};
use longhaul_providers::{
    protocol::Delivery,
    responses::facade::{
        ResponseStreamEncoder, ResponsesCall, Status, decode_request, encode_pending, encode_response,
    },
};
use longhaul_tasks::llm::{
    self,
    stored::{go_on, kept, stamp_of},
};

use super::{
    super::{metadata, refuse_unknown_model, wishes_of},
    Responses, follow, history,
    recent::{self, Claim},
};
use crate::{
    app::App,
    auth::Llm,
    facade::{EventStream, FacadeBody, Refusal, answer, call_options, event_stream, json, tell},
    observe::trace_of,
    prefer,
    request_id::RequestId,
    routes::jobs::create::REPLAYED,
};

/// Whether an answer can be asked for again, where it was to be and is not.
const STORED: HeaderName = HeaderName::from_static("longhaul-stored");

/// The route, as idempotency keys know it.
const ROUTE: &str = "/v1/responses";

/// Create a response
///
/// As OpenAI's route of this name, for every configured model. With `background` it is durable when this answers: poll
/// it, cancel it, read its stream from any event on, over restarts of the server.
#[utoipa::path(
    post, path = "/v1/responses", tag = "openai", operation_id = "create_response",
    request_body(content = inline(serde_json::Value), content_type = "application/json",
        description = "OpenAI's `CreateResponse`; `model` names a model of the configuration."),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat of a background call find the first one's response."),
        ("Cache-Control" = Option<String>, Header, description = "`no-cache`: ask anew, whatever the cache has."),
    ),
    responses((status = 200, description = "The response, or with `stream` its events.", content(
        (inline(serde_json::Value) = "application/json"), (String = "text/event-stream"))))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Llm(caller): Llm,
    request_id: RequestId,
    headers: HeaderMap,
    FacadeBody(body): FacadeBody,
) -> Result<Response, Refusal> {
    let mut call = decode_request(&body)?;
    if call.background {
        return in_background(&app, &caller, &headers, body, call).await;
    }
    go_on(&mut call, &Responses { app: &app, tenant: &caller.tenant }).await.map_err(history)?;
    let now = app.engine().clock().now();
    let at_once = AtOnce {
        job: JobId::fresh(&**app.engine().ids(), now),
        store: call.store,
        body,
        options: call_options(&caller, &request_id, &headers),
        caller,
        app,
    };
    // Parts of the connection's buffer, which is not to be held while the provider thinks.
    drop(headers);
    match call.delivery {
        Delivery::Whole => at_once.whole(call).await,
        Delivery::Streamed => at_once.streamed(call).await,
    }
}

/// A response that is answered while the client waits.
struct AtOnce {
    app: App,
    caller: Caller,
    job: JobId,
    store: bool,
    body: Bytes,
    options: CallOptions,
}

impl AtOnce {
    async fn whole(self, call: ResponsesCall) -> Result<Response, Refusal> {
        let answered = self.app.gateway().chat(&call.model, Arc::new(call.request), &self.options).await?;
        let completed_at = Some(self.app.engine().clock().now().as_millis() / 1_000);
        let stamp = stamp_of(self.job, call.model);
        let object = encode_response(&answered.response, &stamp, &call.echo, completed_at);
        let is_kept = self.keep(&object, &answered.record).await;
        let mut response = answer(object, &answered.record);
        if !is_kept {
            response.headers_mut().insert(STORED, HeaderValue::from_static("false"));
        }
        Ok(response)
    }

    async fn streamed(self, call: ResponsesCall) -> Result<Response, Refusal> {
        let stream = self.app.gateway().chat_stream(&call.model, Arc::new(call.request), &self.options).await?;
        let record = stream.opening_record();
        let encoder = ResponseStreamEncoder::new(stamp_of(self.job, call.model), call.echo);
        let clock = self.app.engine().clock().clone();
        let body = EventStream::kept(stream, encoder, clock, move |object: Vec<u8>, record: CallRecord| async move {
            self.keep(&object, &record).await;
        });
        let mut response = event_stream(body);
        tell(&mut response, &record);
        Ok(response)
    }

    /// Keeps an answer, so that it can be asked for again. One that cannot be kept is given all the same: it has been
    /// made and paid for.
    async fn keep(&self, object: &[u8], record: &CallRecord) -> bool {
        if !self.store {
            return true;
        }
        let Some(input) = kept(&self.body, object, llm::report(record)) else { return false };
        let request = JobRequest { id: Some(self.job), ..JobRequest::of(llm::KEPT, input) };
        match self.app.engine().submit(&self.caller.tenant, vec![request], None).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, job_id = %self.job, "an answer could not be kept");
                false
            }
        }
    }
}

async fn in_background(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    body: Bytes,
    mut call: ResponsesCall,
) -> Result<Response, Refusal> {
    // Refused now rather than in an hour; the conversation itself is read again when the job runs.
    go_on(&mut call, &Responses { app, tenant: &caller.tenant }).await.map_err(history)?;
    refuse_unknown_model(app, &call.model, "chat")?;
    let now = app.engine().clock().now();
    let idempotency = prefer::idempotency(headers, ROUTE, &body, now)?;
    let (job, replayed) = match (idempotency, app.0.recent.claim(app, caller, headers, &body).await?) {
        (None, Claim::Repeated(job)) => (job, true),
        (idempotency, claim) => {
            let job = JobId::fresh(&**app.engine().ids(), now);
            let trace = trace_of(headers);
            let mut pairs = wishes_of(headers);
            pairs.extend(recent::mark(caller, headers, &body));
            let metadata = metadata(pairs);
            let request = JobRequest { id: Some(job), trace, metadata, ..JobRequest::of(llm::RESPONSE, body) };
            let accepted = app.engine().submit(&caller.tenant, vec![request], idempotency).await?;
            let job = accepted.jobs.first().copied().unwrap_or(job);
            if let Claim::New(place) = claim {
                place.is(job);
            }
            (job, accepted.replayed)
        }
    };
    let mut response = match call.delivery {
        Delivery::Whole if replayed => {
            let (view, stored) = super::found(app, &caller.tenant, &super::response_id(job)).await?;
            json(super::object(&view, &stored)?)
        }
        Delivery::Whole => json(encode_pending(&stamp_of(job, call.model), &call.echo, Status::Queued)),
        Delivery::Streamed => follow::events(app, caller, headers, job, None).await?,
    };
    let headers = response.headers_mut();
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if let Ok(job) = HeaderValue::from_str(&job.to_string()) {
        headers.insert(HeaderName::from_static("longhaul-job"), job);
    }
    Ok(response)
}
