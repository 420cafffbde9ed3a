//! A clock that moves only when it is told: for tests that need no runtime at all.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::clock::{Clock, Sleep, Tick};

/// A clock for tests. Clones share one time.
///
/// ```
/// use longhaul_resilience::{Clock, VirtualClock};
/// use std::time::Duration;
/// let clock = VirtualClock::new();
/// let start = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(start), Duration::from_secs(60));
/// ```
#[derive(Clone, Default)]
pub struct VirtualClock {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    now: Tick,
    unix_at_zero: Duration,
    sleepers: BTreeMap<(Tick, u64), Waker>,
    next_sleeper: u64,
}

impl Default for Shared {
    fn default() -> Self {
        // Any fixed date will do; this one is 2026-01-01.
        Self {
            now: Tick::ZERO,
            unix_at_zero: Duration::from_secs(1_767_225_600),
            sleepers: BTreeMap::new(),
            next_sleeper: 0,
        }
    }
}

impl VirtualClock {
    /// A clock at the start of its scale, on the first of January 2026.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves time forward and wakes every sleeper whose moment has come.
    pub fn advance(&self, by: Duration) {
        let to = self.lock().now.after(by);
        self.advance_to(to);
    }

    /// Moves time forward to `to`; never back.
    pub fn advance_to(&self, to: Tick) {
        let due = {
            let mut shared = self.lock();
            shared.now = shared.now.max(to);
            let later = shared.sleepers.split_off(&(Tick::from_nanos(to.as_nanos().saturating_add(1)), 0));
            std::mem::replace(&mut shared.sleepers, later)
        };
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// When the next sleeper wants to be woken.
    pub fn next_wake(&self) -> Option<Tick> {
        self.lock().sleepers.keys().next().map(|(at, _)| *at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Tick {
        self.lock().now
    }

    fn unix_time(&self) -> Duration {
        let shared = self.lock();
        shared.unix_at_zero + shared.now.since(Tick::ZERO)
    }

    fn sleep_until(&self, at: Tick) -> Sleep {
        let id = {
            let mut shared = self.lock();
            shared.next_sleeper += 1;
            shared.next_sleeper
        };
        Box::pin(VirtualSleep { clock: self.clone(), at, id })
    }
}

struct VirtualSleep {
    clock: VirtualClock,
    at: Tick,
    id: u64,
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.clock.lock();
        if shared.now >= self.at {
            return Poll::Ready(());
        }
        shared.sleepers.insert((self.at, self.id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        let waker = self.clock.lock().sleepers.remove(&(self.at, self.id));
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_ready_at_its_tick_and_not_before() {
        let clock = VirtualClock::new();
        let mut sleep = clock.sleep_until(Tick::from_nanos(100));
        let mut task = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut task).is_pending());
        assert_eq!(clock.next_wake(), Some(Tick::from_nanos(100)));
        clock.advance_to(Tick::from_nanos(99));
        assert!(sleep.as_mut().poll(&mut task).is_pending());
        clock.advance_to(Tick::from_nanos(100));
        assert!(sleep.as_mut().poll(&mut task).is_ready());
        assert_eq!(clock.next_wake(), None);
    }

    #[test]
    fn a_dropped_sleeper_is_forgotten() {
        let clock = VirtualClock::new();
        let mut sleep = clock.sleep_until(Tick::from_nanos(100));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(sleep);
        assert_eq!(clock.next_wake(), None);
    }
}
