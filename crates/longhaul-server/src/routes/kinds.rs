//! `/v1/kinds`: what can be submitted, and what workers serve.

use axum::{extract::State, response::Response};
use longhaul_core::{Backoff, Caller, KindName, KindSpec, Limit, QueueName, Rate, Scope, check_limits};
use longhaul_engine::KindInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::jobs::read::to_json;
use crate::{
    app::App,
    auth::{KnowKinds, Worker},
    json::{ApiJson, ApiPath},
    problem::{Code, FieldError, Problem},
};

/// What lasts longer is a mistake of units.
const YEAR_S: u64 = 366 * 86_400;

/// A kind of job.
#[derive(Serialize, ToSchema)]
#[schema(as = Kind)]
pub(crate) struct KindBody {
    /// Its name: what `kind` of a submit says.
    kind: String,
    /// What it does.
    description: Option<String>,
    /// Whether the server runs it itself; else workers do.
    built_in: bool,
    /// JSON Schema of its input; null: any JSON.
    #[schema(value_type = Option<Object>)]
    input_schema: Option<Value>,
    /// JSON Schema of its output.
    #[schema(value_type = Option<Object>)]
    output_schema: Option<Value>,
    /// Where its jobs wait unless they say otherwise.
    queue: String,
    max_attempts: Option<u32>,
    #[schema(value_type = Option<BackoffBody>)]
    backoff: Option<Backoff>,
    /// How long one attempt may take, in seconds.
    timeout_s: Option<u64>,
    /// How many of its jobs run at once and start in a time.
    #[schema(value_type = Vec<LimitBody>)]
    limits: Vec<Limit>,
}

/// How many jobs of a kind run at once and start in a time, whoever runs them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Limit)]
pub(crate) struct LimitBody {
    /// JSON Pointer into the input: those jobs are limited together that have the same value there. Without one, all jobs
    /// of the kind are.
    #[schema(max_length = 200, examples("/customer"))]
    key: Option<String>,
    /// How many of them run at once.
    #[schema(minimum = 1, maximum = 1_000_000)]
    concurrency: Option<u32>,
    /// How many attempts of them start in a time.
    rate: Option<RateBody>,
}

/// At most `count` starts in any `per_s` seconds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rate)]
pub(crate) struct RateBody {
    #[schema(minimum = 1, maximum = 1_000_000)]
    count: u32,
    /// Up to a day.
    #[schema(minimum = 1, maximum = 86_400)]
    per_s: u32,
}

/// Full-jitter exponential backoff.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Backoff)]
pub(crate) struct BackoffBody {
    /// The most that the first wait can be.
    #[schema(minimum = 1)]
    initial_ms: u64,
    /// The most that any wait can be.
    #[schema(minimum = 1)]
    max_ms: u64,
}

impl From<KindInfo> for KindBody {
    fn from(KindInfo { spec, built_in }: KindInfo) -> Self {
        Self {
            kind: spec.name.to_string(),
            description: spec.description,
            built_in,
            input_schema: spec.input_schema,
            output_schema: spec.output_schema,
            queue: spec.queue.unwrap_or_else(QueueName::default_queue).to_string(),
            max_attempts: spec.max_attempts,
            backoff: spec.backoff,
            timeout_s: spec.timeout_s,
            limits: spec.limits,
        }
    }
}

/// All kinds.
#[derive(Serialize, ToSchema)]
pub(crate) struct KindList {
    /// The built-in ones first.
    data: Vec<KindBody>,
}

/// List kinds
#[utoipa::path(
    get, path = "/v1/kinds", tag = "kinds", operation_id = "list_kinds",
    responses((status = 200, description = "What can be submitted.", body = KindList))
)]
pub(crate) async fn list(State(app): State<App>, KnowKinds(caller): KnowKinds) -> Result<Response, Problem> {
    to_json(&KindList { data: app.engine().kinds(&caller.tenant).into_iter().map(KindBody::from).collect() })
}

/// The kind that a path names.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct KindPath {
    /// The kind's name.
    kind: String,
}

