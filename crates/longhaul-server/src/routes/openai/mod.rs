//! OpenAI's API, for any provider: chat completions, embeddings, models, responses.
//!
//! A synchronous call goes to the gateway and touches neither engine nor store. `Prefer: respond-async` and
//! `background` make it a job. Answers and refusals are in OpenAI's words.

pub(crate) mod chat;
pub(crate) mod embeddings;
pub(crate) mod models;
pub(crate) mod responses;

use axum::{extract::Request, http::HeaderMap, middleware::Next, response::Response};
use bytes::Bytes;
use longhaul_core::Caller;
use longhaul_engine::JobRequest;
use serde::Serialize;
use utoipa::ToSchema;

use super::jobs::create;
use crate::{
    app::App,
    facade::{Refusal, Vendor, shape},
    observe::trace_of,
    prefer,
};

/// The layer of all routes here.
pub(crate) async fn words(request: Request, next: Next) -> Response {
    shape(Vendor::OpenAi, request, next).await
}

/// A call as a job: the receipt of `POST /v1/jobs`, once it is durable.
pub(crate) async fn as_job(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    (route, kind): (&'static str, &str),
    body: Bytes,
) -> Result<Response, Refusal> {
    let idempotency = prefer::idempotency(headers, route, &body, app.engine().clock().now())?;
    let request = JobRequest { trace: trace_of(headers), ..JobRequest::of(kind, body) };
    let accepted = app.engine().submit(&caller.tenant, vec![request], idempotency).await?;
    Ok(create::answer(app, &caller.tenant, headers, accepted).await?)
}

/// An error, as OpenAI writes it.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiError)]
#[allow(dead_code, reason = "describes what longhaul-providers writes")]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

/// What is wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiErrorDetail)]
#[allow(dead_code, reason = "describes what longhaul-providers writes")]
pub(crate) struct ErrorDetail {
    /// For a person.
    message: String,
    /// The class of the error.
    r#type: String,
    /// The field that is to blame.
    #[schema(required)]
    param: Option<String>,
    /// For programs.
    #[schema(required)]
    code: Option<String>,
}
