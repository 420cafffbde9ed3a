//! Claiming jobs.

use std::{
    ops::RangeInclusive,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use http_body::{Frame, SizeHint};
use longhaul_core::{Caller, KindName, QueueName, Scope, Span, Timestamp};
use longhaul_engine::{Engine, Granted, RemoteClaim, RemoteJob};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::lease::Lease;
use crate::{
    app::App,
    auth::Worker,
    json::{ApiJson, nearest},
    problem::{Code, FieldError, Problem},
};

/// How long a lease may hold, in seconds. Shorter ones are lost to a hiccup, longer ones keep a dead worker's jobs.
pub(crate) const LEASE_S: RangeInclusive<u64> = 5..=600;

const LEASE_USUAL_S: u64 = 30;
const WAIT_MOST_S: u64 = 30;
const JOBS_MOST: usize = 64;
const KINDS_MOST: usize = 1_000;
const WORKER_ID_MOST: usize = 200;

/// Which jobs a worker would run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimJobs {
    /// Names the worker in the history of attempts: a host and a process, say.
    #[schema(min_length = 1, max_length = 200)]
    worker_id: String,
    /// The kinds that it serves; each is registered.
    #[schema(min_items = 1, max_items = 1000)]
    kinds: Vec<String>,
    /// Only jobs of these queues. Without it: of every queue that the key may serve.
    queues: Option<Vec<String>>,
    /// At most so many jobs.
    #[schema(minimum = 1, maximum = 64, default = 1)]
    max: Option<usize>,
    /// How long to wait for the first one, in seconds.
    #[schema(minimum = 0, maximum = 30, default = 30)]
    wait_s: Option<u64>,
    /// How long each lease holds, from the claim and from each heartbeat on, in seconds.
    #[schema(minimum = 5, maximum = 600, default = 30)]
    lease_s: Option<u64>,
}

/// Jobs that the worker holds now.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClaimedJobs {
    /// At least one.
    jobs: Vec<ClaimedJob>,
}

/// A job under a lease.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClaimedJob {
    job_id: String,
    kind: String,
    queue: String,
    /// The number of this attempt, from 1.
    attempt: u32,
    /// How many attempts may fail.
    max_attempts: u32,
    /// What the header `Longhaul-Lease` of every later call for this job carries.
    lease_token: String,
    #[schema(value_type = String, format = DateTime)]
    lease_expires_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the job has to be over, if it has to.
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline_at: Option<Timestamp>,
    /// How long this attempt may take, in seconds, when its kind says so.
    timeout_s: Option<u64>,
    /// The trace that the worker's part of the work belongs to, as the header of that name, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// The submitter's pairs.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    metadata: Value,
    /// What the job was given.
    #[serde(skip_serializing)]
    #[schema(value_type = Value)]
    #[allow(dead_code, reason = "spliced in as it is stored: parsing it would cost more than everything else")]
    input: (),
    /// What earlier attempts have stored, in the order in which they did.
    #[serde(skip_serializing)]
    #[schema(value_type = Vec<StepOutput>)]
    #[allow(dead_code, reason = "spliced in, too")]
    steps: (),
}

/// A step that is done.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is spliced in")]
pub(crate) struct StepOutput {
    /// Its name.
    step: String,
    /// What it gave.
    output: Value,
}

