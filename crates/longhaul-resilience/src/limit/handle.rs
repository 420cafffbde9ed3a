//! The shell around the decisions: the lock, the wakers, the timer of whoever waits.
//!
//! One lock guards queue and wakers alike, so what they say always agrees. Wakers are taken out under it and woken after it.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    clock::{Sleep, Tick},
    cx::Cx,
    limit::queue::{Answer, Cost, Place, Queue, Rates, Stamp},
    sync::{Mutex, lock},
};

/// A rate limit: shared by its clones, by several stacks if wanted.
#[derive(Clone)]
pub struct LimitHandle {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    queue: Queue,
    wakers: BTreeMap<u64, Waker>,
}

impl Shared {
    #[cold]
    fn take_wakers(&mut self) -> Vec<Waker> {
        let Self { queue, wakers } = self;
        let hurried = queue.first_to_hurry();
        queue.called().chain(hurried).filter_map(|id| wakers.remove(&id)).collect()
    }
}

impl LimitHandle {
    pub(super) fn new(rates: Rates) -> Self {
        let shared = Shared { queue: Queue::new(rates), wakers: BTreeMap::new() };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Changes the requests per minute, and keeps what was used so far. `None` is without limit.
    pub fn set_rpm(&self, rpm: Option<u64>) {
        self.reload(|rates| rates.requests = rpm.map(super::layer::rate));
    }

    /// Changes the tokens per minute, and keeps what was used so far. `None` is without limit.
    pub fn set_tpm(&self, tpm: Option<u64>) {
        self.reload(|rates| rates.tokens = tpm.map(super::layer::rate));
    }

    /// Changes how long a caller waits for its turn before it is turned away.
    pub fn set_max_wait(&self, max_wait: Duration) {
        self.reload(|rates| rates.max_wait = max_wait);
    }

    pub(super) fn reload(&self, change: impl FnOnce(&mut Rates)) {
        let wakers = {
            let mut shared = lock(&self.shared);
            let mut rates = shared.queue.rates();
            change(&mut rates);
            shared.queue.reload(rates);
            // Everyone works out their turn anew.
            std::mem::take(&mut shared.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// Lets nobody go before `until`: what a service says by a remaining count of zero and a time of reset.
    pub fn hold_until(&self, until: Tick) {
        lock(&self.shared).queue.hold_until(until);
    }

    /// Forgets a [hold](Self::hold_until): who waits for its end goes as the rates allow.
    pub fn lift_hold(&self) {
        let wakers = {
            let mut shared = lock(&self.shared);
            shared.queue.lift_hold();
            // Everyone works out their turn anew.
            std::mem::take(&mut shared.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// How many callers wait.
    pub fn waiting(&self) -> usize {
        lock(&self.shared).queue.waiting()
    }

    pub(super) fn rates(&self) -> Rates {
        lock(&self.shared).queue.rates()
    }

    #[inline(always)]
    pub(super) fn arrive(&self, cx: &Cx<'_>, cost: Cost) -> Answer {
        let (now, deadline) = (cx.now(), cx.deadline_tick());
        self.change(|queue| queue.arrive(cost, now, deadline))
    }

    #[inline]
    pub(super) fn reservation<'a>(&'a self, cx: &'a Cx<'_>, cost: Cost, stamp: Stamp) -> Reservation<'a> {
        Reservation { limit: self, cx, begun: cx.begun(), cost, stamp }
    }

    pub(super) fn turn(&self, cost: Cost, place: Place, now: Tick) -> Turn<'_> {
        Turn { limit: self, cost, place, timer: None, gone: false, last: now }
    }

    /// Changes the queue and wakes those who have been called by that, and whose turn now comes earlier.
    #[inline(always)]
    fn change<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let (result, woken) = {
            let mut shared = lock(&self.shared);
            let result = change(&mut shared.queue);
            (result, if shared.queue.is_idle() { Vec::new() } else { shared.take_wakers() })
        };
        woken.into_iter().for_each(Waker::wake);
        result
    }
}

impl fmt::Debug for LimitHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitHandle").field("rates", &self.rates()).field("waiting", &self.waiting()).finish()
    }
}

/// A place in the queue, given up when dropped.
pub(super) struct Turn<'a> {
    limit: &'a LimitHandle,
    cost: Cost,
    place: Place,
    timer: Option<Sleep>,
    gone: bool,
    last: Tick,
}

impl<'a> Turn<'a> {
    /// Waits until it is our turn. `Err` with the time after which there will be room, if that is too late.
    pub(super) async fn come(mut self, cx: &'a Cx<'_>) -> Result<Reservation<'a>, Duration> {
        let stamp = std::future::poll_fn(|task| Pin::new(&mut self).poll_turn(cx, task)).await?;
        Ok(self.limit.reservation(cx, self.cost, stamp))
    }

    fn poll_turn(mut self: Pin<&mut Self>, cx: &Cx<'_>, task: &mut Context<'_>) -> Poll<Result<Stamp, Duration>> {
        loop {
            let now = cx.renew();
            self.last = now;
            let id = self.place.id;
            lock(&self.limit.shared).wakers.insert(id, task.waker().clone());
            match self.limit.change(|queue| queue.ask(id, now)) {
                Ok(stamp) => {
                    self.gone = true;
                    lock(&self.limit.shared).wakers.remove(&id);
                    return Poll::Ready(Ok(stamp));
                }
                Err(at) if at > self.place.latest => return Poll::Ready(Err(at.since(now))),
                Err(at) => {
                    if self.timer.is_none() || at != self.place.at {
                        (self.place.at, self.timer) = (at, Some(cx.timer(at)));
                    }
                }
            }
            match self.timer.as_mut().map(|timer| timer.as_mut().poll(task)) {
                Some(Poll::Ready(())) => self.timer = None,
                _ => return Poll::Pending,
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.gone {
            let (id, cost, now) = (self.place.id, self.cost, self.last);
            let waker = lock(&self.limit.shared).wakers.remove(&id);
            drop(waker);
            self.limit.change(|queue| queue.leave(id, cost, now));
        }
    }
}

/// What a call holds of the limit. Dropped before it is settled it is given back whole, unless the innermost step has
/// begun meanwhile: the service may have been asked, and then has counted the call, whether or not somebody waits for
/// the answer.
pub(super) struct Reservation<'a> {
    limit: &'a LimitHandle,
    cx: &'a Cx<'a>,
    /// How many innermost steps the call had begun before.
    begun: u32,
    cost: Cost,
    stamp: Stamp,
}

impl Reservation<'_> {
    /// The call was made and used what was estimated.
    #[inline]
    pub(super) fn keep(self) {
        // Holds nothing but what it would give back.
        std::mem::forget(self);
    }

    /// The call was made and used this many tokens.
    pub(super) fn used(self, tokens: u64) {
        let (limit, estimated, stamp) = (self.limit, self.cost.tokens, self.stamp);
        self.keep();
        if tokens != estimated {
            limit.change(|queue| queue.reconcile(estimated, tokens, stamp));
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.cx.begun() == self.begun {
            let (cost, stamp) = (self.cost, self.stamp);
            self.limit.change(|queue| queue.give_back(cost, stamp));
        }
    }
}
