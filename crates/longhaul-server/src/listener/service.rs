//! Between the HTTP machinery and the application: the client's address, the floor under bodies, the end of answers.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio_util::task::AbortOnDropHandle;
use tower::{ServiceExt as _, util::Oneshot};

use super::{
    Application, accept::Shared, body_rate::RatedBody, client_addr::ClientAddr, connection::Connection,
    event_loops::LARGE_BODY,
};
use crate::{
    problem::{Code, Problem},
    request_id::X_REQUEST_ID,
};

/// The application as one connection sees it.
pub(super) struct Door<S> {
    pub(super) application: S,
    pub(super) connection: Arc<Connection>,
    pub(super) shared: Arc<Shared>,
    pub(super) peer: SocketAddr,
    /// The peer may speak for others: its forwarding header counts.
    pub(super) peer_is_proxy: bool,
}

impl<S: Application> hyper::service::Service<Request<Incoming>> for Door<S> {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answer<Work<Oneshot<S, Request<Body>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let multiplexed = request.version() == Version::HTTP_2;
        let number = self.connection.begin_request(multiplexed);
        let running = Running(Arc::clone(&self.connection));
        let options = &self.shared.options;
        let client = if self.peer_is_proxy {
            options.trusted_proxies.client(self.peer, request.headers(), options.forwarded_header)
        } else {
            ClientAddr { ip: self.peer.ip().to_canonical(), peer: self.peer }
        };
        let is_large = http_body::Body::size_hint(request.body()).upper().is_none_or(|most| most > LARGE_BODY);
        let mut request = request.map(|body| {
            if http_body::Body::is_end_stream(&body) {
                Body::empty()
            } else {
                Body::new(RatedBody::new(body, options.body_floor, Arc::clone(&self.connection), number))
            }
        });
        request.extensions_mut().insert(client);
        let answer = self.application.clone().oneshot(request);
        Answer {
            inner: match &self.shared.roomy {
                Some(roomy) if is_large => Work::There { answer: AbortOnDropHandle::new(roomy.spawn(answer)) },
                _ => Work::Here { answer },
            },
            running: Some(running),
            shared: Arc::clone(&self.shared),
            number,
            multiplexed,
        }
    }
}

pin_project! {
    /// The application at work on a request.
    #[project = AtWork]
    pub(super) enum Work<F> {
        /// Where the connection is.
        Here { #[pin] answer: F },
        /// Where there is room for a large body. Given up when the connection is.
        There { #[pin] answer: AbortOnDropHandle<Result<Response<Body>, Infallible>> },
    }
}

impl<F> Future for Work<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AtWork::Here { answer } => answer.poll(cx),
            AtWork::There { answer } => Poll::Ready(ready!(answer.poll(cx)).unwrap_or_else(|error| {
                tracing::error!(%error, "a request was given up by the runtime that worked on it");
                Ok(Problem::new(Code::Internal, "The server stopped while it worked on the request.").render())
            })),
        }
    }
}

/// Counts as a running request until dropped.
pub(super) struct Running(Arc<Connection>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

pin_project! {
    /// The application's answer in the making.
    pub(super) struct Answer<F> {
        #[pin]
        inner: F,
        running: Option<Running>,
        shared: Arc<Shared>,
        number: u32,
        multiplexed: bool,
    }
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        let running = this.running.take();
        let mut last = this.shared.draining.load(SeqCst);
        if running.as_ref().is_some_and(|running| running.0.was_slow(*this.number)) {
            this.shared.counters.slow_bodies.fetch_add(1, Relaxed);
            response = too_slow(response);
            last = true;
        }
        // A request can come and go within one poll of the connection, before its task looks at the shutdown.
        if last && !*this.multiplexed && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let multiplexed = *this.multiplexed;
        Poll::Ready(Ok(response.map(|body| AnswerBody::new(body, running, multiplexed))))
    }
}

/// The answer to a body that arrived too slowly: 408, whatever the handler made of its broken body. Over HTTP/1 the
/// connection ends with it, since the rest of the body stands in the way of a next request.
fn too_slow(response: Response<Body>) -> Response<Body> {
    if response.status() == Code::RequestTimeout.status() {
        return response;
    }
    let mut problem = Problem::new(Code::RequestTimeout, "The request body arrived too slowly.");
    let id = response.headers().get(X_REQUEST_ID).cloned();
    if let Some(id) = id.as_ref().and_then(|id| id.to_str().ok()) {
        problem.name_request(id);
    }
    let mut answer = problem.render();
    if let Some(id) = id {
        answer.headers_mut().insert(X_REQUEST_ID, id);
    }
    answer
}

/// The body of an answer; while it lives, its request counts as running.
pub(super) struct AnswerBody {
    body: Body,
    running: Option<Running>,
    /// Over HTTP/2: the client has not taken what there is, so that nobody asks for more.
    is_owed: bool,
    multiplexed: bool,
}

impl AnswerBody {
    fn new(body: Body, running: Option<Running>, multiplexed: bool) -> Self {
        let mut answer = Self { body, running, is_owed: false, multiplexed };
        if multiplexed && !http_body::Body::is_end_stream(&answer.body) {
            answer.owe(true);
        }
        answer
    }

    fn owe(&mut self, is_owed: bool) {
        let Some(Running(connection)) = &self.running else { return };
        match (self.is_owed, is_owed) {
            (false, true) => connection.begin_to_owe(),
            (true, true) => connection.on_answer(),
            (true, false) => connection.end_to_owe(),
            (false, false) => {}
        }
        self.is_owed = is_owed;
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.owe(false);
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if self.multiplexed {
            self.owe(matches!(frame, Poll::Ready(Some(_))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
