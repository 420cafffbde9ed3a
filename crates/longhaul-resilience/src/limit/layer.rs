//! The rate limit as a layer.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Tick,
    cx::Cx,
    fail::{Fail, Why},
    inspect::Inspection,
    label::Label,
    limit::{
        handle::{LimitHandle, Reservation},
        queue::{Answer, Cost, Rate, Rates},
    },
    site::{Env, Site, millis},
    stack::Layer,
    step::Step,
    trail::Decision,
};

/// A rate limit layer.
///
/// ```
/// use longhaul_resilience::Limit;
/// use std::time::Duration;
///
/// let limit = Limit::rpm(600)
///     .tpm(90_000, |prompt: &String| prompt.len() as u64 / 4)
///     .actual(|answer: &String| Some(answer.len() as u64 / 4))
///     .max_wait(Duration::from_secs(5));
/// let handle = limit.handle();
/// handle.set_rpm(Some(300));
/// # let _ = limit;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is part of a stack"]
pub struct Limit<E = (), A = ()> {
    handle: LimitHandle,
    /// Settings that follow are then changed in it, for all who share it.
    is_shared: bool,
    estimate: E,
    actual: A,
}

/// How long a caller waits for its turn unless told otherwise.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(10);
/// How many callers wait at once unless told otherwise: each costs about a hundred bytes and a timer.
const DEFAULT_MAX_QUEUE: usize = 10_000;

/// Ten seconds' worth may be saved up and used at once.
pub(super) fn rate(per_minute: u64) -> Rate {
    Rate { per_minute: per_minute.max(1), burst: (per_minute / 6).max(1) }
}

impl Limit {
    /// So many requests per minute, at least one. Ten seconds' worth may go at once after a calm.
    pub fn rpm(requests: u64) -> Self {
        Self::of(Some(rate(requests)))
    }

    /// Only tokens are limited: continue with [`Limit::tpm`].
    pub fn tokens_only() -> Self {
        Self::of(None)
    }

    fn of(requests: Option<Rate>) -> Self {
        let rates = Rates { requests, tokens: None, max_wait: DEFAULT_MAX_WAIT, max_queue: DEFAULT_MAX_QUEUE };
        Self { handle: LimitHandle::new(rates), is_shared: false, estimate: (), actual: () }
    }
}

impl<E, A> Limit<E, A> {
    /// So many tokens per minute as well. `estimate` says from the input how many a call will use.
    pub fn tpm<I, F: Fn(&I) -> u64 + Send + Sync>(self, tokens: u64, estimate: F) -> Limit<By<F>, A> {
        let Self { handle, is_shared, actual, estimate: _ } = self.with(|rates| rates.tokens = Some(rate(tokens)));
        Limit { handle, is_shared, estimate: By(estimate), actual }
    }

    /// Says from the answer how many tokens the call did use; `None` if the answer does not tell.
    pub fn actual<O, F: Fn(&O) -> Option<u64> + Send + Sync>(self, actual: F) -> Limit<E, By<F>> {
        let Self { handle, is_shared, estimate, actual: _ } = self;
        Limit { handle, is_shared, estimate, actual: By(actual) }
    }

    /// How many requests may go at once after a calm.
    pub fn burst(self, requests: u64) -> Self {
        self.with(|rates| {
            if let Some(rate) = &mut rates.requests {
                rate.burst = requests.max(1);
            }
        })
    }

    /// How many tokens may go at once after a calm.
    pub fn token_burst(self, tokens: u64) -> Self {
        self.with(|rates| {
            if let Some(rate) = &mut rates.tokens {
                rate.burst = tokens.max(1);
            }
        })
    }

    /// How long a caller waits for its turn; beyond that it is turned away at once. 10 seconds unless set.
    pub fn max_wait(self, max_wait: Duration) -> Self {
        self.with(|rates| rates.max_wait = max_wait)
    }

    /// How many callers may wait. 10,000 unless set.
    pub fn max_queue(self, max_queue: usize) -> Self {
        self.with(|rates| rates.max_queue = max_queue)
    }

    fn with(self, change: impl FnOnce(&mut Rates)) -> Self {
        if self.is_shared {
            self.handle.reload(change);
            return self;
        }
        let mut rates = self.handle.rates();
        change(&mut rates);
        Self { handle: LimitHandle::new(rates), ..self }
    }

    /// The limit itself, to change or share it. Take it when the settings are complete.
    pub fn handle(&self) -> LimitHandle {
        self.handle.clone()
    }

