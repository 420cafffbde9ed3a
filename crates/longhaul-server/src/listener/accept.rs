//! The accept loop: takes connections, refuses what is too many, survives a lack of descriptors, drains at shutdown.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Application, Drained,
    connection::{Connection, Seat},
    drive::{self, HttpBuilder},
    event_loops::EventLoops,
    options::ListenerOptions,
    refuse,
    stats::Counters,
};

/// What the accept loop and all connections share.
pub(super) struct Shared {
    pub(super) options: ListenerOptions,
    pub(super) counters: Arc<Counters>,
    /// Stop taking requests on open connections.
    pub(super) draining: AtomicBool,
    /// Stop everything.
    pub(super) cut: CancellationToken,
    /// Where requests with large bodies are worked on, when connections have event loops: by as many threads as there are
    /// cores, which take work from each other.
    pub(super) roomy: Option<Handle>,
    registry: Mutex<HashMap<u64, Weak<Connection>>>,
    next_id: AtomicU64,
}

impl Shared {
    pub(super) fn new(options: ListenerOptions, counters: Arc<Counters>, roomy: Option<Handle>) -> Self {
        Self {
            options,
            counters,
            roomy,
            draining: AtomicBool::new(false),
            cut: CancellationToken::new(),
            registry: Mutex::default(),
            next_id: AtomicU64::new(0),
        }
    }

    /// Makes every connection's task look at `draining` and `cut`.
    fn wake_all(&self) {
        for connection in self.registry.lock().unwrap_or_else(PoisonError::into_inner).values() {
            if let Some(connection) = connection.upgrade() {
                connection.task.wake();
            }
        }
    }
}

/// A connection's entry in the registry, removed when its task ends, be it by a panic.
pub(super) struct Registered {
    id: u64,
    shared: Arc<Shared>,
}

impl Registered {
    fn new(shared: &Arc<Shared>, connection: &Arc<Connection>) -> Self {
        let id = shared.next_id.fetch_add(1, Relaxed);
        let entry = Arc::downgrade(connection);
        shared.registry.lock().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
        Self { id, shared: Arc::clone(shared) }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.registry.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Accepts and serves until the token is cancelled, then drains.
pub(super) async fn serve<S: Application>(
    listener: TcpListener,
    application: S,
    shared: Arc<Shared>,
    event_loops: Option<Arc<EventLoops>>,
    shutdown: CancellationToken,
) -> Drained {
    let tracker = TaskTracker::new();
    let desk = Desk {
        application,
        http: Arc::new(drive::http_builder(&shared.options, &tracker)),
        tls: shared.options.tls.clone().map(TlsAcceptor::from),
        refusals: Arc::default(),
        tracker: tracker.clone(),
        shared: Arc::clone(&shared),
        event_loops: event_loops.clone(),
    };
    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                failures = 0;
                desk.admit(stream, peer);
            }
            Err(error) => {
                shared.counters.accept_errors.fetch_add(1, Relaxed);
                let Some(pause) = pause_after(&error, failures) else { continue };
                if failures == 0 {
                    tracing::error!(%error, "cannot accept connections; trying again");
                }
                failures += 1;
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
    desk.admit_backlog(listener);
    drop(desk);
    let drained = drain(&shared, &tracker).await;
    // Not before: who else holds it is not known here.
    drop(event_loops);
    drained
}

/// Where arriving connections get a task.
struct Desk<S> {
    application: S,
    http: Arc<HttpBuilder>,
    tls: Option<TlsAcceptor>,
    refusals: Arc<AtomicU64>,
    tracker: TaskTracker,
    shared: Arc<Shared>,
    event_loops: Option<Arc<EventLoops>>,
}

impl<S: Application> Desk<S> {
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(seat) = Seat::take(&self.shared.counters, self.shared.options.max_connections) else {
            self.shared.counters.refused.fetch_add(1, Relaxed);
            if self.tls.is_none() {
                refuse::refuse(stream, &self.refusals, &self.tracker, &self.shared);
            }
            return;
        };
        self.shared.counters.accepted.fetch_add(1, Relaxed);
        if let Err(error) = stream.set_nodelay(true) {
            // The peer is gone already; its task will find out.
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let (event_loop, place) = self.event_loops.as_ref().and_then(|loops| loops.place()).unzip();
        let connection = Arc::new(Connection::new(seat, place));
        let task = drive::Task {
            registered: Registered::new(&self.shared, &connection),
            connection,
            shared: Arc::clone(&self.shared),
            application: self.application.clone(),
            http: Arc::clone(&self.http),
            peer,
        };
        match &self.tls {
            None => self.start(event_loop, stream, |stream| task.serve_plain(stream)),
            Some(acceptor) => {
                let acceptor = acceptor.clone();
                self.start(event_loop, stream, |stream| task.serve_tls(stream, acceptor));
            }
        }
    }

    /// Gives a connection to its event loop, which looks after the socket from then on.
    fn start<F>(
        &self,
        event_loop: Option<Handle>,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(event_loop) = event_loop else {
            drop(self.tracker.spawn(serve(stream)));
            return;
        };
        let moved = stream.into_std();
        let serve_there = async move {
            match moved.and_then(TcpStream::from_std) {
                Ok(stream) => serve(stream).await,
                Err(error) => tracing::error!(%error, "a connection was lost on its way to its thread"),
            }
        };
        drop(self.tracker.spawn_on(serve_there, &event_loop));
    }

    /// Takes in what the kernel had accepted for us, so that closing the listening socket resets nobody.
    fn admit_backlog(&self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..self.shared.options.backlog {
            match listener.accept() {
                Ok((stream, peer)) => {
                    if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                        self.admit(stream, peer);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

async fn drain(shared: &Shared, tracker: &TaskTracker) -> Drained {
    tracker.close();
    shared.draining.store(true, SeqCst);
    shared.wake_all();
    if tokio::time::timeout(shared.options.drain_timeout, tracker.wait()).await.is_ok() {
        return Drained { cut_connections: 0 };
    }
    let cut_connections = shared.counters.open.load(Relaxed);
    tracing::warn!(cut_connections, "requests still running at the end of the drain time are cut");
    shared.cut.cancel();
    shared.wake_all();
    // Cut tasks end at their next poll. One that blocks its thread cannot be helped, and must not hold the exit.
    let _stuck = tokio::time::timeout(CUT_TIMEOUT, tracker.wait()).await;
    Drained { cut_connections }
}

/// How long the tasks may take to notice that they are cut.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait after a failure to accept; `None` when the failure was that one connection's.
///
/// Without descriptors or memory the same failure would return at once, for ever, at the full speed of a core. The
/// pause doubles from 10 ms to 1 s: connections that end meanwhile give their descriptors back.
fn pause_after(error: &io::Error, failures_before: u32) -> Option<Duration> {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return None;
    }
    Some(Duration::from_millis(10 << failures_before.min(7)).min(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_backs_off_to_one_second() {
        const EMFILE: i32 = 24;
        let error = io::Error::from_raw_os_error(EMFILE);
        let pauses: Vec<u64> = (0..12)
            .filter_map(|failures| pause_after(&error, failures))
            .map(|pause| pause.as_millis() as u64)
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000, 1000]);
    }

    #[test]
    fn a_connection_that_failed_by_itself_does_not_hold_up_the_others() {
        assert_eq!(pause_after(&io::ErrorKind::ConnectionAborted.into(), 0), None);
    }
}
