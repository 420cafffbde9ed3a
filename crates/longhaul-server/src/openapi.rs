//! The OpenAPI 3.1 document: made from the routes' own types, with what all of them share added here.

use serde_json::{Value, json};
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};

use crate::problem::{Code, FieldError};

/// What a reader learns first.
const INTRODUCTION: &str = include_str!("../assets/openapi-introduction.md");

/// The document before the routes are added.
#[derive(OpenApi)]
#[openapi(
    info(title = "Longhaul", description = INTRODUCTION, license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")),
    servers((url = "/", description = "This server")),
    tags(
        (name = "jobs", description = "Durable units of work: submit, follow, cancel."),
        (name = "events", description = "What jobs tell while they run, and the figures behind the dashboard."),
        (name = "documents", description = "Uploads that become `document.ingest` jobs, and what was read out of them."),
        (name = "process", description = "Many small items at once, cached, answered in one call."),
        (name = "analysis", description = "Analyses of a text behind a camelCase façade: pending, in_progress, completed, failed."),
        (name = "openai", description = "OpenAI's API, for every configured model. Unknown fields travel on to the provider; refusals have OpenAI's shape."),
        (name = "anthropic", description = "Anthropic's API, for every configured model. Refusals have Anthropic's shape."),
        (name = "kinds", description = "What jobs can do, and registering what your workers do."),
        (name = "queues", description = "How queues stand, and holding them back."),
        (name = "worker", description = "How your own processes run jobs: claim, heartbeat, checkpoint, complete or fail."),
        (name = "api keys", description = "Who may do what."),
        (name = "presets", description = "Short routes for the same things."),
        (name = "operation", description = "Health."),
    ),
    components(schemas(
        ProblemBody,
        crate::routes::openai::ErrorBody,
        crate::routes::openai::ErrorDetail,
        crate::routes::anthropic::ErrorBody,
        crate::routes::anthropic::ErrorDetail,
    )),
    modifiers(&Keys),
    security(("bearer" = []), ("x-api-key" = [])),
)]
pub(crate) struct Description;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("An API key: `lh_<id>_<secret>`. Not needed while no key exists.".into());
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = ApiKey::Header(ApiKeyValue::new("x-api-key"));
        components.add_security_scheme("x-api-key", SecurityScheme::ApiKey(key));
    }
}

/// An answer that says no (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[allow(dead_code, reason = "describes what crate::problem::Problem is serialised as")]
struct ProblemBody {
    /// Where the code is documented.
    r#type: String,
    /// The code in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request, for a person.
    detail: String,
    /// The path that was asked for.
    instance: Option<String>,
    /// For programs; the list is closed.
    code: Code,
    /// Names the request, in the answer and in the server's log.
    request_id: Option<String>,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Each field that cannot be used.
    errors: Option<Vec<FieldError>>,
}

/// Statuses that a route may answer with because of what all routes share.
fn shared(method: &str, path: &str, operation: &Value) -> Vec<(&'static str, &'static str)> {
    let mut statuses = vec![
        ("408", "The request came too slowly."),
        ("431", "The request's head is too large."),
        ("500", "A fault of ours."),
        ("503", "Overloaded, shutting down, or the store is unavailable; `Retry-After` says when to come again."),
    ];
    let is_open = operation["security"].as_array().is_some_and(|needed| needed == &[json!({})]);
    if !is_open {
        statuses.push(("400", "The request cannot be read."));
        statuses.push(("401", "No valid API key."));
        statuses.push(("403", "The API key lacks the scope."));
        statuses.push(("422", "Fields that cannot be used, each named in `errors`."));
    }
    if path.contains('{') {
        statuses.push(("404", "There is no such thing."));
        statuses.push(("410", "Its data is gone; what is left is that it existed and how it ended."));
    }
    if path.contains('{') || method == "post" {
        statuses.push(("409", "Its state does not allow this."));
    }
    if operation.get("requestBody").is_some() {
        statuses.push(("413", "The body is too large."));
        statuses.push(("415", "The body is not of the media type that this route reads."));
    }
    if is_facade(operation) {
        statuses.push(("404", "There is no such model, or no such thing."));
        statuses
            .push(("429", "A limit of the configuration or of the provider; `Retry-After` says when to come again."));
        statuses.push(("502", "The provider failed."));
        statuses.push(("504", "The provider did not answer in time."));
    }
    if method != "get" && !is_open {
        statuses.push(("507", "The disk is full. Nothing was stored; writing resumes when there is room."));
    }
    statuses
}

/// Whether a route speaks another vendor's API.
fn is_facade(operation: &Value) -> bool {
    matches!(operation["tags"][0].as_str(), Some("openai" | "anthropic"))
}

/// What a refusal looks like on routes of this tag.
fn refusal_of(tag: &Value) -> (&'static str, &'static str) {
    match tag.as_str() {
        Some("openai") => ("application/json", "OpenAiError"),
        Some("anthropic") => ("application/json", "AnthropicError"),
        _ => (crate::problem::PROBLEM_JSON, "Problem"),
    }
}

/// Adds to every route what all routes share, and prints the document.
pub(crate) fn complete(document: utoipa::openapi::OpenApi) -> String {
    let Ok(mut document) = serde_json::to_value(&document) else { return "{}".into() };
    let paths = document["paths"].as_object_mut().map(std::mem::take).unwrap_or_default();
    let paths = paths.into_iter().map(|(path, mut item)| {
        if let Some(operations) = item.as_object_mut() {
            for (method, operation) in operations.iter_mut() {
                let statuses = shared(method, &path, operation);
                let (media_type, schema) = refusal_of(&operation["tags"][0]);
                let Some(responses) = operation["responses"].as_object_mut() else { continue };
                for (status, description) in statuses {
                    let problem = json!({
                        "description": description,
                        "content": {media_type: {"schema": {"$ref": format!("#/components/schemas/{schema}")}}},
                    });
                    responses.entry(status).or_insert(problem);
                }
            }
        }
        (path, item)
    });
    let paths: serde_json::Map<String, Value> = paths.collect();
    document["paths"] = Value::Object(paths);
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contradictions(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::Array(parts)) = fields.get("allOf") {
                    let types: std::collections::BTreeSet<_> =
                        parts.iter().filter_map(|part| part["type"].as_str()).collect();
                    // A doc comment beside `#[schema(inline)]` adds a part that says `object` and nothing else.
                    let is_bare = |part: &&Value| part["type"] == "object" && part.get("properties").is_none();
                    if types.len() > 1 || parts.iter().any(|part| is_bare(&part)) {
                        found.push(format!("{path} has to be {types:?} at once"));
                    }
                }
                fields.iter().for_each(|(name, value)| contradictions(value, &format!("{path}/{name}"), found));
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    contradictions(value, &format!("{path}/{index}"), found);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn no_schema_asks_for_two_types_at_once() {
        let document: Value = serde_json::from_str(&crate::openapi_document()).unwrap();
        let mut found = Vec::new();
        contradictions(&document, "", &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }
}
