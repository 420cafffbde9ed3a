//! A job as clients see it.

use std::hash::{DefaultHasher, Hasher as _};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use longhaul_core::{
    Attempt, ChildCounts, Event, EventKind, Full, Job, JobError, JobId, OutputData, QueuedFor, Rate, Status,
    StatusReason, Timestamp, Wait,
};
use longhaul_engine::store::{Blocker, JobView, Partial};
use serde::{Serialize, Serializer};
use serde_json::{Value, json, value::RawValue};
use utoipa::ToSchema;

use crate::{app::App, problem::Problem};

/// Marks fields that are spliced in as they are stored: they are JSON already, and parsing them would cost more than
/// everything else.
const fn is_spliced<T>(_: &T) -> bool {
    true
}

/// A job.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub(crate) struct JobBody<'a> {
    /// Names the job.
    #[schema(value_type = String, examples("job_019256f0c0de7a5b8c3d1e2f3a4b5c6d"))]
    job_id: JobId,
    /// Always `job`.
    object: &'static str,
    /// What the job does.
    kind: &'a str,
    /// Where it waits.
    queue: &'a str,
    #[schema(inline)]
    status: StatusBody,
    /// Why it stands there; null once it has ended.
    #[schema(required)]
    status_reason: Option<&'static str>,
    /// Counts the changes; the ETag.
    version: u64,
    /// −100 to 100, higher first.
    priority: i8,
    #[schema(inline)]
    progress: ProgressBody<'a>,
    /// How many jobs stand before it in its lane; exact to 1,000, then null.
    queue_position: Option<u32>,
    /// The number of the current or last attempt; 0 before the first.
    attempt: u32,
    max_attempts: u32,
    /// What it was given. Not in lists.
    #[serde(skip_serializing_if = "is_spliced")]
    #[schema(value_type = Value)]
    input: (),
    /// What it gave; null unless it succeeded. Not in lists.
    #[serde(skip_serializing_if = "is_spliced")]
    #[schema(value_type = Value)]
    output: (),
    /// What it has given so far, when it streams its output; kept when it fails, null once it has succeeded. Not in lists.
    #[serde(skip_serializing_if = "is_spliced")]
    #[schema(value_type = Option<PartialBody>)]
    partial: (),
    /// Why it is not running, in words and figures; null when it runs or has ended. Not in lists.
    #[serde(skip_serializing_if = "is_spliced")]
    #[schema(value_type = Option<BlockerBody>)]
    waiting_for: (),
    /// Why it failed, or why its last attempt did.
    #[schema(required, value_type = Option<ErrorBody>)]
    error: Option<&'a JobError>,
    /// Whether the answer did not come from the first target.
    degraded: bool,
    /// Whether the answer came from a cache.
    cached: bool,
    /// The model that answered.
    model: Option<&'a str>,
    #[schema(value_type = UsageBody)]
    usage: longhaul_core::Usage,
    /// The job that it is a part of.
    #[schema(value_type = Option<String>)]
    parent_id: Option<JobId>,
    #[schema(inline)]
    children: ChildCountsBody,
    /// The job that this one is another try of.
    #[schema(value_type = Option<String>)]
    retry_of: Option<JobId>,
    /// The submitter's pairs.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    metadata: Raw<'a>,
    /// The number of its newest event.
    last_event_seq: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline_at: Option<Timestamp>,
    /// When its payloads and events go.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    cancel_requested_at: Option<Timestamp>,
    urls: Urls,
}

/// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Status)]
pub(crate) enum StatusBody {
    /// Not begun, or waiting for another attempt.
    Queued,
    /// Somebody works on it.
    Running,
    /// Ended with an output.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended because somebody asked.
    Cancelled,
}

impl From<Status> for StatusBody {
    fn from(status: Status) -> Self {
        match status {
            Status::Queued => StatusBody::Queued,
            Status::Running => StatusBody::Running,
            Status::Succeeded => StatusBody::Succeeded,
            Status::Failed => StatusBody::Failed,
            Status::Cancelled => StatusBody::Cancelled,
        }
    }
}

/// How a job's children stand.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChildCountsBody {
    /// How many there are.
    total: u32,
    succeeded: u32,
    /// Cancelled ones included.
    failed: u32,
}

impl From<ChildCounts> for ChildCountsBody {
    fn from(counts: ChildCounts) -> Self {
        Self { total: counts.total, succeeded: counts.succeeded, failed: counts.unhappy() }
    }
}

