//! The task of one connection: drives the HTTP machinery, keeps its deadlines, ends it at shutdown.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::{
    Application,
    accept::{Registered, Shared},
    connection::{Connection, now},
    options::ListenerOptions,
    service::Door,
    socket::{Socket, Transport},
};

pub(super) type HttpBuilder = auto::Builder<TrackedExecutor>;

/// Spawns the streams of HTTP/2 connections where shutdown can wait for them.
#[derive(Clone)]
pub(super) struct TrackedExecutor(TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.0.spawn(future));
    }
}

/// The HTTP machinery for these limits. HTTP/1 gets no timer: its deadlines are kept here, for less.
pub(super) fn http_builder(options: &ListenerOptions, tracker: &TaskTracker) -> HttpBuilder {
    let http2 = &options.http2;
    let mut builder = auto::Builder::new(TrackedExecutor(tracker.clone()));
    let mut http1 = builder.http1();
    http1.keep_alive(true).header_read_timeout(None).max_buf_size(options.max_head_bytes.max(MIN_HEAD_BYTES));
    if options.max_headers != BUILT_IN_MAX_HEADERS {
        // Another bound than the built-in one costs an allocation per request.
        http1.max_headers(options.max_headers);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(http2.ping_interval)
        .keep_alive_timeout(http2.ping_timeout)
        .max_concurrent_streams(http2.max_concurrent_streams)
        .max_pending_accept_reset_streams(http2.max_pending_reset_streams)
        .max_local_error_reset_streams(http2.max_error_reset_streams)
        .initial_stream_window_size(http2.stream_window_bytes)
        .initial_connection_window_size(http2.connection_window_bytes)
        .max_send_buf_size(http2.max_send_buffer_bytes)
        .max_header_list_size(u32::try_from(options.max_head_bytes).unwrap_or(u32::MAX));
    builder
}

/// The bound on headers that the HTTP machinery has without being told.
const BUILT_IN_MAX_HEADERS: usize = 100;

/// The HTTP machinery takes no smaller bound for a head.
const MIN_HEAD_BYTES: usize = 8 * 1024;

/// What a connection's task owns.
pub(super) struct Task<S> {
    pub(super) registered: Registered,
    pub(super) connection: Arc<Connection>,
    pub(super) shared: Arc<Shared>,
    pub(super) application: S,
    pub(super) http: Arc<HttpBuilder>,
    pub(super) peer: SocketAddr,
}

impl<S: Application> Task<S> {
    pub(super) async fn serve_plain(self, stream: TcpStream) {
        self.serve(Transport::Plain(stream)).await;
    }

    pub(super) async fn serve_tls(self, stream: TcpStream, acceptor: TlsAcceptor) {
        let timeout = self.shared.options.tls_handshake_timeout;
        let handshake = tokio::time::timeout(timeout, acceptor.accept(stream));
        match self.shared.cut.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => {
                self.connection.restart();
                self.serve(Transport::Tls(Box::new(stream))).await;
            }
            failed => {
                let error = match failed {
                    Some(Ok(Err(error))) => error.to_string(),
                    Some(_) => "too slow".to_owned(),
                    None => "shutdown".to_owned(),
                };
                self.shared.counters.handshake_failures.fetch_add(1, Relaxed);
                tracing::debug!(peer = %self.peer, error, "no TLS handshake");
            }
        }
    }

    async fn serve(self, transport: Transport) {
        let Self { registered, connection, shared, application, http, peer } = self;
        let door = Door {
            application,
            connection: Arc::clone(&connection),
            shared: Arc::clone(&shared),
            peer,
            peer_is_proxy: shared.options.trusted_proxies.contains(peer.ip()),
        };
        let socket = TokioIo::new(Socket::new(transport, Arc::clone(&connection)));
        let ended_by_us = {
            let machine = pin!(http.serve_connection_with_upgrades(socket, door));
            let timer = pin!(sleep_until(now() + shared.options.shortest_timeout()));
            Drive { machine, timer, connection: &connection, shared: &shared, peer, task: None, drain: Drain::No }.await
        };
        drop(registered);
        if !ended_by_us
            && !connection.peer_closed()
            && let Some(socket) = connection.take_leftover()
        {
            let _cut = shared.cut.run_until_cancelled(linger(socket, shared.options.linger_timeout)).await;
        }
    }
}

