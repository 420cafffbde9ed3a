//! What a worker says of a job that it holds.

use axum::{body::Bytes, extract::State, response::Response};
use longhaul_core::{JobError, Progress, Report, RetryPlan, Span, StepName, Timestamp, Usage};
use longhaul_engine::{Completion, store::Held};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{OptionalJson, WorkerAnswer, lease::Lease, lease_lost, refused};
use crate::{
    app::App,
    auth::Worker,
    json::{ApiJson, ApiPath},
    problem::{Code, FieldError, Problem},
    routes::jobs::{JobPath, read::to_json},
};

/// How much later than a worker that keeps its own time the server ends an attempt that takes too long.
const TIMEOUT_GRACE: Span = Span::from_secs(5);

/// The longest message that is kept of an error or of progress, in bytes; what is longer is cut.
const MESSAGE_MOST: usize = 8 * 1024;

/// The longest name of a model that is kept with a result, in characters.
const MODEL_MOST: usize = 200;

/// The most that a result can be said to have taken of anything: no real one does, and sums of it stay exact.
const USAGE_MOST: u64 = 1_000_000_000_000;

/// The longest wait that a worker may ask for before the next attempt: a year.
const RETRY_AFTER_MOST_MS: u64 = 366 * 86_400_000;

/// A sign of life.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Heartbeat {
    /// How far the work is, when it can tell.
    progress: Option<ProgressReport>,
}

/// How far the work is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgressReport {
    /// From 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    fraction: Option<f64>,
    /// In words.
    message: Option<String>,
}

/// What a sign of life is answered with.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeartbeatAnswer {
    /// The lease holds until then, unless it is renewed again.
    #[schema(value_type = String, format = DateTime)]
    lease_expires_at: Timestamp,
    /// Whether the job shall stop: release it. No result is taken any more.
    cancel_requested: bool,
    /// Whether the server is stopping: finish what is under way, and claim again later.
    drain: bool,
}

/// Renew a lease
///
/// At a third of the lease's length, so that two may get lost. Says how far the work is, when told to, and hears
/// whether it shall stop.
#[utoipa::path(
    post, path = "/v1/worker/jobs/{job_id}/heartbeat", tag = "worker", operation_id = "heartbeat",
    params(JobPath, ("Longhaul-Lease" = String, Header, description = "The `lease_token` of the claim.")),
    request_body = Heartbeat,
    responses((status = 200, description = "The lease is renewed.", body = HeartbeatAnswer))
)]
pub(crate) async fn heartbeat(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<JobPath>,
    lease: Lease,
    OptionalJson(Heartbeat { progress }): OptionalJson<Heartbeat>,
) -> Result<Response, Problem> {
    let held = lease.over(&caller.tenant, path.id()?);
    end_if_timed_out(&app, &path, &held, lease).await?;
    let progress = progress.map(ProgressReport::check).transpose()?;
    let answer = app.engine().beat(held, lease.holds_for, progress).await;
    let answer = answer.map_err(|error| refused(&path, error))?;
    to_json(&HeartbeatAnswer {
        lease_expires_at: answer.lease_expires_at,
        cancel_requested: answer.cancel_requested,
        drain: app.engine().is_stopping(),
    })
}

/// Ends an attempt whose kind's time-out is over: a worker that does not look at the time itself keeps no job forever.
async fn end_if_timed_out(app: &App, path: &JobPath, held: &Held, lease: Lease) -> Result<(), Problem> {
    let now = app.engine().clock().now();
    if lease.attempt_ends_at.is_none_or(|end| now < end + TIMEOUT_GRACE) {
        return Ok(());
    }
    let error = JobError::transient("attempt_timeout", "the attempt took longer than its kind allows");
    // What its worker is in the middle of, nobody knows.
    let completion = Completion::Failed { error, plan: RetryPlan::Backoff, ambiguous: true };
    let ended = app.engine().complete(held.clone(), completion, Usage::default()).await;
    ended.map_err(|error| refused(path, error))?;
    Err(lease_lost())
}

impl ProgressReport {
    fn check(self) -> Result<Progress, Problem> {
        if self.fraction.is_some_and(|fraction| !(0.0..=1.0).contains(&fraction)) {
            return Err(Problem::invalid_field("/progress/fraction", "must be from 0 to 1"));
        }
        Ok(Progress { fraction: self.fraction, message: self.message.map(cut) })
    }
}

/// A step's output.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    /// Names the step within its job, the same on every attempt: 1 to 200 letters, digits and `_ - . : /`.
    #[schema(min_length = 1, max_length = 200)]
    step: String,
    /// What it gave.
    #[schema(value_type = Value)]
    output: Box<RawValue>,
    /// What was spent on it.
    #[serde(default)]
    usage: ReportedUsage,
}

