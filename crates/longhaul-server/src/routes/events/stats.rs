//! `GET /v1/stats`: the rolling figures behind the dashboard. What they cost does not depend on how many jobs there are.

use axum::{extract::State, response::Response};
use longhaul_core::{Span, Tenant, Timestamp};
use longhaul_engine::{Percentiles, Window, store::StoreError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    auth::Read,
    json::ApiQuery,
    problem::{Code, Problem},
    routes::{jobs::read::to_json, queues::QueueBody},
};

/// The window when none is asked for, in seconds.
const WINDOW_S: u64 = 60;

/// The longest window, in seconds: so far back are figures kept.
const WINDOW_MOST_S: u64 = 300;

/// How far back to look.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsQuery {
    /// The figures of about so many seconds, 5 to 300.
    #[param(minimum = 5, maximum = 300, default = 60)]
    window_s: Option<u64>,
}

/// The figures of a window that ends now: jobs that came and went, and how long those that ended had taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
pub(crate) struct StatsBody {
    /// When they were taken.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// How long the window is.
    window_s: f64,
    // What came and went.
    #[schema(inline)]
    jobs: JobFigures,
    // How long jobs that ended in the window had taken.
    #[schema(inline)]
    latency_ms: LatencyFigures,
    /// How every queue stands.
    queues: Vec<QueueBody>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobFigures {
    /// Jobs that wait, of all queues.
    queued: u64,
    /// Jobs that run.
    running: u64,
    submitted: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    submitted_per_s: f64,
    ended_per_s: f64,
    /// Of those that ended by themselves, the part that failed; null when none did.
    error_rate: Option<f64>,
    /// Of those that succeeded, the part that did not come from the first target; null when none did.
    fallback_rate: Option<f64>,
    /// Of those that succeeded, the part that came from a cache; null when none did.
    hit_rate: Option<f64>,
    input_tokens: u64,
    output_tokens: u64,
    cost_microusd: u64,
}

/// From the submit to the first attempt, from there to the end, and both.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LatencyFigures {
    // From the submit to the first attempt.
    #[schema(inline)]
    queued: PercentileFigures,
    // From the first attempt to the end.
    #[schema(inline)]
    ran: PercentileFigures,
    // From the submit to the end.
    #[schema(inline)]
    total: PercentileFigures,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PercentileFigures {
    p50: f64,
    p95: f64,
    p99: f64,
    /// How many were measured.
    count: u64,
}

impl From<Percentiles> for PercentileFigures {
    fn from(from: Percentiles) -> Self {
        let ms = |span: Span| span.as_micros() as f64 / 1_000.0;
        Self { p50: ms(from.p50), p95: ms(from.p95), p99: ms(from.p99), count: from.count }
    }
}

/// Read the rolling figures
///
/// Rates, percentiles and depths of the last seconds. They begin anew with the server's process. Also on the WebSocket,
/// once a second: topic `stats`.
#[utoipa::path(
    get, path = "/v1/stats", tag = "events", operation_id = "get_stats", params(StatsQuery),
    responses((status = 200, description = "The figures.", body = StatsBody))
)]
pub(crate) async fn show(
    State(app): State<App>,
    Read(caller): Read,
    ApiQuery(query): ApiQuery<StatsQuery>,
) -> Result<Response, Problem> {
    if caller.tenant != Tenant::default_tenant() {
        let detail = "The figures are the installation's; only keys of the tenant `default` may see them.";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let window_s = match query.window_s {
        None => WINDOW_S,
        Some(seconds) if (5..=WINDOW_MOST_S).contains(&seconds) => seconds,
        Some(seconds) => {
            let why = format!("is {seconds}; it must be from 5 to {WINDOW_MOST_S} seconds");
            return Err(Problem::invalid_field("?window_s", why));
        }
    };
    to_json(&taken(&app, Span::from_secs(window_s)).await?)
}

/// The figures of the last minute.
pub(super) async fn snapshot(app: &App) -> Result<StatsBody, StoreError> {
    taken(app, Span::from_secs(WINDOW_S)).await
}

async fn taken(app: &App, span: Span) -> Result<StatsBody, StoreError> {
    let queues = app.engine().queues().await?;
    let Window { span, counts, queued, ran, whole } = app.engine().window(span);
    let seconds = span.as_micros() as f64 / 1_000_000.0;
    let part = |some: u64, of: u64| (of > 0).then(|| some as f64 / of as f64);
    Ok(StatsBody {
        time: app.engine().clock().now(),
        window_s: seconds,
        jobs: JobFigures {
            queued: queues.iter().map(|queue| queue.queued).sum(),
            running: queues.iter().map(|queue| queue.running).sum(),
            submitted: counts.submitted,
            succeeded: counts.succeeded,
            failed: counts.failed,
            cancelled: counts.cancelled,
            submitted_per_s: counts.submitted as f64 / seconds,
            ended_per_s: (counts.succeeded + counts.failed + counts.cancelled) as f64 / seconds,
            error_rate: part(counts.failed, counts.succeeded + counts.failed),
            fallback_rate: part(counts.degraded, counts.succeeded),
            hit_rate: part(counts.cached, counts.succeeded),
            input_tokens: counts.input_tokens,
            output_tokens: counts.output_tokens,
            cost_microusd: counts.cost_microusd,
        },
        latency_ms: LatencyFigures { queued: queued.into(), ran: ran.into(), total: whole.into() },
        queues: queues.into_iter().map(QueueBody::from).collect(),
    })
}
