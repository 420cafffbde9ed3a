//! Whether the server lives, and whether it takes work.

use axum::{extract::State, http::StatusCode, response::Response};
use longhaul_core::{Clock, Span};
use longhaul_engine::store::StoreError;

use super::jobs::view::json_answer;
use crate::{
    app::App,
    problem::{Code, Problem},
};

/// How long the store may take to answer: probes give up after a few seconds, and then know less than a 503 says.
const STORE_WITHIN: Span = Span::from_secs(2);

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
    in_time(&**app.engine().clock(), app.engine().queues()).await?;
    Ok(json_answer(StatusCode::OK, r#"{"status":"ready"}"#))
}

/// What the store says, or that it takes too long.
async fn in_time<T>(clock: &dyn Clock, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::select! {
        biased;
        said = asked => said,
        () = clock.sleep(STORE_WITHIN) => Err(StoreError::Unavailable("it did not answer in time".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, pin::pin, task::Poll};

    use futures::poll;
    use longhaul_core::testing::ManualClock;

    use super::*;

    #[tokio::test]
    async fn a_store_that_hangs_makes_a_server_unready_after_two_seconds() {
        let clock = ManualClock::default();
        let mut asked = pin!(in_time::<()>(&clock, pending()));
        assert!(poll!(asked.as_mut()).is_pending());
        clock.advance(Span::from_millis(1_999));
        assert!(poll!(asked.as_mut()).is_pending());
        clock.advance(Span::from_millis(1));
        assert!(matches!(poll!(asked), Poll::Ready(Err(StoreError::Unavailable(_)))));
    }
}
