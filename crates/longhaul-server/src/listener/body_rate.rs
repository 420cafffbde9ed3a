//! A floor under the speed of request bodies, so that a client cannot hold a handler by sending a byte now and then.
//!
//! Only time in which a handler waits for the client counts: a handler that is slow itself never condemns the client.
//! A body that arrives with its head is passed through without a clock or a timer; both come with the first wait.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    connection::{Connection, now},
    options::BodyFloor,
};

/// The error of a body whose client was too slow; handlers answer it with 408.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request body arrived at less than {min_bytes_per_s} bytes per second over {window_ms} ms")]
pub struct BodyTooSlow {
    /// The floor, bytes a second.
    pub min_bytes_per_s: u32,
    /// The window over which it is measured.
    pub window_ms: u64,
}

/// The window is judged in this many parts, so that any window is caught at most one part late.
const SLOTS: usize = 6;

/// Bytes per slot of waiting time over one sliding window. No clock: callers say how long they waited.
#[derive(Debug)]
pub(super) struct RateMeter {
    floor: BodyFloor,
    received: [u64; SLOTS],
    slot: usize,
    /// Full windows are judged only; this counts the slots up to the first full one.
    slots_begun: usize,
    waited_in_slot: Duration,
}

impl RateMeter {
    pub(super) fn new(floor: BodyFloor) -> Self {
        Self { floor, received: [0; SLOTS], slot: 0, slots_begun: 1, waited_in_slot: Duration::ZERO }
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.received[self.slot] = self.received[self.slot].saturating_add(bytes as u64);
    }

    /// Waiting time until the next judgement.
    pub(super) fn until_judgement(&self) -> Duration {
        self.slot_length().saturating_sub(self.waited_in_slot)
    }

    /// Adds time spent waiting; the error says that a whole window lies below the floor.
    pub(super) fn waited(&mut self, wait: Duration) -> Result<(), BodyTooSlow> {
        self.waited_in_slot += wait;
        while self.waited_in_slot >= self.slot_length() {
            self.waited_in_slot -= self.slot_length();
            if self.slots_begun >= SLOTS && self.received.iter().sum::<u64>() < self.min_bytes_per_window() {
                return Err(self.too_slow());
            }
            self.slot = (self.slot + 1) % SLOTS;
            self.received[self.slot] = 0;
            self.slots_begun = (self.slots_begun + 1).min(SLOTS);
        }
        Ok(())
    }

    fn slot_length(&self) -> Duration {
        (self.floor.window / SLOTS as u32).max(Duration::from_millis(1))
    }

    fn min_bytes_per_window(&self) -> u64 {
        u64::from(self.floor.min_bytes_per_s) * self.floor.window.as_millis() as u64 / 1000
    }

    fn too_slow(&self) -> BodyTooSlow {
        BodyTooSlow { min_bytes_per_s: self.floor.min_bytes_per_s, window_ms: self.floor.window.as_millis() as u64 }
    }
}

pin_project! {
    /// A request body under the floor. It marks its connection when the floor is broken, so that the answer is a 408
    /// whatever the handler makes of the error.
    pub(super) struct RatedBody<B> {
        #[pin]
        body: B,
        #[pin]
        timer: Option<Sleep>,
        meter: RateMeter,
        waiting_since: Option<Instant>,
        failed: bool,
        connection: Arc<Connection>,
        request: u32,
    }
}

impl<B> RatedBody<B> {
    pub(super) fn new(body: B, floor: BodyFloor, connection: Arc<Connection>, request: u32) -> Self {
        let meter = RateMeter::new(floor);
        Self { body, timer: None, meter, waiting_since: None, failed: false, connection, request }
    }
}

