//! Short and façade routes: `/jobs/{id}`, `/process`, `/api/v1/analysis`. Each says a kind, and how its job is shown.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use longhaul_core::{Job, JobId, Span, Status};
use longhaul_engine::{Flaw, JobRequest, Rejected, Waited, store::JobView};
use longhaul_tasks::{
    ProcessOutput,
    process::{ALL_ITEMS_FAILED, Served},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use utoipa::ToSchema;

use super::jobs::{
    JobPath,
    create::{accepted_with, receipt},
    read::{self, WaitQuery, ended_or_now, no_result, to_json},
    view::{JobBody, Receipt, json_answer, with},
};
use crate::{
    app::App,
    auth::{Read, Write},
    json::{ApiJsonBytes, ApiPath, ApiQuery},
    observe::trace_of,
    prefer,
    problem::{Code, Problem},
    refusal::rejected,
};

/// How items of a `/process` call were served.
const CACHE: HeaderName = HeaderName::from_static("longhaul-cache");

/// How long `/process` waits when the request does not say.
const PROCESS_WAIT_S: u64 = 30;

/// Get a job (short route)
#[utoipa::path(
    get, path = "/jobs/{job_id}", tag = "presets", operation_id = "get_job_short", params(JobPath, WaitQuery),
    responses((status = 200, description = "As `GET /v1/jobs/{job_id}`.", body = JobBody))
)]
pub(crate) async fn show_job(
    state: State<App>,
    caller: Read,
    path: ApiPath<JobPath>,
    query: ApiQuery<WaitQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    read::show(state, caller, path, query, headers).await
}

// ── /process ──

/// Items to process together: the input of the kind `process`.
#[derive(Deserialize)]
pub(crate) struct ProcessBody(#[allow(dead_code, reason = "the bytes are used as they came")] Box<RawValue>);

impl utoipa::PartialSchema for ProcessBody {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::Object::new().into()
    }
}

impl ToSchema for ProcessBody {}

/// Process items together, and wait for them
///
/// Items run concurrently, each through the cache first. The answer waits for at most `timeout_s` (60 at most); what
/// takes longer goes on as a job: 202 with its `Location`.
#[utoipa::path(
    post, path = "/v1/process", tag = "process", operation_id = "process",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat of the call find the first one's job.")),
    request_body(content = inline(serde_json::Value), content_type = "application/json",
        description = "The input of the kind `process`: see `GET /v1/kinds`."),
    responses(
        (status = 200, description = "All items have ended, at least one well.", body = inline(serde_json::Value),
            headers(("Longhaul-Cache" = String, description = "`hit`, `miss` or `coalesced`."))),
        (status = 202, description = "Not done in time: the job goes on.", body = Receipt),
        (status = 502, description = "Every item failed."),
    )
)]
pub(crate) async fn process(
    state: State<App>,
    caller: Write,
    headers: HeaderMap,
    body: ApiJsonBytes<ProcessBody>,
) -> Result<Response, Problem> {
    run_process(state, caller, headers, body).await
}

/// Process items together (short route)
#[utoipa::path(
    post, path = "/process", tag = "presets", operation_id = "process_short",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat of the call find the first one's job.")),
    request_body(content = inline(serde_json::Value), content_type = "application/json"),
    responses((status = 200, description = "As `POST /v1/process`.", body = inline(serde_json::Value)))
)]
pub(crate) async fn process_short(
    state: State<App>,
    caller: Write,
    headers: HeaderMap,
    body: ApiJsonBytes<ProcessBody>,
) -> Result<Response, Problem> {
    run_process(state, caller, headers, body).await
}

async fn run_process(
    State(app): State<App>,
    Write(caller): Write,
    headers: HeaderMap,
    body: ApiJsonBytes<ProcessBody>,
) -> Result<Response, Problem> {
    let engine = app.engine();
    let skips_cache = headers.get(header::CACHE_CONTROL).is_some_and(|value| value.as_bytes() == b"no-cache");
    if !skips_cache && let Some(output) = app.0.tasks.processed(&caller.tenant, &body.bytes) {
        return Ok(with(json_answer(StatusCode::OK, output), [(CACHE, HeaderValue::from_static("hit"))]));
    }
    #[derive(Deserialize, Default)]
    struct Timeout {
        timeout_s: Option<f64>,
    }
    // What is wrong with it is said by the kind's own check below.
    let Timeout { timeout_s } = serde_json::from_slice(&body.bytes).unwrap_or_default();
    let seconds = timeout_s.filter(|seconds| (0.0..=60.0).contains(seconds)).unwrap_or(PROCESS_WAIT_S as f64);
    let idempotency = prefer::idempotency(&headers, "/v1/process", &body.bytes, engine.clock().now())?;
    let input = match skips_cache {
        true => without_cache(&body.bytes),
        false => body.bytes.clone(),
    };
    let request = JobRequest { trace: trace_of(&headers), ..JobRequest::of("process", input) };
    let accepted = engine.submit(&caller.tenant, vec![request], idempotency).await;
    let accepted = accepted.map_err(|error| rejected(error, |_| String::new(), ""))?;
    let Some(job) = accepted.jobs.first().copied() else {
        return Err(Problem::new(Code::Internal, "Nothing was accepted."));
    };
    let wait = Span::from_millis((seconds * 1_000.0) as u64);
    let Waited::Now(view) = engine.wait(&caller.tenant, job, wait, None).await? else { return receipt(job) };
    match view.job.status() {
        Status::Queued | Status::Running => receipt(job),
        Status::Succeeded => {
            let Some(output) = &view.output else { return Err(Problem::new(Code::Internal, "No output.")) };
            processed(engine.payload(output).await?)
        }
        Status::Failed | Status::Cancelled => Err(no_items(&view)),
    }
}