/// How far a connection has got with the shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    /// Until then, a request that was on its way may still begin.
    Grace(Instant),
    /// The HTTP machine knows: it ends after the running request.
    Told,
}

/// The connection's future: the HTTP machine, watched. Resolves to whether the watch ended it.
struct Drive<'a, M> {
    machine: Pin<&'a mut M>,
    timer: Pin<&'a mut Sleep>,
    connection: &'a Connection,
    shared: &'a Shared,
    peer: SocketAddr,
    task: Option<Waker>,
    drain: Drain,
}

/// What the watch needs of the HTTP machine.
trait Machine: Future {
    /// Take no further request; end after the running ones.
    fn finish(self: Pin<&mut Self>);
}

impl<S: Application> Machine for auto::UpgradeableConnection<'_, TokioIo<Socket>, Door<S>, TrackedExecutor> {
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<M, E> Future for Drive<'_, M>
where
    M: Machine<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let this = &mut *self;
        if !this.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            // Once per connection, since a task keeps its waker: the timer need not be polled again until it fires.
            this.task = Some(cx.waker().clone());
            this.connection.task.register(cx.waker());
            let _fired = this.timer.as_mut().poll(cx);
        }
        loop {
            if let Poll::Ready(result) = this.machine.as_mut().poll(cx) {
                if let Err(error) = result {
                    tracing::debug!(peer = %this.peer, %error, "connection ended with an error");
                }
                return Poll::Ready(false);
            }
            if this.shared.draining.load(SeqCst) {
                if this.shared.cut.is_cancelled() {
                    return Poll::Ready(true);
                }
                if this.drain_step(cx) {
                    continue;
                }
            }
            if !this.timer.is_elapsed() {
                return Poll::Pending;
            }
            match this.connection.look(&this.shared.options, now()) {
                Ok(next) => this.look_again_at(next, cx),
                Err(overdue) => {
                    this.shared.counters.overdue.fetch_add(1, Relaxed);
                    tracing::debug!(peer = %this.peer, reason = overdue.as_str(), "connection closed by its deadline");
                    return Poll::Ready(true);
                }
            }
        }
    }
}

impl<M: Machine> Drive<'_, M> {
    /// One step of the shutdown. True when the machine was told to finish and has to be polled.
    fn drain_step(&mut self, cx: &mut Context<'_>) -> bool {
        let at = now();
        let until = match self.drain {
            Drain::Told => return false,
            Drain::Grace(until) => until,
            Drain::No => {
                let until = at + self.shared.options.drain_grace;
                self.drain = Drain::Grace(until);
                self.look_again_at(until.min(self.timer.deadline()), cx);
                until
            }
        };
        // A request that runs is the last of its connection; one that does not come within the grace never will.
        if at >= until || self.connection.has_running_request() || self.connection.is_multiplexed() {
            self.drain = Drain::Told;
            self.machine.as_mut().finish();
            return true;
        }
        false
    }

    fn look_again_at(&mut self, mut next: Instant, cx: &mut Context<'_>) {
        if let Drain::Grace(until) = self.drain {
            next = next.min(until);
        }
        self.timer.as_mut().reset(next);
        // Polled so that it wakes the task; an elapsed one is seen by the caller's loop.
        let _fired = self.timer.as_mut().poll(cx);
    }
}

/// Reads what the client still sends after our last answer. Closing with unread bytes would reset the connection, and
/// a reset can overtake the answer: the client of a refused upload would see a broken pipe instead of the reason.
pub(super) async fn linger(socket: TcpStream, timeout: Duration) {
    let discard = async {
        let mut left = LINGER_BYTES;
        while left > 0 && socket.readable().await.is_ok() {
            // Between two waits, so that it lies on the stack: across one, every connection would carry it all its life.
            let mut scratch = [0; 16 * 1024];
            match socket.try_read(&mut scratch) {
                Ok(0) => return,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _elapsed = tokio::time::timeout(timeout, discard).await;
}

/// What a client may still send to a connection that we have closed; more is cut short with a reset.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of<F: Future>(_: impl FnOnce(Task<axum::Router>, Transport) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_carries_little_more_than_the_http_machinery() {
        let machine =
            size_of::<auto::UpgradeableConnection<'static, TokioIo<Socket>, Door<axum::Router>, TrackedExecutor>>();
        let task = bytes_of(|task, transport| task.serve(transport));
        assert!(task < machine + 1_024, "{task} bytes for a connection, {machine} of them the machinery's");
    }
}
