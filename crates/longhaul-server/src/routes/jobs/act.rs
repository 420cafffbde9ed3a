//! Acting on jobs: cancel, retry, erase.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};

use longhaul_core::StepName;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::{
    JobPath, create,
    view::{JobBody, Receipt, job_json, json_answer},
};
use crate::{
    app::App,
    auth::Write,
    json::{ApiJsonBytes, ApiPath, ApiQuery},
    prefer,
    problem::{Code, Problem},
    refusal::rejected,
};

/// Ask a job to stop
///
/// A queued job is cancelled at once. A running one is told, and is `cancelled` within 30 seconds; after a 202 it ends
/// in no other way. An ended job is answered as it is. May be repeated.
#[utoipa::path(
    post, path = "/v1/jobs/{job_id}/cancel", tag = "jobs", operation_id = "cancel_job", params(JobPath),
    responses(
        (status = 202, description = "It has been told: `cancelling`.", body = JobBody),
        (status = 200, description = "It has ended, by this or before.", body = JobBody),
    )
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Write(caller): Write,
    ApiPath(path): ApiPath<JobPath>,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let status = app.engine().cancel(&caller.tenant, id).await.map_err(|error| path.missing(error))?;
    let view = app.engine().job(&caller.tenant, id).await.map_err(|error| path.missing(error))?;
    let code = if status.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(json_answer(code, job_json(&app, &view).await?))
}

/// What an answer is to.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AnswerQuery {
    /// The question, as `waiting_for.step` of the job names it.
    step: Option<String>,
}

/// Answer a job that waits for a person
///
/// Any JSON; an agent's approval takes `{"approve": true, "comment": "…"}`. The answer becomes the output of the step that
/// the job waits with, and it goes on. One that comes before the job asks is kept for it, up to 16. With `step` it answers
/// that question and no other: 409 when the job does not wait with it, or not any more, so that an answer that is sent twice
/// never answers what is asked next.
#[utoipa::path(
    post, path = "/v1/jobs/{job_id}/input", tag = "jobs", operation_id = "answer_job", params(JobPath, AnswerQuery),
    request_body = Value,
    responses((status = 202, description = "It is on disk.", body = JobBody))
)]
pub(crate) async fn answer(
    State(app): State<App>,
    Write(caller): Write,
    ApiPath(path): ApiPath<JobPath>,
    ApiQuery(AnswerQuery { step }): ApiQuery<AnswerQuery>,
    ApiJsonBytes { value: _, bytes }: ApiJsonBytes<Value>,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let step =
        step.map(|step| StepName::new(&step).map_err(|error| Problem::invalid_field("?step", error.to_string())));
    app.engine().answer(&caller.tenant, id, step.transpose()?, bytes).await.map_err(|error| path.missing(error))?;
    let view = app.engine().job(&caller.tenant, id).await.map_err(|error| path.missing(error))?;
    Ok(json_answer(StatusCode::ACCEPTED, job_json(&app, &view).await?))
}

/// Submit an ended job again
///
/// Makes a new job with the same kind, input and options, and `retry_of` set.
#[utoipa::path(
    post, path = "/v1/jobs/{job_id}/retry", tag = "jobs", operation_id = "retry_job",
    params(JobPath, ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat of the call find the first one's job.")),
    responses((status = 202, description = "The new job's receipt.", body = Receipt))
)]
pub(crate) async fn retry(
    State(app): State<App>,
    Write(caller): Write,
    ApiPath(path): ApiPath<JobPath>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let now = app.engine().clock().now();
    let idempotency = prefer::idempotency(&headers, "/v1/jobs/{job_id}/retry", id.to_string().as_bytes(), now)?;
    let accepted = app.engine().retry(&caller.tenant, id, idempotency).await.map_err(|error| match error {
        longhaul_engine::Rejected::Store(error) => path.missing(error),
        other => rejected(other, |_| String::new(), "/input"),
    })?;
    match accepted {
        Some(accepted) => create::answer(&app, &caller.tenant, &headers, accepted).await,
        None => Err(Problem::new(Code::NotTerminal, "The job has not ended, so there is nothing to try again.")),
    }
}

/// Erase a job's data
///
/// Removes payloads, events and attempts of an ended job. What remains is that it existed and how it ended.
#[utoipa::path(
    delete, path = "/v1/jobs/{job_id}", tag = "jobs", operation_id = "delete_job", params(JobPath),
    responses((status = 204, description = "Erased."))
)]
pub(crate) async fn erase(
    State(app): State<App>,
    Write(caller): Write,
    ApiPath(path): ApiPath<JobPath>,
) -> Result<Response, Problem> {
    app.engine().erase(&caller.tenant, path.id()?).await.map_err(|error| path.missing(error))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
