//! A bulkhead that finds its own limit.

use std::{sync::Arc, time::Duration};

use crate::{
    bulkhead::{gate::BulkheadHandle, layer::Bulkhead, vegas::Vegas},
    class::{Class, Classify},
    cx::Cx,
    fail::{Fail, Why},
    inspect::Inspection,
    label::Label,
    site::{Env, Site},
    stack::Layer,
    step::Step,
    sync::{Mutex, lock},
    trail::Decision,
};

/// An adaptive concurrency layer: as many calls at once as the service takes without queueing them.
///
/// ```
/// use longhaul_resilience::Adaptive;
/// let adaptive = Adaptive::starting_at(20).between(4, 200);
/// # let _ = adaptive;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is part of a stack"]
pub struct Adaptive {
    initial: u32,
    min: u32,
    max: u32,
    bulkhead: Bulkhead,
}

impl Default for Adaptive {
    /// Starts at 20 calls, between 1 and 200.
    fn default() -> Self {
        Self::starting_at(20)
    }
}

impl Adaptive {
    /// Starts at `initial` calls, between 1 and 200.
    pub fn starting_at(initial: u32) -> Self {
        Self { initial, min: 1, max: 200, bulkhead: Bulkhead::new(initial) }
    }

    /// Never below `min` nor above `max`.
    pub fn between(self, min: u32, max: u32) -> Self {
        Self { min, max, ..self }
    }

    /// See [`Bulkhead::queue`].
    pub fn queue(self, max_queue: usize) -> Self {
        Self { bulkhead: self.bulkhead.queue(max_queue), ..self }
    }

    /// See [`Bulkhead::max_wait`].
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self { bulkhead: self.bulkhead.max_wait(max_wait), ..self }
    }
}

/// What an adaptive layer knows, shared by its clones.
#[derive(Clone, Debug)]
pub struct AdaptiveHandle {
    gate: BulkheadHandle,
    vegas: Arc<Mutex<Vegas>>,
}

impl AdaptiveHandle {
    /// The limit now.
    pub fn limit(&self) -> u32 {
        self.gate.limit()
    }

    fn sample(&self, took: Duration, lacked_capacity: bool) -> Option<u32> {
        let in_use = self.gate.in_use();
        let mut vegas = lock(&self.vegas);
        vegas.sample(took, lacked_capacity, in_use).then(|| vegas.limit())
    }
}

impl<S, C> Layer<S, C> for Adaptive {
    type Step = AdaptiveStep<S, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        let vegas = Vegas::new(self.initial, self.min, self.max);
        let gate = self.bulkhead.handle();
        gate.set_limit(vegas.limit());
        let adaptive = AdaptiveHandle { gate, vegas: Arc::new(Mutex::new(vegas)) };
        AdaptiveStep { inner, bulkhead: self.bulkhead, adaptive, site: Site::new(env, Label::ADAPTIVE) }
    }
}

/// A step within an adaptive limit.
pub struct AdaptiveStep<S, C> {
    inner: S,
    bulkhead: Bulkhead,
    adaptive: AdaptiveHandle,
    site: Site<C>,
}

impl<I, S, E, C> Step<I> for AdaptiveStep<S, C>
where
    I: Send,
    S: Step<I, Err = Fail<E>>,
    E: Send,
    C: Classify<S::Out, E>,
{
    type Out = S::Out;
    type Err = Fail<E>;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, Fail<E>> {
        let started = cx.now();
        let place = self.bulkhead.enter(cx, &self.site, started).await?;
        let began = cx.now();
        let result = self.inner.call(cx, input).await;
        let took = cx.now().since(began);
        let changed = match (self.site.class(cx, &result), &result) {
            (_, Err(fail)) if matches!(fail.why(), Why::Timeout { .. }) => self.adaptive.sample(took, true),
            (Class::Transient, Err(fail)) if fail.why() == Why::Deadline => self.adaptive.sample(took, true),
            (_, Err(fail)) if fail.had_its_time() => self.adaptive.sample(took, true),
            (Class::Throttled(_), _) => self.adaptive.sample(took, true),
            (Class::Ok, _) => self.adaptive.sample(took, false),
            // How long an error takes says nothing about how long the work takes.
            (Class::Transient | Class::Permanent | Class::Ignore, _) => None,
        };
        drop(place);
        if let Some(limit) = changed.filter(|limit| *limit != self.adaptive.limit()) {
            self.adaptive.gate.set_limit(limit);
            self.site.note(cx, Decision::AdaptiveLimit, u64::from(limit));
        }
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
