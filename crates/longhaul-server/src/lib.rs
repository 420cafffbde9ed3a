//! The HTTP face: routes, limits, authentication, problem+json, OpenAPI.
