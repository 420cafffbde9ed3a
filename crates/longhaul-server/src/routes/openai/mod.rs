//! OpenAI's API, for any provider: chat completions, embeddings, models, responses.
//!
//! A synchronous call goes to the gateway and touches neither engine nor store. `Prefer: respond-async` and
//! `background` make it a job. Answers and refusals are in OpenAI's words.

pub(crate) mod chat;
pub(crate) mod embeddings;
pub(crate) mod models;
pub(crate) mod responses;

use std::collections::BTreeMap;

use axum::{http::HeaderMap, response::Response};
use bytes::Bytes;
use longhaul_core::Caller;
use longhaul_engine::JobRequest;
use longhaul_tasks::llm;
use serde::Serialize;
use utoipa::ToSchema;

use super::jobs::create;
use crate::{
    app::App,
    facade::{Refusal, wants_fresh},
    observe::trace_of,
    prefer,
};

/// A call as a job: the receipt of `POST /v1/jobs`, once it is durable.
pub(crate) async fn as_job(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    (route, kind): (&'static str, &str),
    (model, serves): (&str, &str),
    body: Bytes,
) -> Result<Response, Refusal> {
    refuse_unknown_model(app, model, serves)?;
    let idempotency = prefer::idempotency(headers, route, &body, app.engine().clock().now())?;
    let metadata = metadata(wishes_of(headers));
    let request = JobRequest { trace: trace_of(headers), metadata, ..JobRequest::of(kind, body) };
    let accepted = app.engine().submit(&caller.tenant, vec![request], idempotency).await?;
    Ok(create::answer(app, &caller.tenant, headers, accepted).await?)
}

/// A name that no model has, or one for something else, is refused at once, as a synchronous call refuses it.
fn refuse_unknown_model(app: &App, model: &str, serves: &str) -> Result<(), Refusal> {
    match app.gateway().serves(model) {
        Ok(for_what) if for_what == serves => Ok(()),
        Ok(for_what) => {
            let why = format!("the model `{model}` is for {for_what}, not for {serves}");
            Err(Refusal::new(400, "unsupported_operation", why).at("model"))
        }
        Err(unknown) => Err(Refusal::new(404, "model_not_found", unknown.to_string()).at("model")),
    }
}

/// What the headers of a request wish of its call, for the metadata of the job that makes it.
fn wishes_of(headers: &HeaderMap) -> BTreeMap<&'static str, String> {
    let (name, value) = llm::FRESH;
    wants_fresh(headers).then(|| (name, value.to_owned())).into_iter().collect()
}

/// Pairs as a job has them.
fn metadata(pairs: BTreeMap<&'static str, String>) -> Option<Box<str>> {
    if pairs.is_empty() { None } else { serde_json::to_string(&pairs).ok().map(String::into_boxed_str) }
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