/// What a job has given of its output so far.
#[derive(Serialize, ToSchema)]
#[schema(as = Partial)]
pub(crate) struct PartialBody {
    /// When it gives text.
    text: Option<String>,
    /// When it gives items.
    #[schema(value_type = Option<Vec<Value>>)]
    items: Option<Vec<Box<RawValue>>>,
    /// The `seq` of the last event in it.
    through_seq: u64,
    /// There is more than 8 MiB: this is the beginning.
    cut: bool,
}

impl From<Partial> for PartialBody {
    fn from(partial: Partial) -> Self {
        let Partial { text, items, through_seq, cut } = partial;
        let raw = |item: Box<str>| RawValue::from_string(item.into_string()).ok();
        let items = items.map(|items| items.into_iter().filter_map(raw).collect());
        Self { text, items, through_seq, cut }
    }
}

/// Why a job is not running.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = WaitingFor)]
pub(crate) struct BlockerBody {
    /// `time`, `backoff`, `provider`, `queue_paused`, `queue_full`, `kind_full`, `worker`, `turn`, `children` or `input`.
    what: &'static str,
    /// The same for a person.
    message: String,
    /// Until when, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// The kind whose limit leaves no room.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// Where the value stands in its input that it has in common with those it is limited together with.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// How many of the queue, or of those it is limited together with, run, when as many run as may.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<u64>,
    /// How many of them may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    /// How many of them may start in a time, when as many have started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::routes::kinds::RateBody>)]
    rate: Option<Rate>,
    /// How many stand before it, when there are fewer than 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<u32>,
    /// How many children have not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<u32>,
    /// The step that an answer becomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    /// What is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
}

impl From<&Blocker> for BlockerBody {
    fn from(blocker: &Blocker) -> Self {
        let body = |what, message| Self { what, message, ..Self::default() };
        match blocker {
            Blocker::Scheduled { until } => {
                Self { until: Some(*until), ..body("time", format!("It was submitted for {until}.")) }
            }
            Blocker::Backoff { until } => Self {
                until: Some(*until),
                ..body("backoff", format!("Its last attempt failed; the next one may begin at {until}."))
            },
            Blocker::Parked { until } => {
                Self { until: Some(*until), ..body("provider", format!("It was asked to come back at {until}.")) }
            }
            Blocker::QueuePaused { queue } => Self {
                queue: Some(queue.to_string()),
                ..body("queue_paused", format!("Its queue {queue} is paused: somebody has to resume it."))
            },
            Blocker::QueueFull { queue, running, limit } => Self {
                queue: Some(queue.to_string()),
                running: Some(*running),
                limit: Some(*limit),
                ..body("queue_full", format!("As many jobs of its queue {queue} run as may: {running} of {limit}."))
            },
            Blocker::KindFull { kind, key, full } => {
                let whose = match key {
                    Some(key) => format!("jobs of the kind {kind} with the same {key} in their input"),
                    None => format!("jobs of the kind {kind}"),
                };
                let (kind, key) = (Some(kind.to_string()), key.as_ref().map(ToString::to_string));
                match *full {
                    Full::Concurrency { running, limit } => Self {
                        kind,
                        key,
                        running: Some(running.into()),
                        limit: Some(limit),
                        ..body("kind_full", format!("As many {whose} run as may: {running} of {limit}."))
                    },
                    Full::Rate { rate, until } => Self {
                        kind,
                        key,
                        rate: Some(rate),
                        until: Some(until),
                        ..body(
                            "kind_full",
                            format!(
                                "As many {whose} have started as may: {} in {} s; the next may at {until}.",
                                rate.count, rate.per_s
                            ),
                        )
                    },
                }
            }
            Blocker::NobodyClaims { kind } => body(
                "worker",
                format!("Nobody who serves {kind} has asked for jobs in the last minute: start a worker for it."),
            ),
            Blocker::Turn { queue, ahead, queued } => Self {
                queue: Some(queue.to_string()),
                ahead: *ahead,
                ..body("turn", turn(&queue.to_string(), *ahead, *queued))
            },
            Blocker::Children { pending, total } => Self {
                pending: Some(*pending),
                ..body("children", format!("{pending} of its {total} children have not ended."))
            },
            Blocker::Input { step, prompt } => Self {
                step: Some(step.to_string()),
                prompt: prompt.clone(),
                ..body("input", "Somebody has to answer it: POST …/input.".to_owned())
            },
        }
    }
}

