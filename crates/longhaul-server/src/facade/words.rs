//! The layer that puts refusals into a vendor's words.
//!
//! A service of its own and not a function as middleware, which would cost each request four boxes.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, Request};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{Refusal, Vendor};
use crate::{
    problem::Problem,
    request_id::{Refused, RequestId},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Puts whatever a route refuses into the words of the vendor whose API it speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InWordsOf(pub(crate) Vendor);

impl<S> Layer<S> for InWordsOf {
    type Service = Worded<S>;

    fn layer(&self, inner: S) -> Worded<S> {
        Worded { inner, vendor: self.0 }
    }
}

/// A service whose refusals are in a vendor's words.
#[derive(Debug, Clone)]
pub(crate) struct Worded<S> {
    inner: S,
    vendor: Vendor,
}

impl<S> Service<Request<Body>> for Worded<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = WordedAnswer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let id = request.extensions().get::<RequestId>().cloned();
        WordedAnswer { inner: self.inner.call(request), vendor: self.vendor, id }
    }
}

pin_project! {
    /// The answer in the making.
    pub(crate) struct WordedAnswer<F> {
        #[pin]
        inner: F,
        vendor: Vendor,
        id: Option<RequestId>,
    }
}

impl<F> Future for WordedAnswer<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(cx));
        Poll::Ready(Ok(put(*this.vendor, this.id.as_ref(), response)))
    }
}

fn put(vendor: Vendor, id: Option<&RequestId>, mut response: Response) -> Response {
    let refusal = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => Some(Refusal::of_problem(&problem, response.headers())),
        None => response.extensions_mut().remove::<Refusal>(),
    };
    let id = id.map(RequestId::as_str).unwrap_or_default();
    if let Some(refusal) = refusal {
        response = refusal.render(vendor, id);
        response.extensions_mut().insert(Refused);
    }
    if vendor == Vendor::Anthropic
        && let Ok(id) = HeaderValue::from_str(id)
    {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
