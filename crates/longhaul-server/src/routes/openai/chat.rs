//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use longhaul_gateway::Told;
use longhaul_providers::{
    chat::Dialect,
    facade::{ChatCall, Stamp},
    openai::facade::{ChatStreamEncoder, decode_request, encode_response},
    protocol::Delivery,
    relay::RelayTo,
};

use super::as_job;
use crate::{
    app::App,
    auth::Llm,
    facade::{EventStream, FacadeBody, Refusal, answer, call_options, event_stream, stamp_id, tell},
    prefer,
    request_id::RequestId,
};

/// Chat with a model
///
/// As OpenAI's route of this name, for every configured model, whoever stands behind it. With `stream` the answer comes
/// in chunks. `Prefer: respond-async` makes it a job and answers with its receipt. The headers `Longhaul-…` tell
/// what happened on the way.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "openai", operation_id = "create_chat_completion",
    request_body(content = inline(serde_json::Value), content_type = "application/json",
        description = "OpenAI's `CreateChatCompletionRequest`; `model` names a model of the configuration."),
    params(
        ("Prefer" = Option<String>, Header, description = "`respond-async`: answer with a receipt of the job."),
        ("Cache-Control" = Option<String>, Header, description = "`no-cache`: ask anew, whatever the cache has."),
    ),
    responses(
        (status = 200, description = "The completion, or with `stream` its chunks.", content(
            (inline(serde_json::Value) = "application/json"), (String = "text/event-stream"))),
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
    let call = decode_request(&body)?;
    if prefer::respond_async(&headers) {
        return as_job(&app, &caller, &headers, ("/v1/chat/completions", "llm.chat"), body).await;
    }
    let ChatCall { model, delivery, include_usage, request } = call;
    let request = Arc::new(request);
    let (answer_id, created) = stamp_id(&app, "chatcmpl-");
    let relay = RelayTo { dialect: Dialect::OpenAi, id: answer_id.as_str().into(), include_usage };
    let options = call_options(&caller, &id, &headers).relay(relay);
    let id = answer_id;
    // Parts of the connection's buffer, which is not to be held while the provider thinks.
    drop((headers, body));
    match delivery {
        Delivery::Whole => {
            let (told, record) = app.gateway().chat_relayed(&model, request, &options).await?;
            let body = match told {
                Told::Relayed(relayed) => relayed.body(&id),
                Told::Response(response) => {
                    let model = response.model.clone().unwrap_or(model);
                    encode_response(&response, &Stamp { id, created, model })
                }
            };
            Ok(answer(body, &record))
        }
        Delivery::Streamed => {
            let stream = app.gateway().chat_stream(&model, request, &options).await?;
            let record = stream.opening_record();
            let model = record.upstream_model.as_deref().map_or(model, str::to_owned);
            let encoder = ChatStreamEncoder::relaying(Stamp { id, created, model }, include_usage);
            let mut response = event_stream(EventStream::new(stream, encoder));
            tell(&mut response, &record);
            Ok(response)
        }
    }
}
