//! `GET /v1/models`: what the configuration has; and the live state of the layers around a model.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use longhaul_gateway::{BreakerHand, ModelView, UnknownModel, UnknownTarget, nearest};
use longhaul_providers::openai::facade::{ListedModel, encode_model, encode_models};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Llm, Operator},
    facade::{Refusal, json},
    json::ApiJson,
    problem::{Code, Problem},
    routes::jobs::{read::to_json, view::json_answer},
};

/// List the models
#[utoipa::path(
    get, path = "/v1/models", tag = "openai", operation_id = "list_models",
    responses((status = 200, description = "OpenAI's list of models: those of the configuration.", body = inline(serde_json::Value)))
)]
pub(crate) async fn list(State(app): State<App>, _caller: Llm) -> Response {
    let models: Vec<ListedModel> = app.gateway().models().into_iter().map(|model| listed(&app, model)).collect();
    json(encode_models(&models))
}

/// Get a model
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "openai", operation_id = "get_model",
    params(("model" = String, Path, description = "Its name.")),
    responses((status = 200, description = "OpenAI's model object.", body = inline(serde_json::Value)))
)]
pub(crate) async fn show(State(app): State<App>, _caller: Llm, Path(name): Path<String>) -> Result<Response, Refusal> {
    let models = app.gateway().models();
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    match models.into_iter().find(|model| model.name == name) {
        Some(model) => Ok(json(encode_model(&listed(&app, model)))),
        None => {
            let name: String = name.chars().take(80).collect();
            let near = nearest(&name, names.iter().map(String::as_str));
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            Err(Refusal::new(404, "model_not_found", format!("there is no model `{name}`{near}")).at("model"))
        }
    }
}

fn listed(app: &App, model: ModelView) -> ListedModel {
    let owned_by = model.providers.first().cloned().unwrap_or_else(|| "longhaul".to_owned());
    ListedModel { id: model.name, created: app.0.started_at.as_millis() / 1_000, owned_by }
}

/// See a model's layers at work
///
/// Breakers, limits, cache and counters of its targets, as they stand now.
#[utoipa::path(
    get, path = "/v1/models/{model}/stack", tag = "operation", operation_id = "get_model_stack",
    params(("model" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The layers.", body = inline(serde_json::Value)))
)]
pub(crate) async fn stack(
    State(app): State<App>,
    _caller: Operator,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    to_json(&app.gateway().stack(&name).map_err(no_model)?)
}

/// What to do with a breaker.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetBreaker {
    #[schema(inline)]
    state: Hand,
}

/// What a hand does to a breaker.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hand {
    /// The results decide.
    Auto,
    /// Nobody passes.
    Open,
    /// Everybody passes.
    Closed,
    /// It probes now, then the results decide.
    HalfOpen,
}

/// Set a breaker by hand
#[utoipa::path(
    put, path = "/v1/models/{model}/targets/{target}/breaker", tag = "operation", operation_id = "set_breaker",
    params(("model" = String, Path, description = "The model."), ("target" = String, Path, description = "Its target.")),
    request_body = SetBreaker,
    responses((status = 200, description = "The layers, as they stand now.", body = inline(serde_json::Value)))
)]
pub(crate) async fn set_breaker(
    State(app): State<App>,
    _caller: Operator,
    Path((model, target)): Path<(String, String)>,
    ApiJson(body): ApiJson<SetBreaker>,
) -> Result<Response, Problem> {
    let hand = match body.state {
        Hand::Auto => BreakerHand::Auto,
        Hand::Open => BreakerHand::Open,
        Hand::Closed => BreakerHand::Closed,
        Hand::HalfOpen => BreakerHand::HalfOpen,
    };
    app.gateway().set_breaker(&model, &target, hand).map_err(|error| match error {
        UnknownTarget::Model(unknown) => no_model(unknown),
        error @ UnknownTarget::Target { .. } => Problem::new(Code::NotFound, sentence(&error.to_string())),
    })?;
    to_json(&app.gateway().stack(&model).map_err(no_model)?)
}

/// How many answers were forgotten.
#[derive(Serialize, ToSchema)]
pub(crate) struct Purged {
    /// Cached answers that are gone.
    purged: usize,
}

/// Forget a model's cached answers
#[utoipa::path(
    delete, path = "/v1/models/{model}/cache", tag = "operation", operation_id = "purge_model_cache",
    params(("model" = String, Path, description = "Its name.")),
    responses((status = 200, description = "They are gone.", body = Purged))
)]
pub(crate) async fn purge(
    State(app): State<App>,
    _caller: Operator,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let purged = app.gateway().purge_cache(&name).await.map_err(no_model)?;
    Ok(json_answer(StatusCode::OK, serde_json::to_vec(&Purged { purged }).unwrap_or_default()))
}

#[allow(clippy::needless_pass_by_value, reason = "an error's conversion")]
fn no_model(unknown: UnknownModel) -> Problem {
    Problem::new(Code::NotFound, sentence(&unknown.to_string()))
}

/// A fragment as a sentence.
fn sentence(fragment: &str) -> String {
    let mut letters = fragment.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
