//! What the routes that speak other vendors' APIs share: who may call, how bodies are read, how refusals look.
//!
//! A handler of such a route reads the client's body with the vendor's own reader, asks the gateway or submits a job,
//! and writes the answer with the vendor's own writer; both are in `longhaul-providers`, so no vendor's JSON is spelled
//! here. Whatever is refused on the way, by us or by a provider, is a [`Refusal`]; [`InWordsOf`] puts it, and every
//! [`Problem`], into the vendor's words on its way out.

mod refusal;
mod stream;
mod words;

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use longhaul_core::Caller;
use longhaul_gateway::{CallOptions, CallRecord};

pub(crate) use refusal::Refusal;
pub(crate) use stream::{EventStream, event_stream};
pub(crate) use words::InWordsOf;

use crate::{
    app::App,
    json::{BodyLimit, read_body},
    observe::trace_of,
    problem::{Code, Problem},
    request_id::RequestId,
    spans::calls,
};

/// Whose API a route speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vendor {
    OpenAi,
    Anthropic,
}

/// The body of a request, whole. Its media type is not looked at: clients of these APIs leave it out.
pub(crate) struct FacadeBody(pub(crate) Bytes);

impl FromRequest<App> for FacadeBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let coding = request.headers().get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let detail = "The body is compressed; send it without Content-Encoding.";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        read_body(request.into_body(), BodyLimit(app.0.limits.facade_body)).await.map(Self)
    }
}

/// How the gateway is to treat a call.
pub(crate) fn call_options(caller: &Caller, id: &RequestId, headers: &HeaderMap) -> CallOptions {
    CallOptions::for_tenant(caller.tenant.as_str())
        .correlation(id.as_str())
        .skip_cache(wants_fresh(headers))
        .trace(trace_of(headers).map(calls::trace_of))
}

/// `Cache-Control: no-cache` or `no-store`.
pub(crate) fn wants_fresh(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|directive| {
        let directive = directive.trim();
        directive.eq_ignore_ascii_case("no-cache") || directive.eq_ignore_ascii_case("no-store")
    })
}

/// Tells in the answer's headers what happened.
pub(crate) fn tell(response: &mut Response, record: &CallRecord) {
    let headers = response.headers_mut();
    // And room for those that other layers add, so that the map grows once.
    headers.reserve(ROOM);
    for (name, value) in record.headers() {
        headers.insert(name, value);
    }
}

/// Headers of an answer to a call, at most.
const ROOM: usize = 16;

/// A whole answer with the record of its call.
pub(crate) fn answer(body: Vec<u8>, record: &CallRecord) -> Response {
    let mut response = json(body);
    tell(&mut response, record);
    response
}

/// An answer whose body is JSON.
pub(crate) fn json(body: impl Into<Bytes>) -> Response {
    let mut response = axum::body::Body::from(body.into()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A fresh id in the vendor's manner, and the second at which it was made.
pub(crate) fn stamp_id(app: &App, prefix: &str) -> (String, i64) {
    let now = app.engine().clock().now();
    let id = app.engine().ids().uuid(now).simple();
    let mut digits = [0; 32];
    ([prefix, id.encode_lower(&mut digits)].concat(), now.as_millis() / 1_000)
}
