//! The outermost layer: gives every request an id, and every answer the same.
//!
//! The id comes back as `x-request-id`, stands in every problem and in the log of every fault, so that a person can
//! name the one request they mean. A client's own id is kept when it is harmless to print. A handler that panics is answered here too, as a fault with an id like any other.

use std::{
    convert::Infallible,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, Request, Uri, request::Parts};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::problem::{Code, Problem};

/// The header of a request and its answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name of one request: 1 to 128 visible ASCII characters. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The longest id, in bytes.
    pub const MAX_LENGTH: usize = 128;

    /// An id of our own: `req_` and 32 hexadecimal digits.
    pub fn from_u128(number: u128) -> Self {
        let mut text = *b"req_00000000000000000000000000000000";
        for (index, byte) in text.iter_mut().skip(4).enumerate() {
            let digit = (number >> (124 - 4 * index)) as u8 & 0xf;
            *byte = if digit < 10 { b'0' + digit } else { b'a' - 10 + digit };
        }
        // Hexadecimal digits are always a header value; the fallback cannot be reached.
        Self(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req_")))
    }

    /// A client's id, if it can be repeated without harm in headers, logs and answers.
    pub fn from_header(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let sane = (1..=Self::MAX_LENGTH).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        // Copied: a part of the head would hold the connection's whole buffer.
        sane.then(|| HeaderValue::from_bytes(bytes).ok().map(Self)).flatten()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Visible ASCII by construction.
        self.0.to_str().unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!("a handler asks for the request id, but the layer that gives it is missing");
            Problem::new(Code::Internal, "The request has no id.")
        })
    }
}

/// Gives ids; see the module. The outermost layer of the application:
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use longhaul_server::request_id::{RequestId, RequestIdLayer};
/// let numbers = AtomicU64::new(1);
/// let ids = RequestIdLayer::new(move || RequestId::from_u128(numbers.fetch_add(1, Ordering::Relaxed).into()));
/// let app: axum::Router = axum::Router::new().layer(ids);
/// ```
#[derive(Clone)]
pub struct RequestIdLayer {
    source: Arc<dyn Fn() -> RequestId + Send + Sync>,
}

/// Marks an answer that refuses its request in other words than a problem's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused;

impl RequestIdLayer {
    /// `source` makes the ids of requests that bring none; each call must give another.
    pub fn new(source: impl Fn() -> RequestId + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(source) }
    }
}

impl fmt::Debug for RequestIdLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestIdLayer")
    }
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = Identified<S>;

    fn layer(&self, inner: S) -> Identified<S> {
        Identified { inner, source: Arc::clone(&self.source) }
    }
}

/// A service whose requests have ids.
#[derive(Clone)]
pub struct Identified<S> {
    inner: S,
    source: Arc<dyn Fn() -> RequestId + Send + Sync>,
}

impl<S> fmt::Debug for Identified<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identified")
    }
}

impl<S> Service<Request<Body>> for Identified<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = IdentifiedAnswer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let brought = request.headers().get(X_REQUEST_ID).and_then(RequestId::from_header);
        let id = brought.unwrap_or_else(|| (self.source)());
        let uri = request.uri().clone();
        request.extensions_mut().insert(id.clone());
        let closes_if_refused = may_stay_unread(&request);
        IdentifiedAnswer { inner: self.inner.call(request), id: Some(id), uri, closes_if_refused }
    }
}

/// How much of an unread body is read and thrown away to keep a connection; above, closing it is cheaper for both.
const DRAINED_MOST: u64 = 64 * 1024;

/// Whether a refusal may leave so much of the body unread that the connection ends. The client must be told, or its next
/// request goes into a connection that is closing. HTTP/2 has streams for this.
fn may_stay_unread(request: &Request<Body>) -> bool {
    let size = http_body::Body::size_hint(request.body());
    request.version() <= http::Version::HTTP_11 && size.upper().is_none_or(|most| most > DRAINED_MOST)
}

pin_project! {
    /// The answer in the making.
    #[derive(Debug)]
    pub struct IdentifiedAnswer<F> {
        #[pin]
        inner: F,
        id: Option<RequestId>,
        uri: Uri,
        closes_if_refused: bool,
    }
}