/// Claim jobs
///
/// Waits until there is at least one, and answers at once when there is; 204 when the time is up. Each job is held under
/// a lease: whoever does not renew it in time loses the job to another attempt. An answer that cannot be delivered
/// because its client has hung up gives the jobs back.
#[utoipa::path(
    post, path = "/v1/worker/claims", tag = "worker", operation_id = "claim_jobs", request_body = ClaimJobs,
    responses(
        (status = 200, description = "Jobs that are the worker's now.", body = ClaimedJobs),
        (status = 204, description = "There was none within the wait, or the server is stopping."),
    )
)]
pub(crate) async fn claim(
    State(app): State<App>,
    Worker(caller): Worker,
    headers: HeaderMap,
    ApiJson(body): ApiJson<ClaimJobs>,
) -> Result<Response, Problem> {
    let standing = app.standing(&headers, &caller);
    let wait = Span::from_secs(body.wait_s.unwrap_or(WAIT_MOST_S));
    let claim = body.check(&app, &caller).await?;
    let holds_for = claim.lease_for;
    let granted = app.engine().lend(claim, wait).await?;
    // What was granted is given back.
    app.let_in_still(&standing)?;
    if granted.jobs.is_empty() {
        let mut nothing = Response::new(Body::empty());
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let json = written(app.engine(), &granted.jobs, holds_for).map_err(|error| {
        tracing::error!(%error, "claimed jobs could not be written");
        Problem::new(Code::Internal, "The claimed jobs could not be written.")
    })?;
    let mut response = Response::new(Body::new(Delivery { json: Some(json.into()), granted }));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

impl ClaimJobs {
    async fn check(self, app: &App, caller: &Caller) -> Result<RemoteClaim, Problem> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: String, message: String| errors.push(FieldError::new(pointer, message));
        if self.worker_id.trim().is_empty() || self.worker_id.chars().count() > WORKER_ID_MOST {
            wrong("/worker_id".into(), format!("must have 1 to {WORKER_ID_MOST} characters"));
        }
        let max = self.max.unwrap_or(1);
        if !(1..=JOBS_MOST).contains(&max) {
            wrong("/max".into(), format!("is {max}; it must be from 1 to {JOBS_MOST}"));
        }
        if let Some(wait) = self.wait_s.filter(|wait| *wait > WAIT_MOST_S) {
            wrong("/wait_s".into(), format!("is {wait}; it must be from 0 to {WAIT_MOST_S} seconds"));
        }
        let lease_s = self.lease_s.unwrap_or(LEASE_USUAL_S);
        if !LEASE_S.contains(&lease_s) {
            wrong("/lease_s".into(), format!("is {lease_s}; it must be from 5 to 600 seconds"));
        }
        let mut queues = Vec::new();
        for (index, queue) in self.queues.iter().flatten().enumerate() {
            match QueueName::new(queue) {
                Ok(queue) => queues.push(queue),
                Err(why) => wrong(format!("/queues/{index}"), why.to_string()),
            }
        }
        if self.queues.as_ref().is_some_and(Vec::is_empty) {
            wrong("/queues".into(), "is empty; leave it out to serve every queue that the key may serve".into());
        }
        if !(1..=KINDS_MOST).contains(&self.kinds.len()) {
            wrong("/kinds".into(), format!("has {} kinds; 1 to {KINDS_MOST} are taken", self.kinds.len()));
        }
        let before = errors.len();
        let (mut kinds, mut unknown) = known_kinds(app, caller, &self.kinds, &mut errors);
        if unknown.is_some() && app.engine().look_for_kinds().await {
            // Another server has registered it a moment ago.
            errors.truncate(before);
            (kinds, unknown) = known_kinds(app, caller, &self.kinds, &mut errors);
        }
        if let (Some(problem), 1) = (unknown, errors.len()) {
            return Err(problem);
        }
        if !errors.is_empty() {
            return Err(Problem::invalid(Code::InvalidRequest, errors));
        }
        Ok(RemoteClaim {
            tenant: caller.tenant.clone(),
            worker: self.worker_id.trim().into(),
            kinds: kinds.into(),
            queues: allowed_queues(caller, self.queues.is_some().then_some(queues))?,
            limit: max,
            lease_for: Span::from_secs(lease_s),
        })
    }
}

/// The kinds that were named, and what to say when one that nobody knows is all that is wrong.
fn known_kinds(
    app: &App,
    caller: &Caller,
    asked: &[String],
    errors: &mut Vec<FieldError>,
) -> (Vec<KindName>, Option<Problem>) {
    let all = app.engine().kinds(&caller.tenant);
    let mut kinds = Vec::new();
    let mut unknown = None;
    for (index, kind) in asked.iter().enumerate() {
        let pointer = format!("/kinds/{index}");
        match all.iter().find(|known| *known.spec.name == **kind) {
            Some(known) if known.built_in && app.engine().runs_built_in() => {
                let message = format!(
                    "is {kind:?}, which this server runs itself; a server started with --no-builtin leaves it to workers"
                );
                errors.push(FieldError::new(pointer, message));
            }
            Some(known) => kinds.push(known.spec.name.clone()),
            None => {
                let near = nearest(kind, all.iter().map(|known| known.spec.name.as_str()));
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                errors.push(FieldError::new(pointer, format!("is {kind:?}, which is not registered{near}")));
                let detail = format!("There is no kind `{kind}`. Register it first: PUT /v1/kinds/{kind}.");
                unknown = Some(Problem::new(Code::UnknownKind, detail));
            }
        }
    }
    if let Some(unknown) = &mut unknown {
        unknown.set_errors(errors.clone());
    }
    (kinds, unknown)
}

/// The queues that were asked for, when the key may serve all of them; else all that it may serve.
fn allowed_queues(caller: &Caller, asked: Option<Vec<QueueName>>) -> Result<Option<Arc<[QueueName]>>, Problem> {
    if let Some(asked) = asked {
        if let Some(queue) = asked.iter().find(|queue| !caller.may(&Scope::Worker(Some((*queue).clone())))) {
            return Err(Problem::new(Code::Forbidden, format!("The API key may not serve the queue `{queue}`.")));
        }
        return Ok(Some(asked.into()));
    }
    if caller.may(&Scope::Worker(None)) {
        return Ok(None);
    }
    let queues = caller.scopes.iter().filter_map(|scope| match scope {
        Scope::Worker(queue) => queue.clone(),
        _ => None,
    });
    Ok(Some(queues.collect()))
}

fn written(engine: &Engine, jobs: &[RemoteJob], holds_for: Span) -> serde_json::Result<Vec<u8>> {
    let payloads: usize = jobs.iter().map(|job| job.input.len()).sum();
    let mut json = Vec::with_capacity(payloads + jobs.len() * 512);
    json.extend_from_slice(b"{\"jobs\":[");
    for (index, assignment) in jobs.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        serde_json::to_writer(&mut json, &ClaimedJob::of(engine, assignment, holds_for)?)?;
        json.pop();
        json.extend_from_slice(b",\"input\":");
        json.extend_from_slice(&assignment.input);
        json.extend_from_slice(b",\"steps\":[");
        for (index, (step, output)) in assignment.steps.iter().enumerate() {
            json.extend_from_slice(if index > 0 { b",{\"step\":" } else { b"{\"step\":" });
            serde_json::to_writer(&mut json, step.as_str())?;
            json.extend_from_slice(b",\"output\":");
            json.extend_from_slice(output);
            json.push(b'}');
        }
        json.extend_from_slice(b"]}");
    }
    json.extend_from_slice(b"]}");
    Ok(json)
}

