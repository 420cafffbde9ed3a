//! What is known about one connection while it lives: where it stands, since when, and what it may still do.
//!
//! The socket, the service and the answers' bodies report here; the connection's task looks here when its one timer
//! fires. So a request costs two readings of the clock and a few uncontended atomic operations, and neither a timer
//! nor an allocation: the timer is set again only when it fires (at most once per shortest timeout), because a phase
//! that begins after a look cannot end before the next one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::{net::TcpStream, time::Instant};

use super::{event_loops::Place, options::ListenerOptions, stats::Counters};

/// The runtime's clock, by which its timers run too.
#[allow(clippy::disallowed_methods, reason = "deadlines of sockets are kept by the runtime's timers and their clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Why a connection was closed by its deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    FirstByte,
    Head,
    Idle,
    WriteStall,
}

impl Overdue {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::FirstByte => "no first byte",
            Self::Head => "head too slow",
            Self::Idle => "idle",
            Self::WriteStall => "client takes no bytes",
        }
    }
}

/// Where a connection without a running request stands. A running request outranks this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Accepted; nothing has arrived.
    Fresh = 0,
    /// A head has begun to arrive.
    Head = 1,
    /// Between two requests.
    Idle = 2,
}

/// The shared state of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    born: Instant,
    /// Microseconds since `born`, shifted left by two, and the [`Phase`].
    phase: AtomicU64,
    requests_running: AtomicU32,
    requests_begun: AtomicU32,
    /// HTTP/2: bytes between requests are frames of housekeeping, not the start of a head.
    multiplexed: AtomicBool,
    /// Microseconds since `born` plus one since when the client takes no bytes; 0 while it does.
    write_blocked: AtomicU64,
    /// HTTP/2: answers of which the client could have more if it took it. Its flow control holds them back before they reach
    /// the socket.
    answers_owed: AtomicU32,
    /// Microseconds since `born` when one of them last went on.
    answers_went_on: AtomicU64,
    peer_closed: AtomicBool,
    /// The request whose body broke the floor, plus one; 0 for none.
    slow_request: AtomicU32,
    /// Wakes the connection's task at shutdown.
    pub(super) task: AtomicWaker,
    /// The socket, when the HTTP machinery has let go of it.
    leftover: Mutex<Option<TcpStream>>,
    /// Gives the seat back when the connection and all that it answered or became are gone.
    _seat: Seat,
    /// As the seat: on its event loop.
    _place: Option<Place>,
}

impl Connection {
    pub(super) fn new(seat: Seat, place: Option<Place>) -> Self {
        Self {
            born: now(),
            phase: AtomicU64::new(Phase::Fresh as u64),
            requests_running: AtomicU32::new(0),
            requests_begun: AtomicU32::new(0),
            multiplexed: AtomicBool::new(false),
            write_blocked: AtomicU64::new(0),
            answers_owed: AtomicU32::new(0),
            answers_went_on: AtomicU64::new(0),
            peer_closed: AtomicBool::new(false),
            slow_request: AtomicU32::new(0),
            task: AtomicWaker::new(),
            leftover: Mutex::new(None),
            _seat: seat,
            _place: place,
        }
    }

    /// The wait for the first byte starts now: at the end of a TLS handshake.
    pub(super) fn restart(&self) {
        self.enter(Phase::Fresh);
    }

    /// Bytes have arrived.
    pub(super) fn on_read(&self) {
        if self.requests_running.load(Relaxed) > 0 {
            return;
        }
        match self.phase().0 {
            Phase::Fresh => self.enter(Phase::Head),
            Phase::Idle if !self.multiplexed.load(Relaxed) => self.enter(Phase::Head),
            Phase::Idle | Phase::Head => {}
        }
    }

    /// The client has sent its last byte.
    pub(super) fn on_peer_closed(&self) {
        self.peer_closed.store(true, Relaxed);
    }

    pub(super) fn peer_closed(&self) -> bool {
        self.peer_closed.load(Relaxed)
    }

    /// The socket takes no more bytes for now.
    pub(super) fn on_write_blocked(&self) {
        if self.write_blocked.load(Relaxed) == 0 {
            self.write_blocked.store(self.micros(now()) + 1, Relaxed);
        }
    }

    /// The socket has taken bytes.
    pub(super) fn on_written(&self) {
        if self.write_blocked.load(Relaxed) != 0 {
            self.write_blocked.store(0, Relaxed);
        }
    }

    /// The client may have more of an answer.
    pub(super) fn begin_to_owe(&self) {
        self.answers_owed.fetch_add(1, Relaxed);
        self.on_answer();
    }

    /// All that there is of an answer was taken.
    pub(super) fn end_to_owe(&self) {
        self.answers_owed.fetch_sub(1, Relaxed);
    }

    /// A piece of an answer was taken.
    pub(super) fn on_answer(&self) {
        self.answers_went_on.store(self.micros(now()), Relaxed);
    }

    /// A request's head is complete. Returns the request's number on this connection.
    pub(super) fn begin_request(&self, multiplexed: bool) -> u32 {
        self.requests_running.fetch_add(1, Relaxed);
        if multiplexed {
            self.multiplexed.store(true, Relaxed);
        }
        self.requests_begun.fetch_add(1, Relaxed)
    }

    /// A request's answer is complete or given up.
    pub(super) fn end_request(&self) {
        if self.requests_running.fetch_sub(1, Relaxed) == 1 {
            self.enter(Phase::Idle);
        }
    }

    pub(super) fn has_running_request(&self) -> bool {
        self.requests_running.load(Relaxed) > 0
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
    }