fn turn(queue: &str, ahead: Option<u32>, queued: u64) -> String {
    match ahead {
        Some(0) => "It is the next of its kind: it starts when a worker is free.".to_owned(),
        Some(ahead) => format!("{ahead} jobs of its kind stand before it in the queue {queue}."),
        // Its wait is over, and it has not been given its place yet.
        None if queued < 1_000 => "Its wait has just ended; it is about to be given its turn.".to_owned(),
        None => format!("A thousand jobs or more stand before it in the queue {queue}, which holds {queued}."),
    }
}

/// How far a job is.
#[derive(Serialize, ToSchema)]
#[schema(as = Progress)]
pub(crate) struct ProgressBody<'a> {
    /// 0 to 1, when the work can tell.
    fraction: Option<f64>,
    /// In words.
    message: Option<&'a str>,
}

/// Why a job or an attempt failed.
#[derive(ToSchema)]
#[schema(as = JobError)]
#[allow(dead_code, reason = "describes what longhaul_core::JobError is serialised as")]
pub(crate) struct ErrorBody {
    /// A stable word for programs.
    code: String,
    /// A sentence for people.
    message: String,
    /// Whether another attempt may succeed.
    retryable: bool,
    /// The attempt that failed so.
    attempt: u32,
    /// What the provider answered, when one was called.
    provider: Option<ProviderBody>,
}

/// What a provider answered.
#[derive(ToSchema)]
#[schema(as = ProviderError)]
#[allow(dead_code, reason = "describes what longhaul_core::ProviderError is serialised as")]
pub(crate) struct ProviderBody {
    name: String,
    http_status: Option<u16>,
    request_id: Option<String>,
}

/// What all attempts have spent so far, however they ended.
#[derive(ToSchema)]
#[schema(as = Usage)]
#[allow(dead_code, reason = "describes what longhaul_core::Usage is serialised as")]
pub(crate) struct UsageBody {
    /// Tokens read.
    input_tokens: u64,
    /// Tokens written.
    output_tokens: u64,
    /// Millionths of a US dollar.
    cost_microusd: u64,
}

/// Where to go from here.
#[derive(ToSchema)]
#[allow(dead_code, reason = "written by hand: the fields are made from the id when they are sent")]
pub(crate) struct Urls {
    /// The job.
    #[schema(value_type = String)]
    #[schema(rename = "self")]
    job: JobId,
    /// Its output alone.
    #[schema(value_type = String)]
    result: (),
    /// Its history.
    #[schema(value_type = String)]
    events: (),
    /// Where to ask it to stop.
    #[schema(value_type = String)]
    cancel: (),
}

impl Urls {
    pub(crate) fn of(job: JobId) -> Self {
        Self { job, result: (), events: (), cancel: () }
    }
}

impl Serialize for Urls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let job = format!("/v1/jobs/{}", self.job);
        let mut urls = serializer.serialize_struct("Urls", 4)?;
        urls.serialize_field("self", &job)?;
        urls.serialize_field("result", &format_args!("{job}/result"))?;
        urls.serialize_field("events", &format_args!("{job}/events"))?;
        urls.serialize_field("cancel", &format_args!("{job}/cancel"))?;
        urls.end()
    }
}

/// An object that is stored as JSON text.
pub(crate) struct Raw<'a>(Option<&'a str>);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.collect_map(std::iter::empty::<((), ())>()),
            Some(text) => {
                let raw: &serde_json::value::RawValue =
                    serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
        }
    }
}

/// Where a job stands, as far as its own row does not tell.
#[derive(Clone, Copy, Default)]
pub(crate) struct Standing {
    pub(crate) reason: Option<StatusReason>,
    pub(crate) position: Option<u32>,
}

impl<'a> JobBody<'a> {
    pub(crate) fn of(job: &'a Job, standing: Standing) -> Self {
        let spec = &job.spec;
        Self {
            job_id: spec.id,
            object: "job",
            kind: &spec.kind,
            queue: &spec.queue,
            status: job.status().into(),
            status_reason: standing.reason.map(StatusReason::as_str),
            version: job.version,
            priority: spec.priority,
            progress: ProgressBody {
                fraction: job.progress.as_ref().and_then(|progress| progress.fraction),
                message: job.progress.as_ref().and_then(|progress| progress.message.as_deref()),
            },
            queue_position: standing.position,
            attempt: job.attempt,
            max_attempts: spec.max_attempts,
            input: (),
            output: (),
            partial: (),
            waiting_for: (),
            error: job.error.as_ref(),
            degraded: job.report.degraded,
            cached: job.report.cached,
            model: job.report.model.as_deref(),
            usage: job.report.usage,
            parent_id: spec.parent,
            children: job.children.into(),
            retry_of: spec.retry_of,
            metadata: Raw(spec.metadata.as_deref()),
            last_event_seq: job.last_seq,
            created_at: spec.created_at,
            run_at: spec.run_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            deadline_at: spec.deadline_at,
            expires_at: job.expires_at(),
            cancel_requested_at: job.cancel_requested_at,
            urls: Urls::of(spec.id),
        }
    }
}

