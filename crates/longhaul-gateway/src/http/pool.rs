//! The connections to one provider.
//!
//! A place is taken before a connection is looked for and held as long as the answer is being read. A new connection is
//! opened only when none is idle, so there are never more connections than places (sockets there may be, for as long as
//! several addresses of a name are tried). The one that was used last is used first: the others grow old and are closed.
//!
//! Whoever calls takes the place first and sends then, so that the time that is spent on waiting for one is nobody's
//! attempt.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use longhaul_providers::exchange::HttpRequest;
use longhaul_resilience::{Cx, Tick};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::either::Either;
use tokio_util::task::TaskTracker;

use super::body::AnswerBody;
use super::connect;
use super::connection::{Failed, Wire};
use super::endpoint::Endpoint;
use super::error::HttpError;
use super::framing::Framing;
use super::idle::{Idle, here};
use super::message::Outgoing;
use super::tls::Tls;

/// How many idle connections may turn out dead before a new one is opened: a server that restarts kills all of them.
const MAX_STALE: usize = 8;

/// How long the last bytes of an answer are waited for when nobody wants them, and how many parts there may be.
const DRAIN_FOR: Duration = Duration::from_secs(1);
const MAX_DRAINED_PARTS: usize = 16;

/// The settings of the connections to one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// Connections open at once, idle ones included.
    pub max_connections: usize,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// An idle connection older than this is closed rather than used: the other side closes them, too, and a request that
    /// meets its closing is lost.
    pub idle_timeout: Duration,
    /// The longest answer, whole or streamed, in bytes.
    pub max_answer_bytes: usize,
    /// PEM certificates that are trusted beside the system's.
    pub extra_roots: Option<Bytes>,
}

impl Default for PoolSettings {
    /// 256 connections, 5 s to connect, a minute idle, 64 MiB.
    fn default() -> Self {
        Self {
            max_connections: 256,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            max_answer_bytes: 64 << 20,
            extra_roots: None,
        }
    }
}

/// How long a caller waits for a place when all are taken; who waits longer is turned away.
pub(crate) const PLACE_WAIT: Duration = Duration::from_secs(10);

/// One of the connections that there may be at once. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// An answer whose body is still to be read.
pub(crate) struct Incoming {
    pub(crate) head: http::response::Parts,
    pub(crate) body: AnswerBody,
}

/// The connections to one provider, shared by all who call it.
pub(crate) struct Pool {
    endpoint: Endpoint,
    settings: PoolSettings,
    tls: Option<Tls>,
    places: Arc<Semaphore>,
    idle: Mutex<Idle<Box<Wire>>>,
    tracker: TaskTracker,
}

