//! `/v1/queues`: how queues stand, and holding them back.

use axum::{extract::State, response::Response};
use longhaul_core::{QueueName, Span, Tenant, Timestamp};
use longhaul_engine::{
    QueueCounts,
    store::{QueueState, StoreError},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{events::stats::figures::per, jobs::read::to_json};
use crate::{
    app::App,
    auth::{Operator, Read},
    json::ApiPath,
    problem::{Code, Problem},
};

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(crate) struct QueueBody {
    pub(super) name: String,
    /// Whether it gives out no jobs.
    pub(super) paused: bool,
    /// How many of its jobs may run at once; null: as many as are claimed.
    concurrency: Option<u32>,
    /// How many wait, for whatever reason.
    pub(super) queued: u64,
    /// How many run.
    pub(super) running: u64,
    /// How many wait without a worker, for their children or for input.
    waiting: u64,
    /// How long the job that goes next has been ready; null when none is. Where priorities differ an older one may stand
    /// behind it.
    pub(super) oldest_age_ms: Option<u64>,
    /// Jobs taken in, of the last minute, by this server.
    submitted_per_s: f64,
    /// Jobs that ended, however.
    ended_per_s: f64,
}

impl QueueBody {
    fn of(state: QueueState, counts: QueueCounts, span: Span, now: Timestamp) -> Self {
        let QueueState { name, paused, concurrency, queued, running, waiting, first_ready_at } = state;
        let seconds = span.as_micros() as f64 / 1_000_000.0;
        Self {
            name: name.to_string(),
            paused,
            concurrency,
            queued,
            running,
            waiting,
            oldest_age_ms: first_ready_at.map(|at| now.since(at).as_millis()),
            submitted_per_s: per(counts.submitted, seconds),
            ended_per_s: per(counts.ended, seconds),
        }
    }
}

/// How every queue stands, with what came and went in about the last `span`.
pub(super) async fn bodies(app: &App, span: Span) -> Result<Vec<QueueBody>, StoreError> {
    let states = app.engine().queues().await?;
    let (counts, covered) = (app.engine().window_of_queues(span), app.engine().window(span).span);
    let now = app.engine().clock().now();
    let body = |state: QueueState| {
        let counted = counts.get(&state.name).copied().unwrap_or_default();
        QueueBody::of(state, counted, covered, now)
    };
    Ok(states.into_iter().map(body).collect())
}

/// Over which time the rates of a queue are taken.
const RATES_OVER: Span = Span::from_secs(60);

/// All queues.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueueList {
    data: Vec<QueueBody>,
}

/// List queues
///
/// Every queue that is configured, paused, or holds a job that has not ended; and of those that ran empty, some that were
/// used since the start.
#[utoipa::path(
    get, path = "/v1/queues", tag = "queues", operation_id = "list_queues",
    responses((status = 200, description = "How they stand.", body = QueueList))
)]
pub(crate) async fn list(State(app): State<App>, Read(caller): Read) -> Result<Response, Problem> {
    // Queues are the installation's: what waits in them tells of everybody's work.
    if caller.tenant != Tenant::default_tenant() {
        let detail = "Queues belong to the installation; only keys of the tenant `default` may see them.";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    to_json(&QueueList { data: bodies(&app, RATES_OVER).await? })
}

/// The queue that a path names.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct QueuePath {
    /// The queue's name.
    queue: String,
}

/// Pause a queue
///
/// It gives out no jobs until it is resumed, restarts included; what runs goes on, and jobs are still taken in.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/pause", tag = "queues", operation_id = "pause_queue", params(QueuePath),
    responses((status = 200, description = "Paused.", body = QueueBody))
)]
pub(crate) async fn pause(
    State(app): State<App>,
    _caller: Operator,
    ApiPath(path): ApiPath<QueuePath>,
) -> Result<Response, Problem> {
    set(&app, path, true).await
}

/// Resume a queue
#[utoipa::path(
    post, path = "/v1/queues/{queue}/resume", tag = "queues", operation_id = "resume_queue", params(QueuePath),
    responses((status = 200, description = "It gives out jobs again.", body = QueueBody))
)]
pub(crate) async fn resume(
    State(app): State<App>,
    _caller: Operator,
    ApiPath(path): ApiPath<QueuePath>,
) -> Result<Response, Problem> {
    set(&app, path, false).await
}

async fn set(app: &App, path: QueuePath, paused: bool) -> Result<Response, Problem> {
    let queue = QueueName::new(&path.queue).map_err(|why| Problem::invalid_field(":queue", why.to_string()))?;
    app.engine().pause_queue(queue.clone(), paused).await?;
    let known = bodies(app, RATES_OVER).await?.into_iter().find(|body| body.name == queue.as_str());
    let fresh = || {
        let (concurrency, first_ready_at) = (None, None);
        let state = QueueState { name: queue, paused, concurrency, queued: 0, running: 0, waiting: 0, first_ready_at };
        QueueBody::of(state, QueueCounts::default(), RATES_OVER, app.engine().clock().now())
    };
    to_json(&known.unwrap_or_else(fresh))
}