impl<B> Body for RatedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let mut this = self.project();
        if *this.failed {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            if let Some(Ok(frame)) = &frame {
                this.meter.received(frame.data_ref().map_or(0, Bytes::len));
            }
            // A wait that bytes have ended is judged like one that the timer ends: a client that sends a byte just
            // before every judgement would escape them all otherwise.
            if let Some(since) = this.waiting_since.take()
                && let Err(too_slow) = this.meter.waited(now().saturating_duration_since(since))
                && frame.is_some()
            {
                *this.failed = true;
                this.connection.mark_slow(*this.request);
                return Poll::Ready(Some(Err(too_slow.into())));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let mut since = *this.waiting_since.get_or_insert_with(now);
        loop {
            if this.timer.is_none() {
                this.timer.set(Some(sleep_until(since + this.meter.until_judgement())));
            }
            let Some(timer) = this.timer.as_mut().as_pin_mut() else { return Poll::Pending };
            ready!(timer.poll(cx));
            let instant = now();
            let verdict = this.meter.waited(instant.saturating_duration_since(since));
            since = instant;
            *this.waiting_since = Some(since);
            this.timer.set(None);
            if let Err(too_slow) = verdict {
                *this.failed = true;
                this.connection.mark_slow(*this.request);
                return Poll::Ready(Some(Err(too_slow.into())));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meter() -> RateMeter {
        RateMeter::new(BodyFloor { min_bytes_per_s: 1024, window: Duration::from_secs(30) })
    }

    /// Seconds until a client that sends `bytes` each second is given up, if within ten minutes.
    fn given_up_after(bytes: usize) -> Option<u64> {
        let mut meter = meter();
        (1..=600).find(|_| {
            meter.received(bytes);
            meter.waited(Duration::from_secs(1)).is_err()
        })
    }

    #[test]
    fn a_client_just_below_the_floor_is_given_up_after_one_window() {
        assert_eq!(given_up_after(0), Some(30));
        assert_eq!(given_up_after(1023), Some(30));
    }

    #[test]
    fn a_client_at_the_floor_is_served_for_ever() {
        assert_eq!(given_up_after(1024), None);
    }

    #[test]
    fn an_early_burst_buys_at_most_one_window() {
        let mut meter = meter();
        meter.received(10_000_000);
        let end = (1..=600).find(|_| meter.waited(Duration::from_secs(1)).is_err());
        assert_eq!(end, Some(35));
    }

    #[test]
    fn a_client_that_stops_is_caught_at_most_one_slot_late() {
        let mut meter = meter();
        for _ in 0..42 {
            meter.received(2048);
            meter.waited(Duration::from_secs(1)).expect("fast enough");
        }
        let end = (1..=600).find(|_| meter.waited(Duration::from_secs(1)).is_err()).expect("given up");
        assert!((13..=35).contains(&end), "{end}");
    }

    /// What a handler gets from a client that sends this many bytes at the end of every period, and when it ends.
    async fn read_from(bytes: usize, period: Duration) -> (usize, bool, Duration) {
        use futures::StreamExt as _;
        use http_body_util::{BodyExt as _, StreamBody};

        let counters = Arc::default();
        let seat = super::super::connection::Seat::take(&counters, 1).expect("a seat");
        let connection = Arc::new(Connection::new(seat, None));
        let pieces = futures::stream::unfold((), move |()| async move {
            tokio::time::sleep(period).await;
            Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b'x'; bytes]))), ()))
        });
        let client = StreamBody::new(Box::pin(pieces.take(120)));
        let mut body = Box::pin(RatedBody::new(client, BodyFloor::default(), Arc::clone(&connection), 7));
        let (begun, mut read) = (now(), 0);
        loop {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(error)) => {
                    assert!(error.is::<BodyTooSlow>() && connection.was_slow(7));
                    return (read, false, now() - begun);
                }
                None => return (read, true, now() - begun),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_just_before_every_judgement_does_not_escape_it() {
        for period_s in [1, 5] {
            let (_, whole, after) = read_from(1, Duration::from_secs(period_s)).await;
            assert!(!whole && after <= Duration::from_secs(35), "{after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_decent_client_is_read_to_the_end() {
        let (read, whole, after) = read_from(5 * 1024, Duration::from_secs(5)).await;
        assert_eq!((read, whole, after.as_secs()), (120 * 5 * 1024, true, 600));
    }

    proptest! {
        #[test]
        fn whoever_keeps_the_floor_in_every_slot_is_never_given_up(extra in proptest::collection::vec(0usize..5000, 1..200)) {
            let mut meter = meter();
            for extra in extra {
                meter.received(5 * 1024 + extra);
                prop_assert!(meter.waited(Duration::from_secs(5)).is_ok());
            }
        }
    }
}
