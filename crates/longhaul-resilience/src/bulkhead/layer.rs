//! The bulkhead as a layer.

use std::{pin::pin, sync::Arc, time::Duration};

use crate::{
    bulkhead::gate::{BulkheadHandle, Came, Place, Turn},
    clock::Tick,
    cut::{Cut, TooLate},
    cx::Cx,
    fail::{Fail, Why},
    inspect::Inspection,
    label::Label,
    site::{Env, Site, millis},
    stack::Layer,
    step::Step,
    trail::Decision,
};

/// A bulkhead layer: so many calls at once.
///
/// ```
/// use longhaul_resilience::Bulkhead;
/// use std::time::Duration;
///
/// let bulkhead = Bulkhead::new(64).queue(256).max_wait(Duration::from_secs(5));
/// let handle = bulkhead.handle();
/// handle.set_limit(32);
/// # let _ = bulkhead;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is part of a stack"]
pub struct Bulkhead {
    pub(super) gate: BulkheadHandle,
    pub(super) max_wait: Duration,
}

/// How many callers wait unless told otherwise.
const DEFAULT_QUEUE: usize = 1_000;
/// How long a caller waits for a place unless told otherwise.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(10);

impl Bulkhead {
    /// At most `limit` calls at once, 1,000 waiting, none longer than 10 seconds.
    pub fn new(limit: u32) -> Self {
        Self { gate: BulkheadHandle::new(limit, DEFAULT_QUEUE), max_wait: DEFAULT_MAX_WAIT }
    }

    /// At most so many callers wait; the next is turned away at once.
    pub fn queue(self, max_queue: usize) -> Self {
        self.gate.set_max_queue(max_queue);
        self
    }

    /// A caller waits no longer than this for a place.
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }

    /// Shares the places of `handle` with other stacks.
    pub fn shared(self, handle: &BulkheadHandle) -> Self {
        Self { gate: handle.clone(), ..self }
    }

    /// The places, to change or share them.
    pub fn handle(&self) -> BulkheadHandle {
        self.gate.clone()
    }

    /// A place, waiting for it if need be.
    #[inline]
    pub(super) async fn enter<C, E>(&self, cx: &Cx<'_>, site: &Site<C>, started: Tick) -> Result<Place<'_>, Fail<E>> {
        let place = match self.gate.come() {
            Came::Inside => Ok(Place { gate: &self.gate }),
            Came::Full => Err(Why::Full),
            Came::Waits(id) => self.wait(cx, site, id).await,
        };
        place.map_err(|why| site.turn_away(cx, started, (Decision::BulkheadRejected, 0), why))
    }

    /// The longest that the wait for a place and a work of `inner` can take.
    pub(super) fn longest(&self, inner: Duration, limit: Duration) -> Duration {
        inner.saturating_add(self.max_wait.min(limit))
    }

    pub(super) fn state(&self) -> String {
        format!("{} of {}", self.gate.in_use(), self.gate.limit())
    }

    async fn wait<C>(&self, cx: &Cx<'_>, site: &Site<C>, id: u64) -> Result<Place<'_>, Why> {
        let from = cx.now();
        let turn = pin!(Turn::new(&self.gate, id).come());
        let until = from.after(self.max_wait).min(cx.deadline_tick());
        match Cut::new(cx, until, turn).await {
            Ok(place) => {
                site.note(cx, Decision::BulkheadWaited, millis(cx.renew().since(from)));
                Ok(place)
            }
            Err(TooLate) if cx.now() >= cx.deadline_tick() => Err(Why::Deadline),
            Err(TooLate) => Err(Why::Full),
        }
    }
}

impl<S, C> Layer<S, C> for Bulkhead {
    type Step = BulkheadStep<S, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        BulkheadStep { inner, bulkhead: self, site: Site::new(env, Label::BULKHEAD) }
    }
}

/// A step within a bulkhead.
pub struct BulkheadStep<S, C> {
    inner: S,
    bulkhead: Bulkhead,
    site: Site<C>,
}

impl<I, S, E, C> Step<I> for BulkheadStep<S, C>
where
    I: Send,
    S: Step<I, Err = Fail<E>>,
    E: Send,
    C: Send + Sync,
{
    type Out = S::Out;
    type Err = Fail<E>;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, Fail<E>> {
        let started = cx.now();
        let _place = self.bulkhead.enter(cx, &self.site, started).await?;
        let result = self.inner.call(cx, input).await;
        self.site.passed(cx, started, &result);
        result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        Some(self.bulkhead.longest(self.inner.longest(limit)?, limit))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, Some(self.bulkhead.state()));
        self.inner.inspect(into);
    }
}
