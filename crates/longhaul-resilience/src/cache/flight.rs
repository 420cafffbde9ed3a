//! One call for many callers who ask the same at the same time.
//!
//! A flight holds the future of the call. Whoever waits and is polled drives it; nobody owns it. So a waiter who leaves
//! takes nothing along, whoever began it: the others go on with the same call. When the last one leaves, the future is
//! dropped, and with it the call.
//!
//! Wake-ups go to *all* who wait. Waking only one would be cheaper and wrong: that one may be held without being polled
//! (a branch of a `select!` that another branch blocks), and the rest would wait for ever. For the same reason whoever
//! comes to drive while another just does so is woken when that one is done: the wake-up that brought it may have been
//! the only one, and the other may never be polled again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    step::BoxFuture,
    sync::{Mutex, lock},
};

/// A call in the air, with result `T`.
pub(super) struct Flight<T> {
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    stage: Stage<T>,
    /// Everyone who has not left, by number; without a waker before their first poll.
    waiters: BTreeMap<u64, Option<Waker>>,
    next_waiter: u64,
    /// Those who came to drive and found another at it.
    missed: Vec<u64>,
}

enum Stage<T> {
    /// The future rests here between polls. `None` while someone polls it, or before it is put in.
    Flying(Option<BoxFuture<'static, T>>),
    Landed(T),
    /// The future panicked: there will be no result.
    Lost,
}

/// How a flight ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End<T> {
    Landed(T),
    Lost,
}

/// Weak, because the future that holds it lies in the state itself.
struct WakeAll<T> {
    state: Weak<Mutex<State<T>>>,
}

impl<T: Send + 'static> Wake for WakeAll<T> {
    fn wake(self: Arc<Self>) {
        if let Some(state) = self.state.upgrade() {
            wake_all(&state);
        }
    }
}

fn wake_all<T>(state: &Mutex<State<T>>) {
    let wakers: Vec<Waker> = lock(state).waiters.values().flatten().cloned().collect();
    for waker in wakers {
        waker.wake();
    }
}

impl<T> Clone for Flight<T> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<T> Flight<T> {
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Someone begins to wait. The number is theirs until they [`leave`](Self::leave).
    pub(super) fn join(&self) -> u64 {
        let mut state = lock(&self.state);
        state.next_waiter += 1;
        let id = state.next_waiter;
        state.waiters.insert(id, None);
        id
    }

    /// Someone waits no longer. The last to leave a call that is not done takes the call along, to drop it: it holds
    /// wakers, and they must not keep each other alive.
    pub(super) fn leave(&self, id: u64) -> Left<T> {
        let mut state = lock(&self.state);
        let waker = state.waiters.remove(&id);
        let deserted = state.waiters.is_empty() && matches!(state.stage, Stage::Flying(_));
        let abandoned = deserted.then(|| std::mem::replace(&mut state.stage, Stage::Lost));
        let over = !matches!(state.stage, Stage::Flying(_));
        Left { over, _waker: waker.flatten(), _abandoned: abandoned }
    }
}

/// What someone takes along who leaves; to be dropped with no lock held.
pub(super) struct Left<T> {
    /// Whether the flight is over: nobody may join it any more.
    pub(super) over: bool,
    _waker: Option<Waker>,
    _abandoned: Option<Stage<T>>,
}

