//! `/v1/queues`: how queues stand, and holding them back.

use axum::{extract::State, response::Response};
use longhaul_core::{QueueName, Tenant};
use longhaul_engine::store::QueueState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::jobs::read::to_json;
use crate::{
    app::App,
    auth::{Operator, Read},
    json::ApiPath,
    problem::{Code, Problem},
};

/// A queue.
#[derive(Serialize, ToSchema)]
#[schema(as = Queue)]
pub(crate) struct QueueBody {
    name: String,
    /// Whether it gives out no jobs.
    paused: bool,
    /// How many of its jobs may run at once; null: as many as are claimed.
    concurrency: Option<u32>,
    /// How many wait, for whatever reason.
    queued: u64,
    /// How many run.
    running: u64,
}

impl From<QueueState> for QueueBody {
    fn from(state: QueueState) -> Self {
        let QueueState { name, paused, concurrency, queued, running, waiting: _ } = state;
        Self { name: name.to_string(), paused, concurrency, queued, running }
    }
}

/// All queues.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueueList {
    data: Vec<QueueBody>,
}

/// List queues
///
/// Every queue that is configured, paused, or has had a job since the start.
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
    to_json(&QueueList { data: app.engine().queues().await?.into_iter().map(QueueBody::from).collect() })
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
    let states = app.engine().queues().await?;
    let fresh = || QueueState { name: queue.clone(), paused, concurrency: None, queued: 0, running: 0, waiting: 0 };
    let state = states.into_iter().find(|state| state.name == queue).unwrap_or_else(fresh);
    to_json(&QueueBody::from(state))
}
