//! What callers send, read strictly and refused helpfully.
//!
//! A good request pays for one parse into its type. Only one that fails is looked at again: its text is validated
//! against the JSON Schema of the same type, so that one answer names *every* field that cannot be used, by pointer,
//! with what would be right there. The type stays the judge: what it takes is taken, whatever the schema says.

mod body;
mod depth;
mod media_type;
mod nearest;
mod path;
mod query;
mod references;
mod schema;
mod sentence;
mod steps;
mod syntax;
mod typed;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

pub use body::{BodyLimit, body_problem, read_body};
pub use depth::MAX_DEPTH;
pub use nearest::nearest;
pub use path::ApiPath;
pub use query::ApiQuery;
pub use schema::{CompiledSchema, MAX_FIELD_ERRORS, SchemaError, explain};
pub use typed::parse_json;

use crate::problem::Problem;

/// How deep a route's JSON bodies may nest; an extension of its requests. Without it, [`MAX_DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthLimit(pub usize);

/// A JSON request body. `T` should deny unknown fields; then they are named, each with the nearest known one.
///
/// ```
/// use axum::{Router, routing::post};
/// use longhaul_server::json::ApiJson;
///
/// #[derive(serde::Deserialize, utoipa::ToSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Greeting { name: String }
///
/// let router: Router = Router::new()
///     .route("/greetings", post(|ApiJson(greeting): ApiJson<Greeting>| async move { greeting.name }));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ApiJson<T>(pub T);

impl<T, S> FromRequest<S> for ApiJson<T>
where
    T: DeserializeOwned + ToSchema + 'static,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        ApiJsonBytes::from_request(request, state).await.map(|body| Self(body.value))
    }
}

/// A JSON request body with the bytes it was read from, for fingerprints of the request.
#[derive(Debug, Clone)]
pub struct ApiJsonBytes<T> {
    /// What was sent.
    pub value: T,
    /// As it was sent.
    pub bytes: Bytes,
}

impl<T, S> FromRequest<S> for ApiJsonBytes<T>
where
    T: DeserializeOwned + ToSchema + 'static,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        media_type::require_json(request.headers())?;
        let limit = BodyLimit::of(request.extensions());
        let DepthLimit(depth) = request.extensions().get().copied().unwrap_or(DepthLimit(MAX_DEPTH));
        let bytes = read_body(request.into_body(), limit).await?;
        let value = typed::parse_json_within(&bytes, depth)?;
        Ok(Self { value, bytes })
    }
}

#[cfg(test)]
mod tests;
