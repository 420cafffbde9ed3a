//! Errors and lists, as OpenAI's SDKs expect them.

use crate::facade::Failure;
use crate::json::{Object, to_bytes};

/// The body of an error: `{"error":{"message","type","param","code"}}`, every key present.
pub fn encode_failure(failure: &Failure) -> Vec<u8> {
    error_object(failure)
}

/// The same, for a frame of a stream.
pub(crate) fn error_object(failure: &Failure) -> Vec<u8> {
    to_bytes(|body| {
        body.object("error", |error| {
            error.field("message", &failure.message);
            error.field("type", kind(failure.status));
            error.field("param", &failure.param);
            error.field("code", &failure.code);
        });
    })
}

fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// A model in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// Its name.
    pub id: String,
    /// Since when it is here, in seconds since the Unix epoch.
    pub created: i64,
    /// Who stands behind it.
    pub owned_by: String,
}

/// The body of `GET /v1/models`.
pub fn encode_models(models: &[ListedModel]) -> Vec<u8> {
    to_bytes(|body| {
        body.field("object", "list");
        body.list("data", |list| models.iter().for_each(|model| list.object(|object| write_model(object, model))));
    })
}

/// The body of `GET /v1/models/{id}`.
pub fn encode_model(model: &ListedModel) -> Vec<u8> {
    to_bytes(|body| write_model(body, model))
}

fn write_model(object: &mut Object<'_>, model: &ListedModel) {
    object.field("id", &model.id);
    object.field("object", "model");
    object.field("created", &model.created);
    object.field("owned_by", &model.owned_by);
}
