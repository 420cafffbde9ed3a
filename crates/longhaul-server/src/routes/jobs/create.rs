//! Submitting jobs, one and many.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use longhaul_core::{JobId, OnChildFailure, QueueName, Span, Tenant, Timestamp};
use longhaul_engine::{Accepted, JobRequest, Waited};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::view::{Receipt, etag, job_json, json_answer, with};
use crate::{
    app::{App, MetadataLimits},
    auth::Write,
    json::ApiJsonBytes,
    observe::trace_of,
    prefer,
    problem::{Code, FieldError, Problem},
    refusal::{invalid_jobs, rejected},
};

/// The header that tells a repeat's answer from a first one.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A year: what lies further ahead is a mistake of units more often than a plan.
const FAR: u64 = 366 * 86_400;

/// The longest retention, ten years.
const RETENTION_MOST: u64 = 10 * FAR;

/// A job to submit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateJob {
    /// What to do: one of `GET /v1/kinds`.
    #[schema(examples("echo"))]
    kind: String,
    /// With what: any JSON that the kind's schema takes.
    #[schema(value_type = Value)]
    input: Box<RawValue>,
    /// Where to wait. Without one: where the kind says.
    #[schema(max_length = 100)]
    queue: Option<String>,
    /// −100 to 100, higher first.
    #[schema(minimum = -100, maximum = 100, default = 0)]
    priority: Option<i64>,
    /// Not before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<String>,
    /// Not before so many seconds from now; instead of `run_at`.
    #[schema(minimum = 0)]
    delay_s: Option<f64>,
    /// Over within so many seconds from now, waiting and retries included; or failed.
    #[schema(minimum = 0)]
    deadline_s: Option<f64>,
    /// How many attempts may fail before the job does.
    #[schema(minimum = 1, maximum = 100)]
    max_attempts: Option<u32>,
    /// Up to 16 pairs to find the job by: keys of up to 64 characters, values of up to 512.
    metadata: Option<std::collections::BTreeMap<String, String>>,
    /// How many seconds after its end its payloads are kept.
    #[schema(minimum = 0)]
    retention_s: Option<u64>,
    /// Jobs that come first: it runs when they have ended, with their outputs as `input.children`. They may have children
    /// of their own, eight deep and 10,000 in all.
    #[serde(default)]
    #[schema(no_recursion, max_items = 10_000)]
    children: Vec<CreateJob>,
    /// What it means when a child does not succeed: `fail` ends this job too, at once; `partial` lets it go on with what
    /// there is.
    #[schema(inline, default = "fail")]
    on_child_failure: Option<OnChildFailureBody>,
}

/// `fail` or `partial`.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnChildFailureBody {
    /// The parent fails at once, and its other children are cancelled.
    Fail,
    /// The parent goes on when all have ended.
    Partial,
}

