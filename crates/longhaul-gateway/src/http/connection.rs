//! One connection, driven by the task that uses it.
//!
//! hyper splits a connection into a half that takes requests and a half that moves bytes. Usually the second runs in a
//! task of its own; here whoever waits for an answer polls both, which saves two hops between threads per call.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use longhaul_resilience::Tick;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::error::HttpError;

/// The bytes of an answer that have been received and not taken: bounds what a connection holds.
const MAX_BUFFER_BYTES: usize = 256 * 1024;
/// The headers of an answer; more than any provider sends.
const MAX_HEADERS: usize = 128;

pub(super) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// An open connection. Nearly two kilobytes, so it stays where it is and its box is passed around.
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    driver: Connection<TokioIo<Stream>, Full<Bytes>>,
    /// The driver has ended and must not be polled again.
    ended: bool,
    /// When it became idle.
    pub(super) idle_since: Tick,
}

/// How an exchange failed. `unsent`: the request never left, so that another connection may be tried.
pub(super) struct Failed {
    pub(super) error: HttpError,
    pub(super) unsent: Option<Request<Full<Bytes>>>,
}

impl Wire {
    pub(super) async fn open(stream: Stream) -> Result<Box<Self>, HttpError> {
        let mut builder = Builder::new();
        builder.max_buf_size(MAX_BUFFER_BYTES).max_headers(MAX_HEADERS);
        let opened = builder.handshake(TokioIo::new(stream)).await;
        let (sender, driver) = opened.map_err(|error| HttpError::of_hyper(&error, false))?;
        Ok(Box::new(Self { sender, driver, ended: false, idle_since: Tick::ZERO }))
    }

    /// Moves bytes, as far as the socket has some.
    pub(super) fn drive(&mut self, task: &mut Context<'_>) {
        if !self.ended && Pin::new(&mut self.driver).poll(task).is_ready() {
            // How it ended is told to whoever waits for the answer.
            self.ended = true;
        }
    }

    /// Whether another request can be sent. Looks at the socket, so a peer that has hung up is noticed.
    pub(super) fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.ended && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failed> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let (driver, ended) = (&mut self.driver, &mut self.ended);
        let answered = std::future::poll_fn(|task| {
            if !*ended && Pin::new(&mut *driver).poll(task).is_ready() {
                *ended = true;
            }
            answer.as_mut().poll(task)
        });
        answered.await.map_err(|mut error| Failed {
            unsent: error.take_message(),
            error: HttpError::of_hyper(error.error(), false),
        })
    }

    /// The next part of an answer's body.
    pub(super) fn poll_body(
        &mut self,
        body: &mut Incoming,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, HttpError>>> {
        use hyper::body::Body as _;
        let mut drove = false;
        loop {
            match Pin::new(&mut *body).poll_frame(task) {
                Poll::Ready(frame) => {
                    return Poll::Ready(frame.map(|frame| frame.map_err(|error| HttpError::of_hyper(&error, true))));
                }
                Poll::Pending if drove => return Poll::Pending,
                Poll::Pending => {
                    self.drive(task);
                    drove = true;
                }
            }
        }
    }
}