impl<F> Future for IdentifiedAnswer<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        // After a panic the handler's future is never polled again, so no broken state of it can be seen.
        let mut response = match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => {
                let Ok(response) = ready!(poll);
                response
            }
            Err(_) => {
                let id = this.id.as_ref().map(RequestId::as_str).unwrap_or_default();
                tracing::error!(request_id = id, path = this.uri.path(), "a handler panicked");
                Problem::new(Code::Internal, "The server made a mistake; the request may or may not have taken effect.")
                    .into_response()
            }
        };
        if let Some(id) = this.id.take() {
            if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
                problem.identify(id.as_str(), this.uri);
                response = rewritten(response, &problem);
                response.extensions_mut().insert(Refused);
            }
            if response.extensions_mut().remove::<Refused>().is_some() && *this.closes_if_refused {
                response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
            }
            response.headers_mut().insert(X_REQUEST_ID, id.0);
        }
        Poll::Ready(Ok(response))
    }
}

/// The same answer with the problem's final text. What inner layers added to the headers stays.
fn rewritten(response: Response, problem: &Problem) -> Response {
    let (mut parts, _without_id) = response.into_parts();
    let body = problem.to_json();
    parts.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    async fn answer(path: &str, headers: &[(&str, &str)]) -> (http::response::Parts, String) {
        let router = Router::new()
            .route("/id", get(|id: RequestId| async move { id.to_string() }))
            .route(
                "/panic",
                get(|| async {
                    if true {
                        panic!("a mistake")
                    }
                }),
            )
            .fallback(crate::problem::no_such_route)
            .method_not_allowed_fallback(crate::problem::no_such_method)
            .layer(RequestIdLayer::new(|| RequestId::from_u128(0xabc)));
        let mut request = Request::get(path).body(Body::empty()).expect("a request");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().insert(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let (parts, body) = router.oneshot(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (parts, String::from_utf8_lossy(&body).into_owned())
    }

    const OURS: &str = "req_00000000000000000000000000000abc";

    #[tokio::test]
    async fn a_request_without_an_id_gets_one() {
        let (parts, body) = answer("/id", &[]).await;
        assert_eq!((parts.headers["x-request-id"].as_bytes(), body.as_str()), (OURS.as_bytes(), OURS));
    }

    #[tokio::test]
    async fn a_sane_id_is_kept_and_any_other_replaced() {
        let (parts, body) = answer("/id", &[("x-request-id", "abc-1/2")]).await;
        assert_eq!((parts.headers["x-request-id"].as_bytes(), body.as_str()), ("abc-1/2".as_bytes(), "abc-1/2"));
        for bad in ["", "a b", "ä", &"x".repeat(129)] {
            let (parts, _) = answer("/id", &[("x-request-id", bad)]).await;
            assert_eq!(parts.headers["x-request-id"], OURS, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn problems_carry_the_id_and_the_path() {
        let (parts, body) = answer("/nowhere?secret=1", &[]).await;
        let body: Value = serde_json::from_str(&body).expect("a problem");
        assert_eq!(parts.status, 404);
        assert_eq!((&body["request_id"], &body["instance"]), (&OURS.into(), &"/nowhere".into()));
    }

    #[tokio::test]
    async fn a_panic_is_a_500_like_any_other() {
        let (parts, body) = answer("/panic", &[]).await;
        let body: Value = serde_json::from_str(&body).expect("a problem");
        assert_eq!(
            (parts.status.as_u16(), &body["code"], &body["request_id"]),
            (500, &"internal".into(), &OURS.into())
        );
        assert_eq!(parts.headers["x-request-id"], OURS);
    }

    #[test]
    fn our_ids_are_thirty_two_hexadecimal_digits() {
        assert_eq!(RequestId::from_u128(u128::MAX).as_str(), format!("req_{}", "f".repeat(32)));
        let number = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        assert_eq!(RequestId::from_u128(number).as_str(), format!("req_{number:032x}"));
    }
}