/// Store what a step gave
///
/// Once: a later attempt gets it with its claim and does not do the step again. Repeating it with the same output
/// changes nothing; with another it is 409. Its `usage` counts with it, once.
#[utoipa::path(
    post, path = "/v1/worker/jobs/{job_id}/checkpoint", tag = "worker", operation_id = "checkpoint",
    params(JobPath, ("Longhaul-Lease" = String, Header, description = "The `lease_token` of the claim.")),
    request_body = Checkpoint,
    responses((status = 200, description = "It is on disk.", body = WorkerAnswer))
)]
pub(crate) async fn checkpoint(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<JobPath>,
    lease: Lease,
    ApiJson(body): ApiJson<Checkpoint>,
) -> Result<Response, Problem> {
    let held = lease.over(&caller.tenant, path.id()?);
    let step = StepName::new(&body.step).map_err(|why| Problem::invalid_field("/step", why.to_string()))?;
    let spent = body.usage.check("/usage")?;
    let stored = app.engine().checkpoint(held, step, raw(body.output), spent).await;
    stored.map_err(|error| refused(&path, error))?;
    to_json(&WorkerAnswer::of(&path.job_id, longhaul_core::Status::Running))
}

/// A result.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Complete {
    /// What the job gives: any JSON that fits the schema its kind was registered with.
    #[schema(value_type = Value)]
    output: Box<RawValue>,
    /// What the result says of itself.
    report: Option<ResultReport>,
}

/// What a result says of itself; it is shown with the job.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResultReport {
    /// It came from a cache of the worker's.
    #[serde(default)]
    cached: bool,
    /// It is not what the worker gives when all is well.
    #[serde(default)]
    degraded: bool,
    /// The model that gave it, in 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    model: Option<String>,
    /// What was spent beyond what was told with steps.
    #[serde(default)]
    usage: ReportedUsage,
}

/// What was spent. The figures of a job add up, over all of its attempts.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportedUsage {
    /// Tokens read.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_u64)]
    input_tokens: u64,
    /// Tokens written.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_u64)]
    output_tokens: u64,
    /// Millionths of a US dollar.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_u64)]
    cost_microusd: u64,
}

impl ResultReport {
    fn check(self) -> Result<Report, Problem> {
        let Self { cached, degraded, model, usage } = self;
        let mut errors = Vec::new();
        if model.as_ref().is_some_and(|model| !(1..=MODEL_MOST).contains(&model.chars().count())) {
            errors.push(FieldError::new("/report/model", format!("must have 1 to {MODEL_MOST} characters")));
        }
        errors.extend(usage.flaws("/report/usage"));
        match errors.is_empty() {
            true => Ok(Report { degraded, cached, model, usage: usage.into() }),
            false => Err(Problem::invalid(Code::InvalidRequest, errors)),
        }
    }
}

impl ReportedUsage {
    fn flaws(&self, at: &str) -> Vec<FieldError> {
        let Self { input_tokens, output_tokens, cost_microusd } = *self;
        let figures =
            [("input_tokens", input_tokens), ("output_tokens", output_tokens), ("cost_microusd", cost_microusd)];
        let too_large = figures.into_iter().filter(|(_, figure)| *figure > USAGE_MOST);
        let said = |(name, figure)| {
            FieldError::new(format!("{at}/{name}"), format!("is {figure}; it must be at most {USAGE_MOST}"))
        };
        too_large.map(said).collect()
    }

    /// What was spent, if it can be. `at` is the place of the figures in the body.
    pub(crate) fn check(self, at: &str) -> Result<Usage, Problem> {
        let flaws = self.flaws(at);
        if flaws.is_empty() { Ok(self.into()) } else { Err(Problem::invalid(Code::InvalidRequest, flaws)) }
    }
}

impl From<ReportedUsage> for Usage {
    fn from(ReportedUsage { input_tokens, output_tokens, cost_microusd }: ReportedUsage) -> Self {
        Self { input_tokens, output_tokens, cost_microusd }
    }
}

/// Hand in a result
///
/// Exactly one result of a job is accepted. Repeating the call under the same lease answers 200 again. An output that
/// does not fit the kind's `output_schema` is 422 and changes nothing: the worker still holds the job, and may hand in
/// another output or fail.
#[utoipa::path(
    post, path = "/v1/worker/jobs/{job_id}/complete", tag = "worker", operation_id = "complete",
    params(JobPath, ("Longhaul-Lease" = String, Header, description = "The `lease_token` of the claim.")),
    request_body = Complete,
    responses((status = 200, description = "The job has succeeded.", body = WorkerAnswer))
)]
pub(crate) async fn complete(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<JobPath>,
    lease: Lease,
    ApiJson(body): ApiJson<Complete>,
) -> Result<Response, Problem> {
    let held = lease.over(&caller.tenant, path.id()?);
    to_json(&hand_in(&app, &path, held, body.output, body.report).await?)
}