/// The job as JSON, payloads included.
pub(crate) async fn job_json(app: &App, view: &JobView) -> Result<Vec<u8>, Problem> {
    let job = &view.job;
    let engine = app.engine();
    let reason = job.status_reason(engine.clock().now());
    let blocker = match reason {
        None | Some(StatusReason::Executing | StatusReason::Validating | StatusReason::Cancelling) => None,
        Some(_) => engine.explain(&job.spec.tenant, job.spec.id).await?,
    };
    let standing = Standing {
        reason: match &blocker {
            Some(Blocker::QueuePaused { .. }) => Some(StatusReason::Paused),
            Some(Blocker::QueueFull { .. } | Blocker::KindFull { .. }) => Some(StatusReason::Blocked),
            _ => reason,
        },
        position: match (&blocker, reason) {
            (Some(Blocker::Turn { ahead, .. }), _) => *ahead,
            // Also what is held back knows its place.
            (Some(_), Some(StatusReason::Ready)) => {
                engine.store().queue_position(&job.spec.tenant, job.spec.id).await?
            }
            _ => None,
        },
    };
    let streamed = job.last_delta_seq > 0 && job.status() != Status::Succeeded;
    let partial = if streamed { engine.partial(&job.spec.tenant, job.spec.id).await? } else { None };
    let input = app.engine().payload(&view.input).await?;
    let output = match &view.output {
        Some(output) => app.engine().payload(output).await?,
        None => Bytes::from_static(b"null"),
    };
    let mut json = Vec::with_capacity(1_280 + input.len() + output.len());
    serde_json::to_writer(&mut json, &JobBody::of(job, standing)).map_err(|error| {
        tracing::error!(%error, job_id = %job.spec.id, "a job could not be shown");
        Problem::new(crate::problem::Code::Internal, "The job could not be shown.")
    })?;
    json.pop();
    json.extend_from_slice(b",\"input\":");
    json.extend_from_slice(&input);
    json.extend_from_slice(b",\"output\":");
    json.extend_from_slice(&output);
    json.extend_from_slice(b",\"partial\":");
    splice(&mut json, partial.map(PartialBody::from).as_ref());
    json.extend_from_slice(b",\"waiting_for\":");
    splice(&mut json, blocker.as_ref().map(BlockerBody::from).as_ref());
    json.push(b'}');
    Ok(json)
}

fn splice<T: Serialize>(json: &mut Vec<u8>, value: Option<&T>) {
    let from = json.len();
    if serde_json::to_writer(&mut *json, &value).is_err() {
        json.truncate(from);
        json.extend_from_slice(b"null");
    }
}

