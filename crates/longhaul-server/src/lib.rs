//! The HTTP face: routes, limits, authentication, problem+json, OpenAPI.

pub mod json;
pub mod listener;
pub mod problem;
pub mod request_id;
pub mod trace_parent;
