//! Reading a whole answer.

use super::wire::{Item, Response};
use crate::chat::{ChatResponse, Content, Dialect};
use crate::error::{ProviderError, request_id, sort};
use crate::exchange::{Reply, read_json};
use crate::openai::{malformed, vendor_error};

pub(super) fn decode(reply: Reply<'_>) -> Result<ChatResponse, ProviderError> {
    if !reply.head.status.is_success() {
        return Err(sort(Some(reply.head), vendor_error(reply.body)));
    }
    let response: Response = read_json(reply)?;
    read(response).map_err(|mut error| {
        error.http_status = Some(reply.head.status.as_u16());
        error.request_id = request_id(reply.head);
        error
    })
}

fn read(response: Response) -> Result<ChatResponse, ProviderError> {
    if response.status.is_none()
        && let Some(error) = &response.error
    {
        return Err(sort(None, crate::openai::from_error(error)));
    }
    let output = response.output.as_deref().unwrap_or_default();
    let mut parts = Vec::with_capacity(output.len());
    for item in output {
        parts.append(&mut Item::parts(item)?);
    }
    let calls = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let finish = response.finish(calls)?;
    if response.output.is_none() {
        return Err(malformed("it has no output"));
    }
    Ok(ChatResponse {
        parts,
        finish,
        usage: response.usage.map(Into::into),
        logprobs: None,
        dialect: Dialect::Responses,
        extra: response.extra(),
        created: response.created_at.map(|created| created.0),
        id: response.id,
        model: response.model,
    })
}
