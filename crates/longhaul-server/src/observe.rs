//! The layer around the routes that watches requests: counts them, logs with their ids, and tells them as spans.
//!
//! A request that belongs to a recorded trace, or begins one, has a span of its own. Its `traceparent` is replaced by
//! that span's, so that whatever the handler passes on (a job, a call of a model) stands below the request. A request
//! that is not recorded keeps the header as its client sent it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{body::Body, extract::MatchedPath, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use longhaul_core::{Clock, IdSource, Timestamp, TraceContext};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::{
    metrics::{NO_ROUTE, Telemetry},
    request_id::RequestId,
    spans::{Span, SpanKind, SpanSink},
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Routes that begin no trace: they are asked every few seconds, and tell of nothing but themselves.
const UNTRACED: [&str; 7] = [
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/stats",
    "/v1/worker/claims",
    "/v1/worker/jobs/{job_id}/heartbeat",
];

/// The trace that a request belongs to: its own span where it is recorded, else as its client said.
pub(crate) fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => TraceContext::parse(value.to_str().ok()?),
        // Several say nothing that could be believed.
        _ => None,
    }
}

/// Watches requests. See the [module](self).
#[derive(Clone)]
pub(crate) struct Observe {
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observe: Arc::new(self.clone()) }
    }
}

/// A service whose requests are watched.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    observe: Arc<Observe>,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Watched<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Observe { telemetry, clock, ids } = &*self.observe;
        let route = request.extensions().get::<MatchedPath>().cloned();
        let said = trace_of(request.headers());
        let traced = telemetry.spans().and_then(|sink| traced(sink, &**ids, route.as_ref(), said));
        if let Some((context, _)) = traced
            && let Ok(value) = HeaderValue::try_from(context.to_string())
        {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        let id = request.extensions().get::<RequestId>().cloned();
        let log = log_span(id.as_ref(), traced.map(|(context, _)| context).or(said));
        let seen = Seen {
            observe: self.observe.clone(),
            began: clock.now(),
            method: request.method().clone(),
            route,
            id,
            traced,
            is_over: false,
        };
        telemetry.request_began();
        let inner = {
            let _entered = log.enter();
            self.inner.call(request)
        };
        Watched { inner, log, seen }
    }
}

/// The ids that every line of the log carries while the request is worked on.
fn log_span(id: Option<&RequestId>, trace: Option<TraceContext>) -> tracing::Span {
    let id = id.map(RequestId::as_str).unwrap_or_default();
    match trace {
        Some(TraceContext { trace_id, span_id, .. }) => tracing::error_span!(
            "request",
            request_id = id,
            trace_id = %format_args!("{trace_id:032x}"),
            span_id = %format_args!("{span_id:016x}"),
        ),
        None => tracing::error_span!("request", request_id = id),
    }
}

/// The request's own span and the one above it, when it is recorded.
fn traced(
    sink: &dyn SpanSink,
    ids: &dyn IdSource,
    route: Option<&MatchedPath>,
    said: Option<TraceContext>,
) -> Option<(TraceContext, Option<u64>)> {
    let is_quiet = route.is_none_or(|route| UNTRACED.contains(&route.as_str()));
    if is_quiet && !said.is_some_and(TraceContext::is_sampled) {
        return None;
    }
    let fresh = || (u128::from(ids.random()) << 64 | u128::from(ids.random())).max(1);
    let trace_id = said.map_or_else(fresh, |said| said.trace_id);
    match (sink.records(trace_id, said), said) {
        (true, _) => {
            let context = TraceContext { trace_id, span_id: ids.random().max(1), flags: 1 };
            Some((context, said.map(|said| said.span_id)))
        }
        // What follows is told not to record it either.
        (false, Some(said)) if said.is_sampled() => Some((TraceContext { flags: said.flags & !1, ..said }, None)),
        (false, _) => None,
    }
}

pin_project! {
    /// The answer in the making.
    pub(crate) struct Watched<F> {
        #[pin]
        inner: F,
        log: tracing::Span,
        seen: Seen,
    }
}

/// What is known of a request.
struct Seen {
    observe: Arc<Observe>,
    began: Timestamp,
    method: Method,
    route: Option<MatchedPath>,
    id: Option<RequestId>,
    traced: Option<(TraceContext, Option<u64>)>,
    is_over: bool,
}

