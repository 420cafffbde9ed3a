//! Time that only a test moves.
//!
//! [`ManualClock`] stands still until it is told to advance, and wakes in order whoever sleeps on it. Together with
//! [`crate::Ids::seeded`] a run depends on nothing but its seed. Behind the feature `testing`.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{Clock, Span, Timestamp};

/// A clock that stands still until a test moves it. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    now: Timestamp,
    sleepers: Vec<(Timestamp, Waker)>,
}

impl Default for ManualClock {
    /// At the first second of 2026.
    fn default() -> Self {
        Self::at(Timestamp::from_micros(1_767_225_600_000_000))
    }
}

impl ManualClock {
    /// Stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Inner { now, sleepers: Vec::new() })))
    }

    /// Moves on by `span` and wakes whoever slept until then or less.
    pub fn advance(&self, span: Span) {
        let at = self.lock().now + span;
        self.set(at);
    }

    /// Moves to `at`, which may be back: that is what a machine's clock does when it is corrected at a restart.
    pub fn set(&self, at: Timestamp) {
        let mut inner = self.lock();
        inner.now = at;
        let (mut due, later): (Vec<_>, Vec<_>) = inner.sleepers.drain(..).partition(|(until, _)| *until <= at);
        inner.sleepers = later;
        drop(inner);
        due.sort_by_key(|(until, _)| *until);
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// When the next sleeper wakes: where a test that has run out of work can move to.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.lock().sleepers.iter().map(|(until, _)| *until).min()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(Sleep { clock: self, until: at })
    }
}

struct Sleep<'a> {
    clock: &'a ManualClock,
    until: Timestamp,
}

impl Sleep<'_> {
    fn is_own(&self, (until, waker): &(Timestamp, Waker), cx: &Context<'_>) -> bool {
        *until == self.until && waker.will_wake(cx.waker())
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.clock.lock();
        if inner.now >= self.until {
            return Poll::Ready(());
        }
        if !inner.sleepers.iter().any(|sleeper| self.is_own(sleeper, cx)) {
            inner.sleepers.push((self.until, cx.waker().clone()));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let clock = ManualClock::default();
        let mut sleep = clock.sleep(Span::from_secs(5));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        clock.advance(Span::from_secs(4));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert_eq!(clock.next_wake(), Some(clock.now() + Span::from_secs(1)));
        clock.advance(Span::from_secs(1));
        assert!(sleep.as_mut().poll(&mut cx).is_ready());
        assert_eq!(clock.next_wake(), None);
    }
}