impl Pool {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub(crate) fn new(
        endpoint: Endpoint,
        settings: PoolSettings,
        tracker: TaskTracker,
    ) -> Result<Arc<Self>, HttpError> {
        let tls =
            endpoint.is_secure().then(|| Tls::to(endpoint.host(), settings.extra_roots.as_deref())).transpose()?;
        let places = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Arc::new(Self { endpoint, settings, tls, places, idle: Mutex::default(), tracker }))
    }

    pub(crate) fn max_answer_bytes(&self) -> usize {
        self.settings.max_answer_bytes
    }

    /// Connections that are in use now.
    pub(crate) fn in_use(&self) -> usize {
        self.settings.max_connections.saturating_sub(self.places.available_permits())
    }

    /// Connections that wait to be used again.
    pub(crate) fn idle(&self) -> usize {
        self.idle_wires().len()
    }

    /// A place, if one is free and nobody waits for it.
    pub(crate) fn place_now(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned();
        permit.ok().map(|permit| Place { _permit: permit })
    }

    /// A place, after those who came before. Waits until `until`.
    ///
    /// # Errors
    /// When none became free.
    pub(crate) async fn place(&self, cx: &Cx<'_>, until: Tick) -> Result<Place, HttpError> {
        if let Some(place) = self.place_now() {
            return Ok(place);
        }
        let full = HttpError::NoPlace { connections: self.settings.max_connections };
        tokio::select! {
            biased;
            permit = Arc::clone(&self.places).acquire_owned() => match permit {
                Ok(permit) => Ok(Place { _permit: permit }),
                Err(_) => unreachable!("the semaphore is never closed"),
            },
            () = cx.sleep_until(until) => Err(full),
        }
    }

    /// Sends a request over a connection of `place` and waits for the head of the answer.
    pub(crate) async fn send(
        self: &Arc<Self>,
        cx: &Cx<'_>,
        place: Place,
        outgoing: HttpRequest,
    ) -> Result<Incoming, HttpError> {
        let request = Outgoing::new(&self.endpoint, outgoing)?;
        for _ in 0..MAX_STALE {
            let Some(mut wire) = self.take_idle(cx.now()) else { break };
            match wire.exchange(&request).await {
                Ok(answer) => return Ok(self.incoming(wire, place, answer)),
                // It was closed while it lay idle; the request never left.
                Err(Failed { unsent: true, .. }) => {}
                Err(Failed { error, unsent: false }) => return Err(error),
            }
        }
        let mut wire = self.connect(cx).await?;
        match wire.exchange(&request).await {
            Ok(answer) => Ok(self.incoming(wire, place, answer)),
            Err(Failed { error, .. }) => Err(error),
        }
    }

    fn incoming(
        self: &Arc<Self>,
        wire: Box<Wire>,
        place: Place,
        (head, framing): (http::response::Parts, Framing),
    ) -> Incoming {
        Incoming { head, body: AnswerBody::new(Arc::clone(self), wire, place, framing) }
    }

    fn idle_wires(&self) -> MutexGuard<'_, Idle<Box<Wire>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last and still stands, of this event loop's if there are any.
    fn take_idle(&self, now: Tick) -> Option<Box<Wire>> {
        let here = here();
        loop {
            let mut wire = self.idle_wires().take(here)?;
            if now.since(wire.idle_since) < self.settings.idle_timeout && wire.is_usable() {
                return Some(wire);
            }
        }
    }

    /// Takes a connection back whose answer has been read to its end.
    pub(super) fn give_back(&self, mut wire: Box<Wire>, now: Tick) {
        if !wire.is_clean() {
            return;
        }
        wire.idle_since = now;
        let old = {
            let mut idle = self.idle_wires();
            idle.put(wire.home, wire);
            idle.take_old(|wire| now.since(wire.idle_since) >= self.settings.idle_timeout)
        };
        // Closing may talk to the socket: not under the lock.
        drop(old);
    }

    /// Reads on in the background for a little while, so that a connection whose answer is all but read is not lost.
    pub(super) fn drain_later(&self, mut body: AnswerBody) {
        self.tracker.spawn(async move {
            let cx = Cx::default();
            let mut parts = 0;
            tokio::select! {
                biased;
                () = async { while parts < MAX_DRAINED_PARTS && body.part(&cx).await.is_some() { parts += 1; } } => {}
                () = cx.sleep(DRAIN_FOR) => {}
            }
        });
    }

    async fn connect(&self, cx: &Cx<'_>) -> Result<Box<Wire>, HttpError> {
        let limit = self.settings.connect_timeout;
        tokio::select! {
            biased;
            connected = self.connect_somewhere(cx) => connected,
            () = cx.sleep(limit) => Err(HttpError::ConnectTimeout(limit)),
        }
    }

    async fn connect_somewhere(&self, cx: &Cx<'_>) -> Result<Box<Wire>, HttpError> {
        let (host, port) = (self.endpoint.host(), self.endpoint.port());
        let addresses = tokio::net::lookup_host((host, port)).await;
        let addresses = addresses.map_err(|error| HttpError::Connect(error.to_string()))?;
        let none = HttpError::Connect(format!("the name {host} has no address"));
        connect::first(cx, addresses, |address| self.connect_to(address), none).await
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<Box<Wire>, HttpError> {
        let failed = |error: std::io::Error| HttpError::Connect(format!("{address}: {error}"));
        // Before the wait: a call that several wait for may be driven by another loop afterwards.
        let home = here();
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        // Requests are written whole, answers come in small pieces: waiting for more only costs time.
        stream.set_nodelay(true).map_err(failed)?;
        let stream = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => Either::Right(tls.connect(stream).await?),
        };
        Ok(Wire::new(stream, home))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("endpoint", &self.endpoint)
            .field("in_use", &self.in_use())
            .field("idle", &self.idle())
            .finish()
    }
}
