//! Anthropic's API, for any provider: `POST /v1/messages`.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use longhaul_providers::{
    anthropic::facade::{BETAS, MessageStreamEncoder, decode_request, encode_response},
    facade::{ChatCall, Stamp},
    json::Json,
    protocol::Delivery,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::Llm,
    facade::{EventStream, FacadeBody, Refusal, answer, call_options, event_stream, stamp_id, tell},
    request_id::RequestId,
};

/// An error, as Anthropic writes it.
#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicError)]
#[allow(dead_code, reason = "describes what longhaul-providers writes")]
pub(crate) struct ErrorBody {
    /// Always `error`.
    r#type: String,
    error: ErrorDetail,
    /// Names the request.
    request_id: String,
}

/// What is wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicErrorDetail)]
#[allow(dead_code, reason = "describes what longhaul-providers writes")]
pub(crate) struct ErrorDetail {
    /// The class of the error.
    r#type: String,
    /// For a person.
    message: String,
}

/// Send messages to a model
///
/// As Anthropic's route of this name, for every configured model, whoever stands behind it. With `stream` the answer
/// comes as events. The headers `Longhaul-…` tell what happened on the way.
#[utoipa::path(
    post, path = "/v1/messages", tag = "anthropic", operation_id = "create_message",
    request_body(content = inline(serde_json::Value), content_type = "application/json",
        description = "Anthropic's `CreateMessageParams`; `model` names a model of the configuration."),
    params(("Cache-Control" = Option<String>, Header, description = "`no-cache`: ask anew, whatever the cache has.")),
    responses((status = 200, description = "The message, or with `stream` its events.", content(
        (inline(serde_json::Value) = "application/json"), (String = "text/event-stream"))))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Llm(caller): Llm,
    request_id: RequestId,
    headers: HeaderMap,
    FacadeBody(body): FacadeBody,
) -> Result<Response, Refusal> {
    let ChatCall { model, delivery, mut request, .. } = decode_request(&body)?;
    let betas: Vec<&str> = headers.get_all(BETAS).iter().filter_map(|betas| betas.to_str().ok()).collect();
    if !betas.is_empty() {
        request.extra.insert(BETAS, Json::of(&betas.join(",")));
    }
    let options = call_options(&caller, &request_id, &headers);
    // Parts of the connection's buffer, which is not to be held while the provider thinks.
    drop((headers, body));
    let request = Arc::new(request);
    let (id, created) = stamp_id(&app, "msg_");
    match delivery {
        Delivery::Whole => {
            let answered = app.gateway().chat(&model, request, &options).await?;
            let model = answered.response.model.clone().unwrap_or(model);
            let body = encode_response(&answered.response, &Stamp { id, created, model });
            Ok(answer(body, &answered.record))
        }
        Delivery::Streamed => {
            let stream = app.gateway().chat_stream(&model, request, &options).await?;
            let record = stream.opening_record();
            let model = record.upstream_model.as_deref().map_or(model, str::to_owned);
            let encoder = MessageStreamEncoder::new(Stamp { id, created, model });
            let mut response = event_stream(EventStream::new(stream, encoder));
            tell(&mut response, &record);
            Ok(response)
        }
    }
}
