//! Streams to clients: pieces of an answer as server-sent events.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{body::Body, http::HeaderValue, http::header, response::Response};
use bytes::Bytes;
use futures::Stream as _;
use http_body::Frame as BodyFrame;
use longhaul_gateway::ChatStream;
use longhaul_providers::facade::{Frame, StreamEncoder};

/// Pieces that are there already go out together, up to so many bytes.
const TOGETHER: usize = 16 * 1024;

/// The body of a streamed answer. Dropping it, as happens when the client leaves, gives the call up.
pub(crate) struct EventStream {
    source: ChatStream,
    encoder: Box<dyn StreamEncoder>,
    frames: Vec<Frame>,
    ended: bool,
}

impl EventStream {
    pub(crate) fn new(source: ChatStream, encoder: Box<dyn StreamEncoder>) -> Self {
        Self { source, encoder, frames: Vec::new(), ended: false }
    }
}

impl http_body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let mut out = Vec::new();
        while !this.ended && out.len() < TOGETHER {
            match Pin::new(&mut this.source).poll_next(task) {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(None) => this.ended = true,
                Poll::Ready(Some(event)) => {
                    this.encoder.push(&event, &mut this.frames);
                    for frame in this.frames.drain(..) {
                        frame.write_to(&mut out);
                    }
                }
            }
        }
        match out.is_empty() {
            true => Poll::Ready(None),
            false => Poll::Ready(Some(Ok(BodyFrame::data(out.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// An answer whose body is a stream of events.
pub(crate) fn event_stream<B>(body: B) -> Response
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that buffer would hold tokens back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