impl CreateJob {
    /// Checks every field; `at` is where the job stands in the body.
    pub(crate) fn check(
        self,
        at: &str,
        now: Timestamp,
        limits: MetadataLimits,
        errors: &mut Vec<FieldError>,
    ) -> JobRequest {
        let mut wrong = |field: &str, message: String| errors.push(FieldError::new(format!("{at}/{field}"), message));
        let queue = self.queue.as_deref().map(QueueName::new).transpose().unwrap_or_else(|why| {
            wrong("queue", why.to_string());
            None
        });
        let priority = self.priority.unwrap_or(0);
        if !(-100..=100).contains(&priority) {
            wrong("priority", format!("is {priority}; it must be from -100 to 100"));
        }
        if self.max_attempts.is_some_and(|attempts| !(1..=100).contains(&attempts)) {
            wrong("max_attempts", "must be from 1 to 100".into());
        }
        let run_at = self.run_at.as_deref().and_then(|text| match text.parse::<Timestamp>() {
            Ok(at) => Some(at),
            Err(_) => {
                wrong("run_at", format!("is {text:?}, which is no RFC 3339 time such as 2026-03-01T12:00:00Z"));
                None
            }
        });
        if self.run_at.is_some() && self.delay_s.is_some() {
            wrong("delay_s", "cannot be given together with `run_at`".into());
        }
        let mut seconds = |field: &str, value: Option<f64>| {
            let value = value?;
            if !value.is_finite() || value < 0.0 || value > FAR as f64 {
                wrong(field, format!("is {value}; it must be from 0 to {FAR} seconds (a year)"));
                return None;
            }
            Some(Span::from_micros((value * 1e6) as u64))
        };
        let delay = seconds("delay_s", self.delay_s);
        let deadline = seconds("deadline_s", self.deadline_s);
        if self.retention_s.is_some_and(|seconds| seconds > RETENTION_MOST) {
            wrong("retention_s", format!("must be at most {RETENTION_MOST} seconds (ten years)"));
        }
        if self.on_child_failure.is_some() && self.children.is_empty() {
            wrong("on_child_failure", "goes with `children`, and there are none".into());
        }
        let metadata = self.metadata.filter(|pairs| !pairs.is_empty());
        if let Some(pairs) = &metadata {
            check_metadata(pairs, limits, &mut wrong);
        }
        let children = self.children.into_iter().enumerate();
        let children = children
            .map(|(index, child)| child.check(&format!("{at}/children/{index}"), now, limits, errors))
            .collect();
        JobRequest {
            kind: self.kind,
            input: Bytes::from(Box::<str>::from(self.input).into_string()),
            queue,
            priority: i8::try_from(priority).unwrap_or(0),
            run_at: run_at.or(delay.map(|delay| now + delay)),
            deadline_at: deadline.map(|deadline| now + deadline),
            max_attempts: self.max_attempts,
            metadata: metadata.and_then(|pairs| serde_json::to_string(&pairs).ok()).map(String::into_boxed_str),
            retention: self.retention_s.map(Span::from_secs),
            retry_of: None,
            id: None,
            children,
            on_child_failure: self.on_child_failure.map(|policy| match policy {
                OnChildFailureBody::Fail => OnChildFailure::Fail,
                OnChildFailureBody::Partial => OnChildFailure::Partial,
            }),
            trace: None,
        }
    }
}

fn check_metadata(
    pairs: &std::collections::BTreeMap<String, String>,
    limits: MetadataLimits,
    wrong: &mut impl FnMut(&str, String),
) {
    let MetadataLimits { pairs: most, key_chars, value_chars } = limits;
    if pairs.len() > most {
        wrong("metadata", format!("has {} pairs; at most {most} are taken", pairs.len()));
    }
    for (key, value) in pairs {
        let place = format!("metadata/{}", key.replace('~', "~0").replace('/', "~1"));
        if key.is_empty() || key.chars().count() > key_chars {
            wrong(&place, format!("has a key that is empty or longer than {key_chars} characters"));
        }
        if value.chars().count() > value_chars {
            wrong(&place, format!("is longer than {value_chars} characters"));
        }
    }
}

/// Submit a job
///
/// 202 means that the job is on disk, not merely received. With `Prefer: wait=N` (at most 60) the answer waits for the
/// end: 200 with the job when it comes in time, else the receipt.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", operation_id = "create_job", request_body = CreateJob,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat of the call find the first one's job."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer with the job if it ends within N seconds."),
    ),
    responses(
        (status = 202, description = "Accepted: the job is durable.", body = Receipt),
        (status = 200, description = "It ended within the wait.", body = super::view::JobBody),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    Write(caller): Write,
    headers: HeaderMap,
    body: ApiJsonBytes<CreateJob>,
) -> Result<Response, Problem> {
    let now = app.engine().clock().now();
    let idempotency = prefer::idempotency(&headers, "/v1/jobs", &body.bytes, now)?;
    let mut errors = Vec::new();
    let request = body.value.check("", now, app.0.limits.metadata, &mut errors);
    let request = vec![JobRequest { trace: trace_of(&headers), ..request }];
    let at = |_| String::new();
    if !errors.is_empty() {
        return Err(invalid_jobs(errors, app.engine().examine(&caller.tenant, &request), at, "/input"));
    }
    let accepted = app.engine().submit(&caller.tenant, request, idempotency).await;
    let accepted = accepted.map_err(|error| rejected(error, at, "/input"))?;
    answer(&app, &caller.tenant, &headers, accepted).await
}