/// Takes a result in, or says why not.
pub(crate) async fn hand_in(
    app: &App,
    path: &JobPath,
    held: Held,
    output: Box<RawValue>,
    report: Option<ResultReport>,
) -> Result<WorkerAnswer, Problem> {
    let report = report.unwrap_or_default().check()?;
    let flaws = app.engine().examine_output(&held, output.get()).await.map_err(|error| refused(path, error))?;
    if !flaws.is_empty() {
        let errors = flaws.into_iter();
        let errors = errors.map(|flaw| FieldError::new(format!("/output{}", flaw.pointer), flaw.message));
        return Err(Problem::invalid(Code::InvalidRequest, errors.collect()));
    }
    let completion = Completion::Succeeded(raw(output), Box::new(report));
    let status = app.engine().complete(held, completion, Usage::default()).await;
    Ok(WorkerAnswer::of(&path.job_id, status.map_err(|error| refused(path, error))?))
}

/// A failure.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fail {
    error: WorkerError,
    /// Whether another attempt may succeed.
    #[schema(default = true)]
    retryable: Option<bool>,
    /// Not before so many milliseconds from now, instead of the kind's backoff.
    #[schema(minimum = 0)]
    retry_after_ms: Option<u64>,
    /// Whether nobody knows if the last call outside took effect: a time-out cut it off, say. The attempt keeps it.
    #[serde(default)]
    #[schema(default = false)]
    ambiguous: bool,
    /// What was spent beyond what was told with steps.
    #[serde(default)]
    usage: ReportedUsage,
}

/// What went wrong.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkerError {
    /// A stable word for programs.
    #[schema(min_length = 1, max_length = 100, examples("model_missing"))]
    code: String,
    /// A sentence for people.
    message: String,
}

/// Report that the attempt failed
///
/// The job is tried again, as its kind says, when the failure is `retryable` and attempts are left; else it has failed.
#[utoipa::path(
    post, path = "/v1/worker/jobs/{job_id}/fail", tag = "worker", operation_id = "fail",
    params(JobPath, ("Longhaul-Lease" = String, Header, description = "The `lease_token` of the claim.")),
    request_body = Fail,
    responses((status = 200, description = "The attempt has ended; `status` says what became of the job.", body = WorkerAnswer))
)]
pub(crate) async fn fail(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<JobPath>,
    lease: Lease,
    ApiJson(body): ApiJson<Fail>,
) -> Result<Response, Problem> {
    let held = lease.over(&caller.tenant, path.id()?);
    let WorkerError { code, message } = body.error;
    if code.is_empty() || code.len() > 100 || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::invalid_field("/error/code", "must be 1 to 100 visible ASCII characters"));
    }
    if body.retry_after_ms.is_some_and(|millis| millis > RETRY_AFTER_MOST_MS) {
        return Err(Problem::invalid_field("/retry_after_ms", "must not be longer than a year"));
    }
    let error = match body.retryable.unwrap_or(true) {
        true => JobError::transient(&code, cut(message)),
        false => JobError::permanent(&code, cut(message)),
    };
    let plan = match body.retry_after_ms {
        Some(millis) => RetryPlan::After(Span::from_millis(millis)),
        None => RetryPlan::Backoff,
    };
    let completion = Completion::Failed { error, plan, ambiguous: body.ambiguous };
    to_json(&end(&app, &path, held, completion, body.usage).await?)
}

/// Ends an attempt without a result.
pub(crate) async fn end(
    app: &App,
    path: &JobPath,
    held: Held,
    completion: Completion,
    usage: ReportedUsage,
) -> Result<WorkerAnswer, Problem> {
    let spent = usage.check("/usage")?;
    let status = app.engine().complete(held, completion, spent).await.map_err(|error| refused(path, error))?;
    Ok(WorkerAnswer::of(&path.job_id, status))
}

/// What is to be known of an attempt that is given back.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    /// Whether nobody knows if the last call outside took effect: a shutdown cut it off, say. The attempt keeps it.
    #[serde(default)]
    #[schema(default = false)]
    ambiguous: bool,
    /// What was spent beyond what was told with steps.
    #[serde(default)]
    usage: ReportedUsage,
}

/// Give a job back
///
/// Unfinished and at no cost to it: another worker goes on with the same attempt. A job that is being cancelled is
/// cancelled with this.
#[utoipa::path(
    post, path = "/v1/worker/jobs/{job_id}/release", tag = "worker", operation_id = "release",
    params(JobPath, ("Longhaul-Lease" = String, Header, description = "The `lease_token` of the claim.")),
    request_body(content = Option<Release>, description = "May be left out."),
    responses((status = 200, description = "It is somebody else's to claim.", body = WorkerAnswer))
)]
pub(crate) async fn release(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<JobPath>,
    lease: Lease,
    OptionalJson(Release { ambiguous, usage }): OptionalJson<Release>,
) -> Result<Response, Problem> {
    let held = lease.over(&caller.tenant, path.id()?);
    to_json(&end(&app, &path, held, Completion::Released { ambiguous }, usage).await?)
}

pub(crate) fn raw(output: Box<RawValue>) -> Bytes {
    Bytes::from(Box::<str>::from(output).into_string())
}

/// What people write may be a whole stack trace: its beginning is kept.
fn cut(mut text: String) -> String {
    if text.len() > MESSAGE_MOST {
        text.truncate((0..=MESSAGE_MOST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
        text.push('…');
    }
    text
}