impl ClaimedJob {
    fn of(engine: &Engine, assignment: &RemoteJob, holds_for: Span) -> serde_json::Result<Self> {
        let job = &assignment.view.job;
        let spec = &job.spec;
        let since = job.lease().map_or(spec.created_at, |lease| lease.since);
        let lease = Lease {
            token: assignment.held.token,
            holds_for,
            attempt_ends_at: spec.attempt_timeout.map(|limit| since + limit),
        };
        Ok(Self {
            job_id: spec.id.to_string(),
            kind: spec.kind.to_string(),
            queue: spec.queue.to_string(),
            attempt: job.attempt,
            max_attempts: spec.max_attempts,
            lease_token: lease.to_string(),
            lease_expires_at: job.lease().map_or(since + holds_for, |lease| lease.expires_at),
            created_at: spec.created_at,
            deadline_at: spec.deadline_at,
            timeout_s: spec.attempt_timeout.map(|limit| limit.as_secs()),
            traceparent: engine.trace_of_attempt(spec, &assignment.held).map(|trace| trace.to_string()),
            metadata: match &spec.metadata {
                Some(pairs) => serde_json::from_str(pairs)?,
                None => Value::Object(serde_json::Map::new()),
            },
            input: (),
            steps: (),
        })
    }
}

/// The answer; should it be dropped before it was sent, its jobs go back.
struct Delivery {
    json: Option<Bytes>,
    granted: Granted,
}

impl http_body::Body for Delivery {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        let json = self.json.take();
        if json.is_some() {
            self.granted.delivered();
        }
        Poll::Ready(json.map(|json| Ok(Frame::data(json))))
    }

    fn is_end_stream(&self) -> bool {
        self.json.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.json.as_ref().map_or(0, |json| json.len() as u64))
    }
}
