//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use longhaul_providers::openai::facade::{EmbeddingsCall, decode_embeddings_request, encode_embeddings};

use super::as_job;
use crate::{
    app::App,
    auth::Llm,
    facade::{FacadeBody, Refusal, answer, call_options},
    prefer,
    request_id::RequestId,
};

/// Make vectors of texts
///
/// As OpenAI's route of this name, as numbers or in base64. `Prefer: respond-async` makes it a job and answers with its
/// receipt.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "openai", operation_id = "create_embedding",
    request_body(content = inline(serde_json::Value), content_type = "application/json",
        description = "OpenAI's `CreateEmbeddingRequest`; `model` names a model of the configuration."),
    params(("Prefer" = Option<String>, Header, description = "`respond-async`: answer with a receipt of the job.")),
    responses(
        (status = 200, description = "The vectors.", body = inline(serde_json::Value)),
        (status = 202, description = "With `Prefer: respond-async`: the job is durable.", body = crate::routes::jobs::view::Receipt),
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    Llm(caller): Llm,
    id: RequestId,
    headers: HeaderMap,
    FacadeBody(body): FacadeBody,
) -> Result<Response, Refusal> {
    let call = decode_embeddings_request(&body)?;
    if prefer::respond_async(&headers) {
        return as_job(&app, &caller, &headers, ("/v1/embeddings", "llm.embeddings"), body).await;
    }
    let EmbeddingsCall { model, format, request } = call;
    let options = call_options(&caller, &id, &headers);
    // Parts of the connection's buffer, which is not to be held while the provider thinks.
    drop((headers, body));
    let answered = app.gateway().embed(&model, Arc::new(request), &options).await?;
    let model = answered.response.model.as_deref().unwrap_or(&model);
    Ok(answer(encode_embeddings(&answered.response, model, format), &answered.record))
}
