//! One connection to a provider: HTTP/1.1, one exchange at a time, driven by the task that uses it.
//!
//! It is our own because a general client costs a gateway what it cannot spare. Who waits for an answer holds no buffer:
//! bytes are read into the stack and kept only once there are some, so ten thousand calls that wait cost their sockets
//! and little else. And the chunks of a stream that came together are handed on together, where a general client wakes
//! its reader for each.
//!
//! What is read stays in `unread` until it is taken; between two exchanges it is empty, or the connection is not used
//! again.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use longhaul_resilience::Tick;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Id;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::error::HttpError;
use super::framing::Framing;
use super::message::{AnswerHead, MAX_HEAD_BYTES, Outgoing};

/// The most that is read at once. It lies on the stack while the socket is asked, and nowhere while it has nothing.
const READ_BYTES: usize = 32 * 1024;

pub(super) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// An open connection.
pub(super) struct Wire {
    stream: Stream,
    unread: BytesMut,
    /// The other side has sent its last byte.
    ended: bool,
    /// Nothing stands in the way of another exchange.
    reusable: bool,
    /// When it became idle.
    pub(super) idle_since: Tick,
    /// The event loop that looks after the socket.
    pub(super) home: Id,
}

/// How an exchange failed. `unsent`: no byte of the request left, so that another connection may be tried.
pub(super) struct Failed {
    pub(super) error: HttpError,
    pub(super) unsent: bool,
}

impl Wire {
    /// `home` is where the stream was connected.
    pub(super) fn new(stream: Stream, home: Id) -> Box<Self> {
        Box::new(Self { stream, unread: BytesMut::new(), ended: false, reusable: true, idle_since: Tick::ZERO, home })
    }

    /// Whether another request can be sent. Looks at the socket, so a peer that has hung up is noticed, and one that says
    /// something unasked.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut task = Context::from_waker(Waker::noop());
        self.is_clean() && self.poll_fill(&mut task).is_pending()
    }

    /// Whether it is worth keeping, as far as is known without a look at the socket.
    pub(super) fn is_clean(&self) -> bool {
        self.reusable && self.unread.is_empty() && !self.ended
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(&mut self, request: &Outgoing) -> Result<(http::response::Parts, Framing), Failed> {
        let mut sent = Sent::default();
        // Until the answer has been read to its end.
        self.reusable = false;
        let head = poll_fn(|task| self.poll_exchange(request, &mut sent, task)).await;
        let AnswerHead { parts, framing, keeps } = head.map_err(|error| Failed { error, unsent: sent.bytes == 0 })?;
        // What was answered before it was heard to the end leaves the rest of it on the wire.
        self.reusable = keeps && sent.whole;
        Ok((parts, framing))
    }

    fn poll_exchange(
        &mut self,
        request: &Outgoing,
        sent: &mut Sent,
        task: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, HttpError>> {
        let cut = |error: &io::Error| HttpError::Cut { answered: false, message: error.to_string() };
        // A server may answer, and close, before it has read all: what it says counts for more than that it stopped.
        let broken = match self.poll_send(request, sent, task) {
            Poll::Ready(Err(error)) if sent.bytes == 0 => return Poll::Ready(Err(cut(&error))),
            Poll::Ready(Err(error)) => Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        loop {
            if let Some(head) = AnswerHead::take(&mut self.unread, request.without_body())? {
                return Poll::Ready(Ok(head));
            }
            if self.unread.len() > MAX_HEAD_BYTES {
                return Poll::Ready(Err(HttpError::NotHttp(format!("its head is longer than {MAX_HEAD_BYTES} bytes"))));
            }
            match (self.poll_fill(task), &broken) {
                (Poll::Ready(Ok(0)), None) => {
                    let message = "closed by the other side".to_owned();
                    return Poll::Ready(Err(HttpError::Cut { answered: false, message }));
                }
                (Poll::Ready(Ok(0)) | Poll::Pending, Some(error)) => return Poll::Ready(Err(cut(error))),
                (Poll::Ready(Err(error)), _) => return Poll::Ready(Err(cut(&error))),
                (Poll::Ready(Ok(_)), _) => {}
                (Poll::Pending, None) => return Poll::Pending,
            }
        }
    }

    fn poll_send(&mut self, request: &Outgoing, sent: &mut Sent, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !sent.whole {
            let stream = Pin::new(&mut self.stream);
            let (left, more) = request.rest(sent.bytes);
            if left.is_empty() && more.is_empty() {
                match stream.poll_flush(task) {
                    Poll::Ready(Ok(())) => sent.whole = true,
                    other => return other,
                }
                continue;
            }
            let wrote = match more.is_empty() {
                true => stream.poll_write(task, left),
                false => stream.poll_write_vectored(task, &[io::IoSlice::new(left), io::IoSlice::new(more)]),
            };
            match wrote {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(wrote)) => sent.bytes += wrote,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once. Zero bytes are the end.
    fn poll_fill(&mut self, task: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        match Pin::new(&mut self.stream).poll_read(task, &mut read) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => {
                self.ended = true;
                Poll::Ready(Err(error))
            }
            Poll::Ready(Ok(())) => {
                self.unread.extend_from_slice(read.filled());
                self.ended = read.filled().is_empty();
                Poll::Ready(Ok(read.filled().len()))
            }
        }
    }

    /// The next part of an answer's body, all that is there; `None` at its end.
    pub(super) fn poll_body(
        &mut self,
        framing: &mut Framing,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, HttpError>>> {
        loop {
            match framing.take(&mut self.unread) {
                Err(error) => {
                    self.reusable = false;
                    return Poll::Ready(Some(Err(error)));
                }
                Ok(Some(part)) => return Poll::Ready(Some(Ok(part))),
                Ok(None) if framing.is_over() => return Poll::Ready(None),
                Ok(None) => {}
            }
            let failed = match self.poll_fill(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) if framing.ends_with_connection() => {
                    self.reusable = false;
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => "closed by the other side before the end".to_owned(),
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(error)) => error.to_string(),
            };
            self.reusable = false;
            return Poll::Ready(Some(Err(HttpError::Cut { answered: true, message: failed })));
        }
    }
}

/// How much of a request has left.
#[derive(Default)]
struct Sent {
    bytes: usize,
    /// All of it, and flushed.
    whole: bool,
}