/// The receipt, or the job when its end was waited for and came.
pub(crate) async fn answer(
    app: &App,
    tenant: &Tenant,
    headers: &HeaderMap,
    accepted: Accepted,
) -> Result<Response, Problem> {
    let Some(job) = accepted.jobs.first().copied() else {
        return Err(Problem::new(Code::Internal, "Nothing was accepted."));
    };
    let mut response = match prefer::wait(headers) {
        // It is accepted, whatever becomes of the wait.
        Some(wait) => match waited(app, tenant, job, wait).await {
            Ok(response) => response,
            Err(_) => receipt(job)?,
        },
        None => receipt(job)?,
    };
    if accepted.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn waited(app: &App, tenant: &Tenant, job: JobId, wait: Span) -> Result<Response, Problem> {
    let applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs()));
    let applied = applied.map(|applied| (HeaderName::from_static("preference-applied"), applied));
    let response = match app.engine().wait(tenant, job, wait, None).await? {
        Waited::Now(view) if view.job.status().is_terminal() => {
            let json = job_json(app, &view).await?;
            let tag = etag(&view.job, &json);
            with(json_answer(StatusCode::OK, json), [(header::ETAG, tag)])
        }
        Waited::Now(_) | Waited::Unchanged => receipt(job)?,
    };
    Ok(with(response, applied))
}

pub(crate) fn receipt(job: JobId) -> Result<Response, Problem> {
    accepted_with(job, &Receipt::of(job))
}

/// 202 with where to look next.
pub(crate) fn accepted_with<T: Serialize>(job: JobId, body: &T) -> Result<Response, Problem> {
    let json =
        serde_json::to_vec(body).map_err(|_| Problem::new(Code::Internal, "The receipt could not be written."))?;
    let location = HeaderValue::from_str(&format!("/v1/jobs/{job}"));
    let location = location.map(|location| (header::LOCATION, location));
    let response = with(json_answer(StatusCode::ACCEPTED, json), location);
    Ok(with(response, [(header::RETRY_AFTER, HeaderValue::from_static("1"))]))
}

/// Jobs to submit together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateJobs {
    /// 1 to 1,000 jobs.
    #[schema(min_items = 1, max_items = 1000)]
    jobs: Vec<CreateJob>,
}

/// What a bulk submit is answered with.
#[derive(Serialize, ToSchema)]
pub(crate) struct Receipts {
    /// One for each job, in the order of the request.
    jobs: Vec<Receipt>,
}

/// Submit up to 1,000 jobs at once
///
/// All or none are taken in, in one commit.
#[utoipa::path(
    post, path = "/v1/jobs/bulk", tag = "jobs", operation_id = "create_jobs", request_body = CreateJobs,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat of the call find the first one's jobs.")),
    responses((status = 202, description = "Accepted: all jobs are durable.", body = Receipts))
)]
pub(crate) async fn create_many(
    State(app): State<App>,
    Write(caller): Write,
    headers: HeaderMap,
    body: ApiJsonBytes<CreateJobs>,
) -> Result<Response, Problem> {
    let now = app.engine().clock().now();
    let idempotency = prefer::idempotency(&headers, "/v1/jobs/bulk", &body.bytes, now)?;
    let count = body.value.jobs.len();
    if !(1..=1_000).contains(&count) {
        return Err(Problem::invalid_field("/jobs", format!("has {count} jobs; 1 to 1,000 are taken at once")));
    }
    let mut errors = Vec::new();
    let jobs = body.value.jobs.into_iter().enumerate();
    let limits = app.0.limits.metadata;
    let requests = jobs.map(|(index, job)| job.check(&format!("/jobs/{index}"), now, limits, &mut errors));
    let trace = trace_of(&headers);
    let requests = requests.map(|request| JobRequest { trace, ..request });
    let requests: Vec<_> = requests.collect();
    let at = |index| format!("/jobs/{index}");
    if !errors.is_empty() {
        return Err(invalid_jobs(errors, app.engine().examine(&caller.tenant, &requests), at, "/input"));
    }
    let accepted = app.engine().submit(&caller.tenant, requests, idempotency).await;
    let accepted = accepted.map_err(|error| rejected(error, at, "/input"))?;
    let receipts = Receipts { jobs: accepted.jobs.iter().copied().map(Receipt::of).collect() };
    let json = serde_json::to_vec(&receipts).map_err(|_| Problem::new(Code::Internal, "No receipt."))?;
    let replayed = accepted.replayed.then(|| (REPLAYED, HeaderValue::from_static("true")));
    Ok(with(json_answer(StatusCode::ACCEPTED, json), replayed))
}