    /// Shares `handle` with other stacks, and takes its settings. Settings that follow change it for all who share it.
    pub fn shared(self, handle: &LimitHandle) -> Self {
        Self { handle: handle.clone(), is_shared: true, ..self }
    }
}

/// Says how many tokens an input will cost. `()` is no tokens.
pub trait Estimate<I>: Send + Sync {
    /// The tokens.
    fn tokens(&self, input: &I) -> u64;
}

/// Says how many tokens an answer has cost. `()` does not know.
pub trait Actual<O>: Send + Sync {
    /// The tokens, if known.
    fn tokens(&self, out: &O) -> Option<u64>;
}

/// By a function.
#[derive(Clone, Copy, Debug)]
pub struct By<F>(F);

impl<I> Estimate<I> for () {
    fn tokens(&self, _: &I) -> u64 {
        0
    }
}

impl<I, F: Fn(&I) -> u64 + Send + Sync> Estimate<I> for By<F> {
    fn tokens(&self, input: &I) -> u64 {
        (self.0)(input)
    }
}

impl<O> Actual<O> for () {
    fn tokens(&self, _: &O) -> Option<u64> {
        None
    }
}

impl<O, F: Fn(&O) -> Option<u64> + Send + Sync> Actual<O> for By<F> {
    fn tokens(&self, out: &O) -> Option<u64> {
        (self.0)(out)
    }
}

impl<S, C, E, A> Layer<S, C> for Limit<E, A> {
    type Step = LimitStep<S, E, A, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        LimitStep { inner, limit: self, site: Site::new(env, Label::LIMIT) }
    }
}

/// A step within a rate limit.
pub struct LimitStep<S, E, A, C> {
    inner: S,
    limit: Limit<E, A>,
    site: Site<C>,
}

impl<I, S, Err, E, A, C> Step<I> for LimitStep<S, E, A, C>
where
    I: Send,
    S: Step<I, Err = Fail<Err>>,
    Err: Send,
    E: Estimate<I>,
    A: Actual<S::Out>,
    C: Send + Sync,
{
    type Out = S::Out;
    type Err = Fail<Err>;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, Fail<Err>> {
        let started = cx.now();
        let limit = &self.limit.handle;
        let cost = Cost { tokens: self.limit.estimate.tokens(&input) };
        let held = match limit.arrive(cx, cost) {
            Answer::Go(stamp) => limit.reservation(cx, cost, stamp),
            answer => self.line_up(cx, started, cost, answer).await?,
        };
        let result = self.inner.call(cx, input).await;
        settle(held, &result, &self.limit.actual);
        self.site.passed(cx, started, &result);
        result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        // A wait that would end at the deadline is not begun, so what follows it has the deadline's own bound.
        let wait = self.limit.handle.rates().max_wait.min(limit);
        Some(self.inner.longest(limit)?.saturating_add(wait))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, Some(format!("{} waiting", self.limit.handle.waiting())));
        self.inner.inspect(into);
    }
}

impl<S, E, A, C> LimitStep<S, E, A, C> {
    /// Waits for its turn, unless that is too far away.
    async fn line_up<'a, Err>(
        &'a self,
        cx: &'a Cx<'_>,
        started: Tick,
        cost: Cost,
        answer: Answer,
    ) -> Result<Reservation<'a>, Fail<Err>>
    where
        Self: Sync,
        C: Sync,
    {
        let limit = &self.limit.handle;
        let held = match answer {
            Answer::Go(stamp) => Ok(limit.reservation(cx, cost, stamp)),
            Answer::TurnedAway { retry_after } => Err(retry_after),
            Answer::Wait(place) => {
                let held = limit.turn(cost, place, started).come(cx).await;
                self.site.note(cx, Decision::LimitWaited, millis(cx.now().since(started)));
                held
            }
        };
        held.map_err(|retry_after| {
            let rejected = (Decision::LimitRejected, millis(retry_after));
            self.site.turn_away(cx, started, rejected, Why::Limited { retry_after })
        })
    }
}

#[inline]
fn settle<O, E, A: Actual<O>>(held: Reservation<'_>, result: &Result<O, Fail<E>>, actual: &A) {
    match result {
        Ok(out) => match actual.tokens(out) {
            Some(tokens) => held.used(tokens),
            None => held.keep(),
        },
        // The service was asked, and will have counted the call.
        Err(fail) if matches!(fail.why(), Why::Inner | Why::Timeout { .. }) => held.keep(),
        // Turned away further in. A retry there may have asked before it gave up: the reservation knows.
        Err(_) => drop(held),
    }
}
