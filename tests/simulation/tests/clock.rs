//! Virtual time: it stands still while anything can run, and then jumps to whoever wakes next.
//!
//! Two things are kept apart, as a machine does it: how much time has truly passed, by which sleepers wake, and what
//! the clock on the wall says, which is set forward or back while no process runs. A wall clock never goes back under a
//! running process: that is [`Clock`]'s promise.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use longhaul_core::{Clock, Span, Timestamp};

/// The first second of 2026.
const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// The one clock of a simulation. Clones show the same time.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedClock(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    wall: Timestamp,
    passed: Span,
    tickets: u64,
    /// By when they wake and, among those of one moment, by when they lay down.
    sleepers: BTreeMap<(Span, u64), Waker>,
}

impl SimulatedClock {
    pub(crate) fn new() -> Self {
        let inner = Inner { wall: START, passed: Span::ZERO, tickets: 0, sleepers: BTreeMap::new() };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// How much time has truly passed.
    pub(crate) fn passed(&self) -> Span {
        self.lock().passed
    }

    /// Moves on to the next sleeper, though not beyond `most`.
    pub(crate) fn advance(&self, most: Span) {
        let next = self.lock().sleepers.keys().next().map_or(most, |(until, _)| *until);
        self.move_to(next.min(most));
    }

    /// Lets time pass in which nobody runs, as when the machine is suspended.
    pub(crate) fn suspend(&self, span: Span) {
        let to = plus(self.passed(), span);
        self.move_to(to);
    }

    fn move_to(&self, to: Span) {
        let due: Vec<Waker> = {
            let mut inner = self.lock();
            let by = Span::from_micros(to.as_micros().saturating_sub(inner.passed.as_micros()));
            inner.wall = inner.wall + by;
            inner.passed = plus(inner.passed, by);
            let after = plus(inner.passed, Span::from_micros(1));
            let later = inner.sleepers.split_off(&(after, 0));
            std::mem::replace(&mut inner.sleepers, later).into_values().collect()
        };
        due.into_iter().for_each(Waker::wake);
    }

    /// Corrects the clock on the wall. Only while no process runs.
    pub(crate) fn set_wall(&self, change: impl FnOnce(Timestamp) -> Timestamp) {
        let mut inner = self.lock();
        inner.wall = change(inner.wall);
    }
}

fn plus(a: Span, b: Span) -> Span {
    Span::from_micros(a.as_micros().saturating_add(b.as_micros()))
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.lock().wall
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut inner = self.lock();
        inner.tickets += 1;
        let until = plus(inner.passed, at.since(inner.wall));
        Box::pin(Sleep { clock: self, place: (until, inner.tickets) })
    }
}

struct Sleep<'a> {
    clock: &'a SimulatedClock,
    place: (Span, u64),
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.clock.lock();
        if inner.passed >= self.place.0 {
            return Poll::Ready(());
        }
        inner.sleepers.insert(self.place, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.place);
    }
}