impl<F> Future for Watched<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.log.enter();
        let Ok(response) = ready!(this.inner.poll(cx));
        this.seen.ended(&response);
        drop(entered);
        Poll::Ready(Ok(response))
    }
}

impl Seen {
    fn ended(&mut self, response: &Response) {
        self.is_over = true;
        let (now, status) = (self.observe.clock.now(), response.status());
        let route = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
        let took = now.since(self.began);
        self.observe.telemetry.request_ended(route, &self.method, status, took);
        tracing::debug!(method = %self.method, route, status = status.as_u16(), took_us = took.as_micros(), "request answered");
        let Some((context, parent)) = self.traced.filter(|(context, _)| context.is_sampled()) else { return };
        let Some(sink) = self.observe.telemetry.spans() else { return };
        let name = format!("{} {route}", self.method);
        let span = Span::new(context, parent, name, SpanKind::Server, (self.began, now))
            .with("http.request.method", self.method.to_string())
            .with("http.route", route.to_owned())
            .with("http.response.status_code", status.as_u16())
            .with_some("longhaul.request_id", self.id.as_ref().map(ToString::to_string));
        // The client's own mistakes are no failure of the server's, as the conventions have it.
        sink.take(span.failed(status.is_server_error().then(|| status.as_u16().to_string())));
    }
}

/// Given up: the client has left.
impl Drop for Seen {
    fn drop(&mut self) {
        if !self.is_over {
            self.observe.telemetry.request_given_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use longhaul_core::Ids;
    use longhaul_engine::SystemClock;
    use tower::ServiceExt as _;

    use super::*;
    use crate::spans::testing::Kept;

    const SAID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// What the handler sees as `traceparent`, and the spans that were told.
    async fn asked(path: &str, said: Option<&str>, kept: Option<Arc<Kept>>) -> String {
        let spans = kept.map(|kept| kept as Arc<dyn SpanSink>);
        let telemetry = Arc::new(Telemetry::new(spans));
        let (clock, ids) = (Arc::new(SystemClock::start()), Arc::new(Ids::seeded(1)));
        let echo = |headers: HeaderMap| async move {
            headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let router = Router::new().route("/jobs/{id}", get(echo)).route("/livez", get(echo)).layer(Observe {
            telemetry,
            clock,
            ids,
        });
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        if let Some(said) = said {
            request.headers_mut().insert(TRACEPARENT, HeaderValue::from_str(said).unwrap());
        }
        let response = router.oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn without_a_sink_what_a_client_says_is_passed_on_as_it_is() {
        assert_eq!(asked("/jobs/7", Some(SAID), None).await, SAID);
        assert_eq!(asked("/jobs/7", None, None).await, "");
    }

    #[tokio::test]
    async fn a_request_is_told_below_its_client_and_above_what_its_handler_does() {
        let kept = Arc::new(Kept::default());
        let seen: TraceContext = asked("/jobs/7", Some(SAID), Some(kept.clone())).await.parse().unwrap();
        let [span] = kept.spans().try_into().unwrap();
        assert_eq!((span.context, span.parent), (seen, Some(0xb7ad_6b71_6920_3331)));
        assert_eq!(span.name, "GET /jobs/{id}");
        assert_eq!(format!("{:032x}", seen.trace_id), "0af7651916cd43dd8448eb211c80319c");
    }

    #[tokio::test]
    async fn a_trace_begins_with_a_request_that_brings_none_but_not_with_a_probe() {
        let kept = Arc::new(Kept::default());
        assert!(asked("/jobs/7", None, Some(kept.clone())).await.parse::<TraceContext>().unwrap().is_sampled());
        assert_eq!(asked("/livez", None, Some(kept.clone())).await, "");
        assert_eq!(kept.spans().len(), 1);
    }

    #[tokio::test]
    async fn a_trace_that_its_client_does_not_record_is_not_recorded_here() {
        let kept = Arc::new(Kept::default());
        let unsampled = SAID.replace("-01", "-00");
        assert_eq!(asked("/jobs/7", Some(&unsampled), Some(kept.clone())).await, unsampled);
        assert_eq!(kept.spans(), []);
    }
}
