//! Whether the server lives, and whether it takes work.

use axum::{extract::State, http::StatusCode, response::Response};

use super::jobs::view::json_answer;
use crate::{
    app::App,
    problem::{Code, Problem},
};

/// Is the process alive?
#[utoipa::path(
    get, path = "/livez", tag = "operation", operation_id = "livez", security(()),
    responses((status = 200, description = "It is.", body = inline(serde_json::Value)))
)]
pub(crate) async fn live() -> Response {
    json_answer(StatusCode::OK, r#"{"status":"alive"}"#)
}

/// Does the server take work?
///
/// 503 from the first moment of a shutdown on, so that a load balancer looks elsewhere while running work ends.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", operation_id = "readyz", security(()),
    responses((status = 200, description = "It does.", body = inline(serde_json::Value)))
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<Response, Problem> {
    if app.engine().is_stopping() {
        return Err(Problem::new(Code::ShuttingDown, "The server is stopping."));
    }
    // A store that takes no writes any more answers nothing here; a full disk recovers by itself.
    app.engine().queues().await?;
    Ok(json_answer(StatusCode::OK, r#"{"status":"ready"}"#))
}