/// Why there are no items. That every one of them failed is the providers' doing, and not the request's.
fn no_items(view: &JobView) -> Problem {
    match &view.job.error {
        Some(error) if error.code == ALL_ITEMS_FAILED => {
            let problem = Problem::new(Code::UpstreamFailed, format!("Nothing was answered: {}", error.message));
            problem.with("job_id", serde_json::Value::from(view.job.spec.id.to_string()))
        }
        _ => no_result(view),
    }
}

/// The items, unless all of them failed.
fn processed(output: Bytes) -> Result<Response, Problem> {
    let read: ProcessOutput = serde_json::from_slice(&output)
        .map_err(|_| Problem::new(Code::Internal, "The output of the job cannot be read."))?;
    if read.succeeded == 0 && read.failed > 0 {
        let problem = Problem::new(Code::UpstreamFailed, "Every item failed; `results` says why.");
        return Err(problem.with("results", serde_json::to_value(read.results).unwrap_or_default()));
    }
    let served = match read.served() {
        Served::Hit => "hit",
        Served::Coalesced => "coalesced",
        Served::Miss | Served::Bypass => "miss",
    };
    Ok(with(json_answer(StatusCode::OK, output), [(CACHE, HeaderValue::from_static(served))]))
}

fn without_cache(body: &[u8]) -> Bytes {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut input)) => {
            input.insert("cache".into(), json!(false));
            Value::Object(input).to_string().into()
        }
        _ => Bytes::copy_from_slice(body),
    }
}

// ── /api/v1/analysis ──

/// A text or a document to analyse.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all(deserialize = "camelCase"))]
#[schema(rename_all = "camelCase")]
pub(crate) struct CreateAnalysis {
    /// The text; or else `documentId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// An uploaded document; or else `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    document_id: Option<String>,
    /// `summary`, `keywords`, `sentiment`, `entities`, `language`, `{"classify":{"labels":[…]}}`,
    /// `{"extract":{"schema":{…}}}`. Without it: summary, keywords and sentiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Value>>)]
    analyses: Option<Value>,
    /// A model of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// `partial` (the default) or `fail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_failure: Option<String>,
}

/// What an analysis is answered with.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AnalysisReceipt {
    #[schema(value_type = String)]
    job_id: JobId,
    /// `pending`, `in_progress`, `completed` or `failed`.
    status: &'static str,
}

/// Analyse a text
///
/// Answers at once with a `jobId`: poll its status, then fetch its result.
#[utoipa::path(
    post, path = "/api/v1/analysis", tag = "analysis", operation_id = "create_analysis", request_body = CreateAnalysis,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat of the call find the first one's job.")),
    responses((status = 202, description = "Accepted: the job is durable.", body = AnalysisReceipt))
)]
pub(crate) async fn create_analysis(
    State(app): State<App>,
    Write(caller): Write,
    headers: HeaderMap,
    body: ApiJsonBytes<CreateAnalysis>,
) -> Result<Response, Problem> {
    let now = app.engine().clock().now();
    let idempotency = prefer::idempotency(&headers, "/api/v1/analysis", &body.bytes, now)?;
    let input =
        serde_json::to_vec(&body.value).map_err(|_| Problem::new(Code::Internal, "The input could not be written."))?;
    let request = JobRequest { trace: trace_of(&headers), ..JobRequest::of("analysis", input) };
    let accepted = app.engine().submit(&caller.tenant, vec![request], idempotency).await;
    let accepted = accepted.map_err(|error| rejected(in_camel_case(error), |_| String::new(), ""))?;
    let Some(job_id) = accepted.jobs.first().copied() else {
        return Err(Problem::new(Code::Internal, "Nothing was accepted."));
    };
    let response = accepted_with(job_id, &AnalysisReceipt { job_id, status: "pending" })?;
    let location = HeaderValue::from_str(&format!("/api/v1/analysis/status/{job_id}"));
    let replayed = accepted.replayed.then(|| (super::jobs::create::REPLAYED, HeaderValue::from_static("true")));
    let response = with(response, location.map(|location| (header::LOCATION, location)));
    Ok(with(response, replayed))
}

