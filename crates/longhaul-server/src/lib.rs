//! The HTTP face: routes, limits, authentication, problem+json, OpenAPI.

pub mod listener;
pub mod problem;
pub mod request_id;
