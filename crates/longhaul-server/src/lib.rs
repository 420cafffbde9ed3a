//! The HTTP face: routes, limits, authentication, problem+json, OpenAPI.

pub mod cors;
pub mod docs_page;
pub mod json;
pub mod listener;
pub mod problem;
pub mod request_id;
pub mod security_headers;
pub mod trace_parent;
