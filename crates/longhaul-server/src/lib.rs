//! The HTTP face: routes, limits, authentication, problem+json, OpenAPI.
//!
//! A request comes in through [`listener`], gets its id ([`request_id`]), is counted ([`metrics`]), is held to the limits of its route
//! ([`json`]), names its caller ([`auth`]), and is handed to the engine by a handler that does nothing else. Whatever
//! is refused anywhere on the way is a [`problem::Problem`].
//!
//! Only this crate knows axum.

mod app;
pub mod auth;
pub mod cors;
pub mod dashboard;
pub mod docs_page;
mod facade;
pub mod json;
mod key_ring;
pub mod listener;
pub mod metrics;
mod observe;
mod openapi;
mod prefer;
pub mod problem;
mod refusal;
pub mod request_id;
mod routes;
mod schema;
pub mod security_headers;
mod serve;
mod session;
pub mod spans;

pub use app::{App, Limits, MetadataLimits, Tasks};
pub use schema::Schemas;
pub use serve::{ServeOptions, application, openapi_document};