/// An answer whose body is JSON already.
pub(crate) fn json_answer(status: StatusCode, json: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(json.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The tag of a job as it is shown. One that has not ended is shown with more than its version counts: why it waits, and
/// its place in the queue.
pub(crate) fn etag(job: &Job, json: &[u8]) -> HeaderValue {
    let version = job.version;
    let tag = match job.status().is_terminal() {
        true => format!("\"{version}\""),
        false => {
            let mut hasher = DefaultHasher::new();
            hasher.write(json);
            format!("\"{version}-{:016x}\"", hasher.finish())
        }
    };
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// How long a client should leave between two looks at a job: longer, the older it is.
pub(crate) fn poll_hint(job: &Job, now: Timestamp) -> HeaderValue {
    HeaderValue::from((now.since(job.spec.created_at).as_secs() / 10).clamp(1, 10))
}

pub(crate) fn with(
    mut response: Response,
    headers: impl IntoIterator<Item = (header::HeaderName, HeaderValue)>,
) -> Response {
    response.headers_mut().extend(HeaderMap::from_iter(headers));
    response
}

/// What a submit is answered with.
#[derive(Serialize, ToSchema)]
pub(crate) struct Receipt {
    #[schema(value_type = String)]
    pub(crate) job_id: JobId,
    // `queued`, except where a receipt answers a later question. A doc comment here would become a second, wrong schema.
    #[schema(inline)]
    pub(crate) status: StatusBody,
    pub(crate) urls: Urls,
}

impl Receipt {
    pub(crate) fn of(job_id: JobId) -> Self {
        Self { job_id, status: StatusBody::Queued, urls: Urls::of(job_id) }
    }
}

/// One line of a job's history.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventBody {
    /// 1, 2, 3 … per job, without gaps.
    seq: u64,
    /// `job.queued`, `job.running`, `job.progress`, `job.step`, `job.log`, `job.layer`, `job.waiting`,
    /// `job.output.delta`, `job.output.reset`, `job.succeeded`, `job.failed` or `job.cancelled`.
    #[serde(rename = "type")]
    kind: &'static str,
    #[schema(value_type = String)]
    job_id: JobId,
    /// The attempt it belongs to; 0 before the first.
    attempt: u32,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// What depends on the type.
    #[schema(value_type = Object)]
    data: Value,
}

impl EventBody {
    pub(crate) fn of(job_id: JobId, event: &Event) -> Self {
        let kind = event.kind.name();
        let data = match &event.kind {
            EventKind::Queued { why, due_at, error } => {
                let reason = match why {
                    QueuedFor::Turn => "ready",
                    QueuedFor::Schedule => "scheduled",
                    QueuedFor::Retry => "retry_wait",
                    QueuedFor::Park => "parked",
                    QueuedFor::Resume => "resumed",
                };
                json!({ "status_reason": reason, "due_at": due_at, "error": error })
            }
            EventKind::Running { worker } => json!({ "worker": worker }),
            EventKind::Progress { fraction, message } => json!({ "fraction": fraction, "message": message }),
            EventKind::Step { name } => json!({ "step": name }),
            EventKind::Log { level, message } => json!({ "level": level.as_str(), "message": message }),
            EventKind::Failed { error } => json!({ "error": error }),
            EventKind::Waiting { wait: Wait::Children } => json!({ "for": "children" }),
            EventKind::Waiting { wait: Wait::Input { step, prompt } } => {
                json!({ "for": "input", "step": step, "prompt": prompt })
            }
            EventKind::OutputDelta { data: OutputData::Text(text) } => json!({ "text": text }),
            EventKind::OutputDelta { data: OutputData::Items(items) } => {
                let read = |item: &str| {
                    // Stored by an earlier version: shown as the text that it is.
                    serde_json::from_str::<Value>(item).unwrap_or_else(|_| Value::from(item))
                };
                json!({ "items": items.iter().map(|item| read(item)).collect::<Vec<_>>() })
            }
            EventKind::OutputReset { keep_through } => json!({ "keep_through": keep_through }),
            EventKind::Layer { data } => serde_json::from_str(data).unwrap_or_default(),
            EventKind::Succeeded | EventKind::Cancelled => json!({}),
        };
        Self { seq: event.seq, kind, job_id, attempt: event.attempt, time: event.time, data }
    }
}

/// One try at a job.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptBody {
    /// From 1. An attempt that was given back unfinished goes on under its number.
    attempt: u32,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// Null while it runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    duration_ms: Option<u64>,
    worker: String,
    /// `running`, `succeeded`, `failed`, `crashed`, `released`, `parked`, `cancelled` or `deadline_exceeded`.
    outcome: &'static str,
    #[schema(value_type = Option<ErrorBody>)]
    error: Option<JobError>,
    /// Whether it cannot be known if its last outside call took effect.
    ambiguous: bool,
}

impl From<Attempt> for AttemptBody {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt: attempt.number,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            duration_ms: attempt.ended_at.map(|at| at.since(attempt.started_at).as_millis()),
            worker: attempt.worker,
            outcome: attempt.ending.map_or("running", longhaul_core::Ending::as_str),
            error: attempt.error,
            ambiguous: attempt.ambiguous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_whose_place_is_not_known_stands_behind_thousands_only_where_there_are_so_many() {
        assert!(turn("q", None, 5_000).starts_with("A thousand jobs or more"));
        assert_eq!(turn("q", None, 1), "Its wait has just ended; it is about to be given its turn.");
        assert_eq!(turn("q", Some(3), 9), "3 jobs of its kind stand before it in the queue q.");
    }
}
