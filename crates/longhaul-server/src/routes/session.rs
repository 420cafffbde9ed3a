//! `/v1/session`: how the dashboard trades a key for a cookie that its scripts cannot read.

use axum::{
    extract::{FromRequestParts as _, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::jobs::{read::to_json, view::with};
use crate::{app::App, auth::AnyKey, json::ApiJson, problem::Problem, session};

/// The key to trade.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeginSession {
    /// An API key: `lh_<id>_<secret>`.
    key: String,
}

/// Who asks.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionBody {
    /// Whose jobs it sees.
    tenant: String,
    /// What it may.
    scopes: Vec<String>,
    /// Whether a key stands behind it; else the server has none and answers this machine alone.
    keyed: bool,
}

/// Begin a session
///
/// For browsers: answers with a cookie that stands for the key for twelve hours. Programs send their key instead.
#[utoipa::path(
    post, path = "/v1/session", tag = "api keys", operation_id = "begin_session", request_body = BeginSession,
    responses((status = 204, description = "The cookie is set.")), security(())
)]
pub(crate) async fn begin(State(app): State<App>, ApiJson(body): ApiJson<BeginSession>) -> Result<Response, Problem> {
    let key = app.find_key(&body.key).await?;
    let cookie =
        session::begin(&key, app.engine().clock().now(), app.0.is_secure).map(|cookie| (header::SET_COOKIE, cookie));
    Ok(with(StatusCode::NO_CONTENT.into_response(), cookie))
}

/// End the session
#[utoipa::path(
    delete, path = "/v1/session", tag = "api keys", operation_id = "end_session",
    responses((status = 204, description = "The cookie is gone.")), security(())
)]
pub(crate) async fn end(State(app): State<App>) -> Response {
    let cookie = session::end(app.0.is_secure).map(|cookie| (header::SET_COOKIE, cookie));
    with(StatusCode::NO_CONTENT.into_response(), cookie)
}

/// See who asks
#[utoipa::path(
    get, path = "/v1/session", tag = "api keys", operation_id = "get_session",
    responses((status = 200, description = "What the key, or the session, stands for.", body = SessionBody))
)]
pub(crate) async fn show(State(app): State<App>, mut parts: Parts) -> Result<Response, Problem> {
    let AnyKey(caller) = AnyKey::from_request_parts(&mut parts, &app).await?;
    to_json(&SessionBody {
        tenant: caller.tenant.to_string(),
        scopes: caller.scopes.iter().map(ToString::to_string).collect(),
        keyed: caller.key.is_some(),
    })
}
