//! What a refused or failed request gets: RFC 9457 `application/problem+json`.
//!
//! One type, [`Problem`], is the error of every handler. It answers by itself, so a forgotten layer costs no more than
//! the request id: [`crate::request_id`] fills `request_id` and `instance` into problems on their way out.
//! What a problem says is for the person who sent the request: it never contains another tenant's data, a secret or
//! the text of an internal error. The closed list of codes stands in [`Code`].

mod code;
mod reference;

use std::{borrow::Cow, fmt, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde::{Serialize, ser::SerializeMap};

pub use code::Code;
pub use reference::errors_markdown;

/// The media type of every problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One field that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where: a JSON Pointer (RFC 6901) into the body, `?name` for a query parameter, `:name` for a part of the path.
    /// The empty string is the whole body.
    pub pointer: String,
    /// What is wrong there, as a sentence for a person.
    pub message: String,
}

impl FieldError {
    /// Names a place and what is wrong with it.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// An answer that says no: the error type of every handler.
///
/// ```
/// use longhaul_server::problem::{Code, Problem};
/// let problem = Problem::new(Code::NotTerminal, "job job_01 is running; cancel it or wait for its end");
/// assert_eq!(problem.code().status(), 409);
/// ```
#[derive(Debug, Clone)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    detail: Cow<'static, str>,
    instance: Option<String>,
    request_id: Option<String>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    members: Vec<(&'static str, serde_json::Value)>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of this code. `detail` explains this occurrence to the person who sent the request.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            code,
            detail: detail.into(),
            instance: None,
            request_id: None,
            errors: Vec::new(),
            retry_after: None,
            members: Vec::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// Fields that cannot be used: [`Code::UnknownField`] when the caller says that all of them are merely unknown.
    pub fn invalid(code: Code, errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [] => Cow::Borrowed("The request cannot be used."),
            [one] => {
                let place = if one.pointer.is_empty() { "The body" } else { &one.pointer };
                let stop = if one.message.ends_with('?') { "" } else { "." };
                Cow::Owned(format!("{place} {}{stop}", one.message))
            }
            many => Cow::Owned(format!("{} fields cannot be used; `errors` names each.", many.len())),
        };
        let mut problem = Self::new(code, detail);
        problem.0.errors = errors;
        problem
    }

    /// One field that cannot be used.
    pub fn invalid_field(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(Code::InvalidRequest, vec![FieldError::new(pointer, message)])
    }

    /// How long the client should wait before it tries again; rounded up to whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds a member of its own to the JSON object, as RFC 9457 section 3.2 allows (a tombstone's `job_id`, say).
    /// The standard members cannot be replaced: such a name is ignored.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        debug_assert!(!STANDARD_MEMBERS.contains(&name), "{name} is a standard member");
        if !STANDARD_MEMBERS.contains(&name) {
            self.0.members.push((name, value.into()));
        }
        self
    }

    /// Adds a header to the answer, `Allow` with a 405 for one.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    /// Names the fields that an otherwise explained problem is about.
    pub(crate) fn set_errors(&mut self, errors: Vec<FieldError>) {
        self.0.errors = errors;
    }

    /// The code that clients branch on.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What this occurrence is about.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The fields that cannot be used.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// Fills in what only the outermost layer knows.
    pub(crate) fn identify(&mut self, request_id: &str, uri: &Uri) {
        self.0.instance = Some(uri.path().to_owned());
        self.name_request(request_id);
    }

    pub(crate) fn name_request(&mut self, request_id: &str) {
        self.0.request_id = Some(request_id.to_owned());
    }

    /// The body as it is sent. Serialising a problem cannot fail: all its keys are strings, all its values JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn retry_after_s(&self) -> Option<u64> {
        match self.0.retry_after {
            Some(wait) => Some(wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)),
            None => self.0.code.default_retry_after_s(),
        }
    }

    /// The answer with this body and nothing left to fill in.
    pub(crate) fn render(&self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.0.code.status();
        let headers = response.headers_mut();
        headers.extend(self.0.headers.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"longhaul\""));
        }
        response
    }
}

const STANDARD_MEMBERS: &[&str] =
    &["type", "title", "status", "detail", "instance", "code", "request_id", "retryable", "errors"];

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Inner { code, detail, instance, request_id, errors, members, .. } = &*self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &code.type_uri())?;
        map.serialize_entry("title", code.title())?;
        map.serialize_entry("status", &code.status().as_u16())?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("instance", instance)?;
        map.serialize_entry("code", code)?;
        map.serialize_entry("request_id", request_id)?;
        map.serialize_entry("retryable", &code.retryable())?;
        map.serialize_entry("errors", errors)?;
        for (name, value) in members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render();
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl utoipa::PartialSchema for Problem {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::{ArrayBuilder, ObjectBuilder, Ref, schema::SchemaType, schema::Type};
        let text = |doc: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(doc)).build();
        let maybe_text = |doc: &str| {
            ObjectBuilder::new()
                .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
                .description(Some(doc))
                .build()
        };
        let status = ObjectBuilder::new().schema_type(Type::Integer).description(Some("The HTTP status.")).build();
        let retryable = ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .description(Some("Whether the same request may succeed later, unchanged."))
            .build();
        ObjectBuilder::new()
            .description(Some("RFC 9457 problem details. Some problems carry further members."))
            .property("type", text("A relative reference to the documentation of the code."))
            .property("title", text("A summary that is the same for every occurrence of the code."))
            .property("status", status)
            .property("detail", text("What is wrong this time, for a person."))
            .property("instance", maybe_text("The path of the request."))
            .property("code", Ref::from_schema_name("ProblemCode"))
            .property("request_id", maybe_text("Equals the x-request-id header; name it when you report a fault."))
            .property("retryable", retryable)
            .property("errors", ArrayBuilder::new().items(Ref::from_schema_name("FieldError")).build())
            .required("type")
            .required("title")
            .required("status")
            .required("detail")
            .required("code")
            .required("retryable")
            .required("errors")
            .into()
    }
}

impl utoipa::ToSchema for Problem {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        schemas.push(("ProblemCode".to_owned(), <Code as utoipa::PartialSchema>::schema()));
        schemas.push(("FieldError".to_owned(), <FieldError as utoipa::PartialSchema>::schema()));
    }
}

/// The router's fallback: no route has this path.
pub async fn no_such_route(method: Method, uri: Uri) -> Problem {
    Problem::new(Code::NotFound, format!("There is no {method} {}. /docs lists the routes.", uri.path()))
}

/// The router's fallback for a path that exists with other methods; axum adds the `Allow` header.
pub async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        format!("{} does not take {method}; the Allow header lists what it takes.", uri.path()),
    )
}

#[cfg(test)]
mod tests;