    pub(super) fn mark_slow(&self, request: u32) {
        self.slow_request.store(request.wrapping_add(1), Relaxed);
    }

    pub(super) fn was_slow(&self, request: u32) -> bool {
        self.slow_request.load(Relaxed) == request.wrapping_add(1)
    }

    pub(super) fn keep(&self, socket: TcpStream) {
        *self.leftover.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    pub(super) fn take_leftover(&self) -> Option<TcpStream> {
        self.leftover.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Judges the deadlines: what is overdue, or when to look again.
    pub(super) fn look(&self, limits: &ListenerOptions, at: Instant) -> Result<Instant, Overdue> {
        let mut next = at + limits.shortest_timeout();
        let mut judge = |since_us: u64, timeout: Duration, overdue: Overdue| {
            let deadline = self.born + Duration::from_micros(since_us) + timeout;
            next = next.min(deadline);
            if at >= deadline { Err(overdue) } else { Ok(()) }
        };
        let blocked = self.write_blocked.load(Relaxed);
        if blocked > 0 {
            judge(blocked - 1, limits.write_stall_timeout, Overdue::WriteStall)?;
        }
        if self.answers_owed.load(Relaxed) > 0 {
            judge(self.answers_went_on.load(Relaxed), limits.write_stall_timeout, Overdue::WriteStall)?;
        }
        if !self.has_running_request() {
            let (phase, since_us) = self.phase();
            match phase {
                Phase::Fresh => judge(since_us, limits.first_byte_timeout, Overdue::FirstByte)?,
                Phase::Head => judge(since_us, limits.head_timeout, Overdue::Head)?,
                Phase::Idle => judge(since_us, limits.idle_timeout, Overdue::Idle)?,
            }
        }
        Ok(next)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(self.micros(now()) << 2 | phase as u64, Relaxed);
    }

    fn phase(&self) -> (Phase, u64) {
        let packed = self.phase.load(Relaxed);
        let phase = match packed & 3 {
            0 => Phase::Fresh,
            1 => Phase::Head,
            _ => Phase::Idle,
        };
        (phase, packed >> 2)
    }

    fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.born).as_micros() as u64
    }
}

/// A place under the cap of connections; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Counters>);

impl Seat {
    /// A place, unless all are taken. Only the accept loop takes places, so the check needs no loop.
    pub(super) fn take(counters: &Arc<Counters>, max: usize) -> Option<Self> {
        if counters.open.load(Relaxed) >= max as u64 {
            return None;
        }
        counters.open.fetch_add(1, Relaxed);
        Some(Self(Arc::clone(counters)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let counters = Arc::default();
        Connection::new(Seat::take(&counters, 1).expect("a seat"), None)
    }

    fn limits() -> ListenerOptions {
        ListenerOptions::default()
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_overdue_at_its_first_byte_deadline() {
        let connection = connection();
        pass(9).await;
        assert_eq!(connection.look(&limits(), now()), Ok(now() + Duration::from_secs(1)));
        pass(1).await;
        assert_eq!(connection.look(&limits(), now()), Err(Overdue::FirstByte));
    }

    #[tokio::test(start_paused = true)]
    async fn dribbling_does_not_move_the_deadline_of_a_head() {
        let connection = connection();
        for _ in 0..10 {
            connection.on_read();
            pass(1).await;
        }
        assert_eq!(connection.look(&limits(), now()), Err(Overdue::Head));
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_request_has_no_deadline_of_the_connection() {
        let connection = connection();
        connection.on_read();
        connection.begin_request(false);
        pass(3_600).await;
        assert!(connection.look(&limits(), now()).is_ok());
        connection.end_request();
        pass(74).await;
        assert!(connection.look(&limits(), now()).is_ok());
        pass(1).await;
        assert_eq!(connection.look(&limits(), now()), Err(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn housekeeping_frames_do_not_start_a_head_on_a_multiplexed_connection() {
        let connection = connection();
        connection.begin_request(true);
        connection.end_request();
        connection.on_read();
        pass(30).await;
        assert!(connection.look(&limits(), now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_bytes_is_overdue_even_while_a_request_runs() {
        let connection = connection();
        connection.begin_request(false);
        connection.on_write_blocked();
        pass(59).await;
        assert!(connection.look(&limits(), now()).is_ok());
        connection.on_written();
        connection.on_write_blocked();
        pass(59).await;
        assert!(connection.look(&limits(), now()).is_ok());
        pass(1).await;
        assert_eq!(connection.look(&limits(), now()), Err(Overdue::WriteStall));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_whose_window_is_shut_is_overdue() {
        let connection = connection();
        connection.begin_request(true);
        pass(3_600).await;
        assert!(connection.look(&limits(), now()).is_ok(), "nothing is owed while the answer is made");
        connection.begin_to_owe();
        pass(59).await;
        connection.on_answer();
        pass(59).await;
        assert!(connection.look(&limits(), now()).is_ok());
        pass(1).await;
        assert_eq!(connection.look(&limits(), now()), Err(Overdue::WriteStall));
        connection.end_to_owe();
        assert!(connection.look(&limits(), now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_look_comes_before_any_deadline_that_can_begin_meanwhile() {
        let connection = connection();
        connection.begin_request(false);
        let next = connection.look(&limits(), now()).expect("nothing overdue");
        assert_eq!(next, now() + Duration::from_secs(10));
    }

    #[test]
    fn a_seat_is_given_back() {
        let counters = Arc::default();
        let seat = Seat::take(&counters, 1).expect("the first");
        assert!(Seat::take(&counters, 1).is_none());
        drop(seat);
        assert!(Seat::take(&counters, 1).is_some());
    }
}
