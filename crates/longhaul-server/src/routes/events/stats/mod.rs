//! `GET /v1/stats`: the rolling figures behind the dashboard. What they cost does not depend on how many jobs there are.
//!
//! Everybody who watches over a WebSocket is sent the same text, made at most about once a second however many watch
//! ([`Latest`]), and of bounded size: of more queues or models than fit those that matter most are sent, and how many were
//! left out. `GET /v1/stats` tells all of them.

mod alerts;
pub(crate) mod figures;

use std::cmp::Reverse;

use axum::{
    extract::{State, ws::Utf8Bytes},
    response::Response,
};
use longhaul_core::{Span, Tenant, Timestamp};
use longhaul_engine::store::StoreError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::{
    alerts::AlertBody,
    figures::{JobFigures, LatencyFigures, ModelBody},
};
use crate::{
    app::App,
    auth::Read,
    json::ApiQuery,
    problem::{Code, Problem},
    routes::{
        jobs::read::to_json,
        queues::{self, QueueBody},
    },
};

/// The window when none is asked for, in seconds.
const WINDOW_S: u64 = 60;

/// The longest window, in seconds: so far back are figures kept.
const WINDOW_MOST_S: u64 = 300;

/// How many queues and models a message over a WebSocket tells of: with all of them it stays below 50 KB.
const QUEUES_SENT: usize = 64;
const MODELS_SENT: usize = 20;

/// How long figures over a WebSocket are sent again instead of taken anew. Shorter than their interval, so that nobody is
/// sent the same twice.
const FRESH_FOR: Span = Span::from_millis(900);

/// How far back to look.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsQuery {
    /// The figures of about so many seconds, 5 to 300.
    #[param(minimum = 5, maximum = 300, default = 60)]
    window_s: Option<u64>,
}

/// The figures of a window that ends now: jobs that came and went, how long those that ended had taken, what models did,
/// and what of it needs a person.
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
    /// Queues that this message has no room for.
    queues_left_out: usize,
    /// What every model did.
    models: Vec<ModelBody>,
    /// Models that this message has no room for.
    models_left_out: usize,
    /// The conditions that should bring a person, each as it stands.
    alerts: Vec<AlertBody>,
}

/// Read the rolling figures
///
/// Rates, percentiles and depths of the last seconds, by model what its layers decided, and the alert conditions as they
/// stand. They begin anew with the server's process. Also on the WebSocket, once a second: topic `stats`.
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

/// The figures that were sent last, for all who watch.
#[derive(Default)]
pub(crate) struct Latest(tokio::sync::Mutex<Option<(Timestamp, Utf8Bytes)>>);

/// The figures of the last minute as a message, taken now or a moment ago.
pub(super) async fn message(app: &App) -> Result<Utf8Bytes, StoreError> {
    // Held while they are taken: whoever comes meanwhile wants the same.
    let mut latest = app.0.latest_stats.0.lock().await;
    let now = app.engine().clock().now();
    if let Some((at, text)) = &*latest
        && (*at..*at + FRESH_FOR).contains(&now)
    {
        return Ok(text.clone());
    }
    let mut body = taken(app, Span::from_secs(WINDOW_S)).await?;
    body.cut();
    let text = serde_json::to_string(&Topical { topic: "stats", body }).unwrap_or_default();
    let text = Utf8Bytes::from(text);
    *latest = Some((now, text.clone()));
    Ok(text)
}

#[derive(Serialize)]
struct Topical {
    topic: &'static str,
    #[serde(flatten)]
    body: StatsBody,
}

impl StatsBody {
    /// Leaves out what would make a message too long: of queues and models those that matter least.
    fn cut(&mut self) {
        if self.queues.len() > QUEUES_SENT {
            self.queues_left_out = self.queues.len() - QUEUES_SENT;
            self.queues.sort_by_key(|queue| Reverse((queue.paused, queue.queued + queue.running)));
            self.queues.truncate(QUEUES_SENT);
            self.queues.sort_by(|one, other| one.name.cmp(&other.name));
        }
        if self.models.len() > MODELS_SENT {
            self.models_left_out = self.models.len() - MODELS_SENT;
            let is_open = |model: &ModelBody| model.breakers.iter().any(|breaker| breaker.state != "closed");
            self.models.sort_by_key(|model| Reverse((is_open(model), model.calls)));
            self.models.truncate(MODELS_SENT);
            self.models.sort_by(|one, other| one.model.cmp(&other.model));
        }
    }
}

async fn taken(app: &App, span: Span) -> Result<StatsBody, StoreError> {
    let queues = queues::bodies(app, span).await?;
    let window = app.engine().window(span);
    let seconds = window.span.as_micros() as f64 / 1_000_000.0;
    let (queued, running) =
        queues.iter().fold((0, 0), |(queued, running), queue| (queued + queue.queued, running + queue.running));
    let jobs = JobFigures::of(&window, seconds, queued, running);
    let latency_ms =
        LatencyFigures { queued: window.queued.into(), ran: window.ran.into(), total: window.whole.into() };
    let of_models = app.gateway().window(std::time::Duration::from_micros(span.as_micros()));
    let models_s = of_models.span.as_secs_f64();
    let models: Vec<ModelBody> = of_models.models.into_iter().map(|figures| ModelBody::of(figures, models_s)).collect();
    let alerts = alerts::judged(&jobs, &models, &queues);
    let time = app.engine().clock().now();
    let (queues_left_out, models_left_out) = (0, 0);
    Ok(StatsBody {
        time,
        window_s: seconds,
        jobs,
        latency_ms,
        queues,
        queues_left_out,
        models,
        models_left_out,
        alerts,
    })
}