/// A kind that workers serve.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterKind {
    /// What it does.
    #[schema(max_length = 1000)]
    description: Option<String>,
    /// JSON Schema that inputs must fit before a job is accepted.
    #[schema(value_type = Option<Object>)]
    input_schema: Option<Value>,
    /// JSON Schema of outputs.
    #[schema(value_type = Option<Object>)]
    output_schema: Option<Value>,
    /// Where its jobs wait unless they say otherwise.
    queue: Option<String>,
    /// How many attempts may fail, 1 to 100.
    #[schema(minimum = 1, maximum = 100)]
    max_attempts: Option<u32>,
    backoff: Option<BackoffBody>,
    /// How long one attempt may take, in seconds.
    #[schema(minimum = 1)]
    timeout_s: Option<u64>,
    /// At most two: one over all of the kind's jobs, and one by key.
    #[serde(default)]
    #[schema(max_items = 2)]
    limits: Vec<LimitBody>,
}

/// Register a kind that workers serve
///
/// Durable; registering again replaces. From then on jobs of this kind are accepted, and wait until a worker claims them.
#[utoipa::path(
    put, path = "/v1/kinds/{kind}", tag = "kinds", operation_id = "register_kind", params(KindPath),
    request_body = RegisterKind,
    responses((status = 200, description = "Registered.", body = KindBody))
)]
pub(crate) async fn register(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<KindPath>,
    ApiJson(body): ApiJson<RegisterKind>,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: &str, message: String| errors.push(FieldError::new(pointer, message));
    let name = KindName::new(&path.kind).map_err(|why| wrong(":kind", why.to_string())).ok();
    let queue = body.queue.as_deref().map(QueueName::new).transpose().unwrap_or_else(|why| {
        wrong("/queue", why.to_string());
        None
    });
    if body.max_attempts.is_some_and(|attempts| !(1..=100).contains(&attempts)) {
        wrong("/max_attempts", "must be from 1 to 100".into());
    }
    if body.timeout_s.is_some_and(|seconds| !(1..=YEAR_S).contains(&seconds)) {
        wrong("/timeout_s", "must be from 1 second to a year".into());
    }
    if let Some(backoff) = &body.backoff {
        if backoff.initial_ms == 0 || backoff.initial_ms > backoff.max_ms {
            wrong("/backoff/initial_ms", "must be from 1 to `max_ms`".into());
        }
        if backoff.max_ms > YEAR_S * 1_000 {
            wrong("/backoff/max_ms", "must not be longer than a year".into());
        }
    }
    let limits: Vec<Limit> = (body.limits.into_iter())
        .map(|LimitBody { key, concurrency, rate }| {
            let rate = rate.map(|RateBody { count, per_s }| Rate { count, per_s });
            Limit { key, concurrency, rate }
        })
        .collect();
    for flaw in check_limits(&limits) {
        wrong(&format!("/limits/{}{}", flaw.index, flaw.pointer), flaw.message);
    }
    let (Some(name), true) = (name, errors.is_empty()) else {
        return Err(Problem::invalid(Code::InvalidRequest, errors));
    };
    let spec = KindSpec {
        name,
        description: body.description,
        input_schema: body.input_schema,
        output_schema: body.output_schema,
        queue,
        max_attempts: body.max_attempts,
        backoff: body.backoff.map(|BackoffBody { initial_ms, max_ms }| Backoff { initial_ms, max_ms }),
        timeout_s: body.timeout_s,
        limits,
    };
    may_serve(&app, &caller, &spec).await?;
    match app.engine().register_kind(&caller.tenant, spec.clone()).await? {
        Ok(()) => to_json(&KindBody::from(KindInfo { spec, built_in: false })),
        Err(why) => Err(Problem::new(Code::InvalidRequest, format!("The kind cannot be registered: {why}."))),
    }
}

/// A worker of one queue registers kinds of that queue, and does not take over those of another.
async fn may_serve(app: &App, caller: &Caller, spec: &KindSpec) -> Result<(), Problem> {
    let engine = app.engine();
    let mut existing = engine.kind(&caller.tenant, &spec.name);
    if existing.is_none() && engine.look_for_kinds().await {
        existing = engine.kind(&caller.tenant, &spec.name);
    }
    let queues = [Some(spec.queue.clone()), existing.map(|kind| kind.queue.clone())];
    for queue in queues.into_iter().flatten() {
        let queue = queue.unwrap_or_else(QueueName::default_queue);
        if !caller.may(&Scope::Worker(Some(queue.clone()))) {
            return Err(Problem::new(Code::Forbidden, format!("The API key may not serve the queue `{queue}`.")));
        }
    }
    Ok(())
}
