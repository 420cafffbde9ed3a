//! Streams to clients: pieces of an answer as server-sent events.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, http::HeaderValue, http::header, response::Response};
use bytes::Bytes;
use futures::{Stream as _, future::BoxFuture};
use http_body::Frame as BodyFrame;
use longhaul_core::Clock;
use longhaul_gateway::{CallRecord, ChatStream};
use longhaul_providers::{
    chat::StreamEvent,
    facade::{Frame, StreamEncoder},
    relay::Relayed,
    responses::facade::ResponseStreamEncoder,
};

/// Pieces that are there already go out together, up to so many bytes.
const TOGETHER: usize = 16 * 1024;

/// The body of a streamed answer. Dropping it, as happens when the client leaves, gives the call up.
pub(crate) struct EventStream<E> {
    source: ChatStream,
    encoder: E,
    frames: Vec<Frame>,
    keeper: Option<Keeper>,
    /// The last event, while the answer is being kept.
    held_back: Option<(BoxFuture<'static, ()>, Vec<u8>)>,
    ended: bool,
}

/// Keeps a whole answer before its last event is sent, so that whoever has seen the end can ask for it.
struct Keeper {
    clock: Arc<dyn Clock>,
    keep: Box<dyn FnOnce(Vec<u8>, CallRecord) -> BoxFuture<'static, ()> + Send>,
}

/// An encoder that can be asked, at the end, for the whole answer.
pub(crate) trait Encoder: StreamEncoder + Unpin + 'static {
    /// The end is near: when that is.
    fn completes_at(&mut self, _second: i64) {}

    /// The whole answer, to be kept.
    fn whole(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes note of frames that are sent on as they are. False: they have to be written anew.
    fn passed(&mut self, _relayed: &Relayed) -> bool {
        false
    }
}

impl Encoder for longhaul_providers::openai::facade::ChatStreamEncoder {
    fn passed(&mut self, relayed: &Relayed) -> bool {
        self.passed(relayed);
        true
    }
}
impl Encoder for longhaul_providers::anthropic::facade::MessageStreamEncoder {}
impl Encoder for ResponseStreamEncoder {
    fn completes_at(&mut self, second: i64) {
        self.set_completed_at(Some(second));
    }

    fn whole(&self) -> Vec<u8> {
        self.object()
    }
}

impl<E: Encoder> EventStream<E> {
    pub(crate) fn new(source: ChatStream, encoder: E) -> Self {
        Self { source, encoder, frames: Vec::new(), keeper: None, held_back: None, ended: false }
    }

    /// As [`new`](Self::new); the whole answer is given to `keep`, and its last event sent when that is done.
    pub(crate) fn kept<F, W>(source: ChatStream, encoder: E, clock: Arc<dyn Clock>, keep: F) -> Self
    where
        F: FnOnce(Vec<u8>, CallRecord) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let keep = Box::new(move |object, record| -> BoxFuture<'static, ()> { Box::pin(keep(object, record)) });
        Self { keeper: Some(Keeper { clock, keep }), ..Self::new(source, encoder) }
    }

    /// Writes what a piece of the answer is told as.
    fn tell(&mut self, event: &StreamEvent, out: &mut Vec<u8>) {
        let is_whole = matches!(event, StreamEvent::Finished(_));
        let keeper = if is_whole { self.keeper.take() } else { None };
        if let Some(keeper) = &keeper {
            self.encoder.completes_at(keeper.clock.now().as_millis() / 1_000);
        }
        self.encoder.push(event, &mut self.frames);
        let last = if keeper.is_some() { self.frames.pop() } else { None };
        for frame in self.frames.drain(..) {
            frame.write_to(out);
        }
        if let (Some(keeper), Some(last)) = (keeper, last) {
            let record = self.source.record().cloned().unwrap_or_default();
            let mut bytes = Vec::new();
            last.write_to(&mut bytes);
            self.held_back = Some(((keeper.keep)(self.encoder.whole(), record), bytes));
        }
    }
}

impl<E: Encoder> http_body::Body for EventStream<E> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let mut out = Vec::new();
        while !this.ended && out.len() < TOGETHER {
            if let Some((keeping, last)) = &mut this.held_back {
                match keeping.as_mut().poll(task) {
                    Poll::Pending if out.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                    Poll::Ready(()) => {
                        out.append(last);
                        this.held_back = None;
                        continue;
                    }
                }
            }
            match Pin::new(&mut this.source).poll_next(task) {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(None) => this.ended = true,
                Poll::Ready(Some(StreamEvent::Relayed(relayed))) if this.encoder.passed(&relayed) => {
                    if out.is_empty() {
                        return Poll::Ready(Some(Ok(BodyFrame::data(relayed.frames))));
                    }
                    out.extend_from_slice(&relayed.frames);
                }
                Poll::Ready(Some(event)) => this.tell(&event, &mut out),
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
