//! `/v1/responses/{id}`: reading, cancelling, deleting, and what went in.

use axum::{
    extract::{Path, Query, State},
    http::HeaderMap,
    response::Response,
};
use longhaul_core::{Span, Status};
use longhaul_engine::{Waited, store::StoreError};
use longhaul_providers::{
    facade::RequestError,
    protocol::Delivery,
    responses::facade::{Page, encode_deleted, encode_input_items},
};
use longhaul_tasks::llm::stored::conversation;
use serde::Deserialize;

use super::{Responses, follow, found, history, object};
use crate::{
    app::App,
    auth::Llm,
    facade::{Refusal, json},
};

/// How long a cancel waits for the job to end. A job that is being cancelled ends in no other way, so nothing hangs on
/// it; but a client that looks again sees the same.
const CANCEL_WAIT: Span = Span::from_millis(500);

/// How a response is to be read.
#[derive(Deserialize)]
pub(crate) struct ReadQuery {
    stream: Option<bool>,
    starting_after: Option<u64>,
}

/// Get a response
///
/// With `stream=true` its events are told, those behind `starting_after` first and then as they come; of background
/// responses that were created with `stream`.
#[utoipa::path(
    get, path = "/v1/responses/{response_id}", tag = "openai", operation_id = "get_response",
    params(
        ("response_id" = String, Path, description = "Its id."),
        ("stream" = Option<bool>, Query, description = "Tell its events."),
        ("starting_after" = Option<u64>, Query, description = "Only the events behind the one of this number."),
    ),
    responses((status = 200, description = "The response, or with `stream` its events.", content(
        (inline(serde_json::Value) = "application/json"), (String = "text/event-stream"))))
)]
pub(crate) async fn show(
    State(app): State<App>,
    Llm(caller): Llm,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: Result<Query<ReadQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|error| RequestError::body(format!("the query cannot be read: {error}")))?;
    let (view, stored) = found(&app, &caller.tenant, &id).await?;
    if !query.stream.unwrap_or(false) {
        return Ok(json(object(&view, &stored)?));
    }
    if !stored.background || stored.call()?.delivery != Delivery::Streamed {
        let why = "only a background response that was created with `stream` has a stream to be read";
        return Err(RequestError::at("stream", why).code("unsupported_value").into());
    }
    follow::events(&app, &caller, &headers, view.job.spec.id, query.starting_after).await
}

/// Cancel a response
///
/// Of background responses alone. It ends in no other way afterwards. One that has ended is answered as it is.
#[utoipa::path(
    post, path = "/v1/responses/{response_id}/cancel", tag = "openai", operation_id = "cancel_response",
    params(("response_id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "The response.", body = inline(serde_json::Value)))
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Llm(caller): Llm,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let (view, stored) = found(&app, &caller.tenant, &id).await?;
    if !stored.background {
        let why = "only background responses can be cancelled; this one was answered at once";
        return Err(RequestError::body(why).code("not_cancellable").into());
    }
    let job = view.job.spec.id;
    let status = app.engine().cancel(&caller.tenant, job).await?;
    if !status.is_terminal() {
        app.engine().wait(&caller.tenant, job, CANCEL_WAIT, None).await?;
    }
    let (view, stored) = found(&app, &caller.tenant, &id).await?;
    Ok(json(object(&view, &stored)?))
}

/// Delete a response
///
/// Its content is gone. One that is still being made is cancelled first.
#[utoipa::path(
    delete, path = "/v1/responses/{response_id}", tag = "openai", operation_id = "delete_response",
    params(("response_id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "It is deleted.", body = inline(serde_json::Value)))
)]
pub(crate) async fn remove(
    State(app): State<App>,
    Llm(caller): Llm,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let (view, stored) = found(&app, &caller.tenant, &id).await?;
    let job = view.job.spec.id;
    if !view.job.status().is_terminal() {
        // One that was answered at once is about to end by itself; nothing of it shall be lost before.
        if stored.background {
            app.engine().cancel(&caller.tenant, job).await?;
        }
        let waited = app.engine().wait(&caller.tenant, job, Span::from_secs(35), None).await?;
        if let Waited::Now(view) = &waited
            && matches!(view.job.status(), Status::Queued | Status::Running)
        {
            return Err(Refusal::new(409, "not_ended", "the response has not ended yet; try again in a moment"));
        }
    }
    match app.engine().erase(&caller.tenant, job).await {
        Ok(()) | Err(StoreError::Gone(_)) => Ok(json(encode_deleted(&id))),
        Err(error) => Err(error.into()),
    }
}

/// Which input items to list.
#[derive(Deserialize)]
pub(crate) struct ItemsQuery {
    after: Option<String>,
    limit: Option<usize>,
    order: Option<String>,
}

/// List what a response was asked
///
/// The items of its input, those of the conversation that it goes on from included.
#[utoipa::path(
    get, path = "/v1/responses/{response_id}/input_items", tag = "openai", operation_id = "list_input_items",
    params(
        ("response_id" = String, Path, description = "Its id."),
        ("after" = Option<String>, Query, description = "Only items behind the one of this id."),
        ("limit" = Option<u64>, Query, description = "1 to 100; 20 unless it is said."),
        ("order" = Option<String>, Query, description = "`asc`, or `desc` as it is unless it is said."),
    ),
    responses((status = 200, description = "OpenAI's list of items.", body = inline(serde_json::Value)))
)]
pub(crate) async fn input_items(
    State(app): State<App>,
    Llm(caller): Llm,
    Path(id): Path<String>,
    query: Result<Query<ItemsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|error| RequestError::body(format!("the query cannot be read: {error}")))?;
    let limit = query.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(RequestError::at("limit", "`limit` must be from 1 to 100").into());
    }
    let ascending = match query.order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(RequestError::at("order", "`order` is `asc` or `desc`").into()),
    };
    let (_, stored) = found(&app, &caller.tenant, &id).await?;
    let call = stored.call()?;
    let mut items = match &call.previous_response_id {
        Some(previous) => {
            conversation(previous, &Responses { app: &app, tenant: &caller.tenant }).await.map_err(history)?
        }
        None => Vec::new(),
    };
    items.extend(call.input);
    Ok(json(encode_input_items(&id, &items, &Page { after: query.after, limit, ascending })))
}