impl<T: Clone + Send + 'static> Flight<T> {
    /// A flight whose future follows with [`begin`](Self::begin).
    pub(super) fn new() -> Self {
        let state = State { stage: Stage::Flying(None), waiters: BTreeMap::new(), next_waiter: 0, missed: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Puts the future in, and wakes those who came before it.
    pub(super) fn begin(&self, future: BoxFuture<'static, T>) {
        lock(&self.state).stage = Stage::Flying(Some(future));
        wake_all(&self.state);
    }

    /// No future will follow.
    pub(super) fn lose(&self) {
        lock(&self.state).stage = Stage::Lost;
        wake_all(&self.state);
    }

    /// Waits as number `id`, and moves the call on if nobody else is just doing so.
    pub(super) fn poll(&self, id: u64, task: &mut Context<'_>) -> Poll<End<T>> {
        let mut future = {
            let state = &mut *lock(&self.state);
            // Registered before the future is polled: a wake-up during the poll then reaches us too.
            let waker = state.waiters.entry(id).or_default();
            match waker {
                Some(waker) => waker.clone_from(task.waker()),
                None => *waker = Some(task.waker().clone()),
            }
            match &mut state.stage {
                Stage::Landed(result) => return Poll::Ready(End::Landed(result.clone())),
                Stage::Lost => return Poll::Ready(End::Lost),
                Stage::Flying(future) => match future.take() {
                    Some(future) => future,
                    None => {
                        if !state.missed.contains(&id) {
                            state.missed.push(id);
                        }
                        return Poll::Pending;
                    }
                },
            }
        };
        let guard = LostOnPanic { flight: self };
        let waker = Waker::from(Arc::new(WakeAll { state: Arc::downgrade(&self.state) }));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let result = match polled {
            Poll::Pending => {
                std::mem::forget(guard);
                self.put_back(future);
                return Poll::Pending;
            }
            Poll::Ready(result) => result,
        };
        drop(future);
        let shared = result.clone();
        lock(&self.state).stage = Stage::Landed(shared);
        // The clone was the last of anybody's code that may panic.
        std::mem::forget(guard);
        wake_all(&self.state);
        Poll::Ready(End::Landed(result))
    }

    /// The future has more to do, by whoever is polled next.
    fn put_back(&self, future: BoxFuture<'static, T>) {
        let missed: Vec<Waker> = {
            let state = &mut *lock(&self.state);
            state.stage = Stage::Flying(Some(future));
            state.missed.drain(..).filter_map(|id| state.waiters.get(&id)?.clone()).collect()
        };
        missed.into_iter().for_each(Waker::wake);
    }
}

struct LostOnPanic<'a, T: Clone + Send + 'static> {
    flight: &'a Flight<T>,
}

impl<T: Clone + Send + 'static> Drop for LostOnPanic<'_, T> {
    fn drop(&mut self) {
        self.flight.lose();
    }
}

/// What the models need of a flight, in words that do not leave this module otherwise.
#[cfg(all(test, longhaul_loom))]
#[derive(Clone)]
pub(crate) struct FlightForModels(Flight<u32>);

#[cfg(all(test, longhaul_loom))]
pub(crate) fn flight_for_models(result: u32) -> FlightForModels {
    let flight = Flight::new();
    let mut first = true;
    // Pending once, with a wake-up of its own, so that both drive it in turn.
    flight.begin(Box::pin(std::future::poll_fn(move |task| {
        if std::mem::take(&mut first) {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(result)
    })));
    FlightForModels(flight)
}

#[cfg(all(test, longhaul_loom))]
impl FlightForModels {
    pub(crate) fn join(&self) -> u64 {
        self.0.join()
    }

    pub(crate) async fn wait(self, id: u64) -> Option<u32> {
        let end = std::future::poll_fn(|task| self.0.poll(id, task)).await;
        self.0.leave(id);
        match end {
            End::Landed(result) => Some(result),
            End::Lost => None,
        }
    }

    /// Polls once, and then wants no more.
    pub(crate) fn glance(self, id: u64) {
        let _ = self.0.poll(id, &mut Context::from_waker(Waker::noop()));
        self.0.leave(id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    struct CountWakes(AtomicUsize);
    impl Wake for CountWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counting() -> (Arc<CountWakes>, Waker) {
        let count = Arc::new(CountWakes(AtomicUsize::new(0)));
        (Arc::clone(&count), Waker::from(count))
    }

    /// A future that is ready once `open`, and keeps the last waker it saw.
    fn gate() -> (Arc<AtomicBool>, Arc<Mutex<Option<Waker>>>, BoxFuture<'static, u32>) {
        let (open, waker) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let (is_open, keep) = (Arc::clone(&open), Arc::clone(&waker));
        let future = std::future::poll_fn(move |task| {
            *lock(&keep) = Some(task.waker().clone());
            if is_open.load(Ordering::Relaxed) { Poll::Ready(7) } else { Poll::Pending }
        });
        (open, waker, Box::pin(future))
    }

    #[test]
    fn the_others_go_on_when_the_one_that_drove_leaves() {
        let flight = Flight::new();
        let (first, second) = (flight.join(), flight.join());
        let (open, inner_waker, future) = gate();
        flight.begin(future);
        let (_, waker) = counting();
        assert!(flight.poll(first, &mut Context::from_waker(&waker)).is_pending());
        let (wakes, waker) = counting();
        assert!(flight.poll(second, &mut Context::from_waker(&waker)).is_pending());
        assert!(!flight.leave(first).over, "the second is still there");
        open.store(true, Ordering::Relaxed);
        lock(&inner_waker).take().unwrap().wake();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "the one that is left was woken");
        assert_eq!(flight.poll(second, &mut Context::from_waker(&waker)), Poll::Ready(End::Landed(7)));
    }

    #[test]
    fn one_that_is_held_without_being_polled_blocks_nobody() {
        let flight = Flight::new();
        let (held, polled) = (flight.join(), flight.join());
        let (open, inner_waker, future) = gate();
        flight.begin(future);
        let (held_wakes, held_waker) = counting();
        let (wakes, waker) = counting();
        assert!(flight.poll(polled, &mut Context::from_waker(&waker)).is_pending());
        assert!(flight.poll(held, &mut Context::from_waker(&held_waker)).is_pending());
        open.store(true, Ordering::Relaxed);
        lock(&inner_waker).take().unwrap().wake();
        assert_eq!((held_wakes.0.load(Ordering::Relaxed), wakes.0.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(flight.poll(polled, &mut Context::from_waker(&waker)), Poll::Ready(End::Landed(7)));
    }

    #[test]
    fn one_that_came_while_another_drove_is_woken_when_that_one_stops() {
        let flight = Flight::new();
        let (drives, comes) = (flight.join(), flight.join());
        let (wakes, waker) = counting();
        let (within, woken) = (flight.clone(), waker.clone());
        // The wake-up for both comes in the middle of the first one's poll, and the second is quicker.
        flight.begin(Box::pin(std::future::poll_fn(move |_| {
            assert!(within.poll(comes, &mut Context::from_waker(&woken)).is_pending());
            Poll::<u32>::Pending
        })));
        assert!(flight.poll(drives, &mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(
            wakes.0.load(Ordering::Relaxed),
            1,
            "else it would rely on the first, who may never be polled again"
        );
        flight.leave(drives);
        flight.leave(comes);
    }

    #[test]
    fn the_last_to_leave_takes_the_call_along() {
        let flight = Flight::<u32>::new();
        let (first, second) = (flight.join(), flight.join());
        let (alive, call) = (Arc::new(()), Box::pin(std::future::pending()));
        let held = Arc::clone(&alive);
        flight.begin(Box::pin(async move {
            let _held = held;
            call.await
        }));
        assert!(!flight.leave(first).over);
        assert_eq!(Arc::strong_count(&alive), 2);
        assert!(flight.leave(second).over);
        assert_eq!(Arc::strong_count(&alive), 1, "the call is gone, though the flight is still held");
    }

    #[test]
    fn a_panic_ends_the_flight_for_all() {
        let flight = Flight::<u32>::new();
        let (first, second) = (flight.join(), flight.join());
        flight.begin(Box::pin(async { panic!("on purpose") }));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            flight.poll(first, &mut Context::from_waker(Waker::noop()))
        }));
        assert!(caught.is_err());
        assert_eq!(flight.poll(second, &mut Context::from_waker(Waker::noop())), Poll::Ready(End::Lost));
    }
}