/// Names refused fields as the façade spells them.
fn in_camel_case(error: Rejected) -> Rejected {
    let Rejected::Invalid(mut findings) = error else { return error };
    for finding in &mut findings {
        if let Flaw::Input(errors) = &mut finding.flaw {
            for error in errors {
                error.pointer =
                    error.pointer.replace("/document_id", "/documentId").replace("/on_failure", "/onFailure");
            }
        }
    }
    Rejected::Invalid(findings)
}

/// The façade's word for where a job stands. Once an attempt has run it never goes back to `pending`.
fn word(job: &Job) -> &'static str {
    match job.status() {
        Status::Queued if job.attempt == 0 => "pending",
        Status::Queued | Status::Running => "in_progress",
        Status::Succeeded => "completed",
        Status::Failed | Status::Cancelled => "failed",
    }
}

/// Where an analysis stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AnalysisStatus {
    #[schema(value_type = String)]
    job_id: JobId,
    /// `pending`, `in_progress`, `completed` or `failed`.
    status: &'static str,
    #[schema(value_type = Option<Object>)]
    progress: Option<longhaul_core::Progress>,
    /// Why it failed; `error.code` is `cancelled` when somebody cancelled it.
    #[schema(value_type = Option<Object>)]
    error: Option<Value>,
}

/// Get where an analysis stands
#[utoipa::path(
    get, path = "/api/v1/analysis/status/{job_id}", tag = "analysis", operation_id = "get_analysis_status",
    params(JobPath), responses((status = 200, description = "Where it stands.", body = AnalysisStatus))
)]
pub(crate) async fn analysis_status(
    State(app): State<App>,
    Read(caller): Read,
    ApiPath(path): ApiPath<JobPath>,
) -> Result<Response, Problem> {
    let view = analysis(&app, &caller, &path, None).await?;
    let error = match view.job.status() {
        Status::Failed => view.job.error.as_ref().and_then(|error| serde_json::to_value(error).ok()),
        Status::Cancelled => {
            Some(json!({ "code": "cancelled", "message": "the job was cancelled", "retryable": false }))
        }
        Status::Queued | Status::Running | Status::Succeeded => None,
    };
    to_json(&AnalysisStatus {
        job_id: view.job.spec.id,
        status: word(&view.job),
        progress: view.job.progress.clone(),
        error,
    })
}

/// Get the result of an analysis
#[utoipa::path(
    get, path = "/api/v1/analysis/result/{job_id}", tag = "analysis", operation_id = "get_analysis_result",
    params(JobPath, WaitQuery),
    responses(
        (status = 200, description = "`{jobId, status, result}`.", body = inline(serde_json::Value)),
        (status = 202, description = "It has not ended.", body = AnalysisReceipt),
    )
)]
pub(crate) async fn analysis_result(
    State(app): State<App>,
    Read(caller): Read,
    ApiPath(path): ApiPath<JobPath>,
    ApiQuery(query): ApiQuery<WaitQuery>,
) -> Result<Response, Problem> {
    let view = analysis(&app, &caller, &path, query.span()?).await?;
    let job_id = view.job.spec.id;
    match view.job.status() {
        Status::Queued | Status::Running => accepted_with(job_id, &AnalysisReceipt { job_id, status: word(&view.job) }),
        Status::Failed | Status::Cancelled => Err(no_result(&view)),
        Status::Succeeded => {
            let Some(output) = &view.output else { return Err(Problem::new(Code::Internal, "No output.")) };
            let output = app.engine().payload(output).await?;
            let mut json = format!("{{\"jobId\":\"{job_id}\",\"status\":\"completed\",\"result\":").into_bytes();
            json.extend_from_slice(&output);
            json.push(b'}');
            Ok(json_answer(StatusCode::OK, json))
        }
    }
}

/// A job of the kind `analysis`: the façade shows no others.
async fn analysis(
    app: &App,
    caller: &longhaul_core::Caller,
    path: &JobPath,
    wait: Option<Span>,
) -> Result<std::sync::Arc<JobView>, Problem> {
    let view = ended_or_now(app, caller, path, path.id()?, wait).await?;
    match view.job.spec.kind.as_str() {
        "analysis" => Ok(view),
        _ => Err(Problem::new(Code::NotFound, format!("There is no analysis {}.", path.job_id))),
    }
}
