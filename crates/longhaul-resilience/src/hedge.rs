//! A second call beside a first that is unusually slow; the first answer wins.
//!
//! The delay is fixed, or a quantile of how long calls have taken of late. The extra load is capped by a budget of the
//! same kind as for retries, which may be shared with them. The loser is dropped, which cancels it.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use crate::{
    clock::nanos,
    cut::{Cut, TooLate},
    cx::Cx,
    fail::Fail,
    histogram::Histogram,
    inspect::Inspection,
    label::Label,
    retry::RetryBudget,
    site::{Env, Site, millis},
    stack::Layer,
    step::Step,
    sync::{AtomicU64, Ordering},
    trail::Decision,
};

/// A hedge layer. The input must be `Clone`, and the call one that may happen twice.
///
/// ```
/// use longhaul_resilience::Hedge;
/// use std::time::Duration;
/// let hedge = Hedge::at_quantile(0.95, Duration::from_secs(2)).max_extra(0.1);
/// # let _ = hedge;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is part of a stack"]
pub struct Hedge {
    delay: Duration,
    quantile: Option<f64>,
    budget: RetryBudget,
}

/// Fewer calls than this make no quantile.
const MIN_SAMPLES: u64 = 100;
/// After so many calls the quantile is taken again.
const REFRESH_EVERY: u64 = 64;

impl Hedge {
    /// The second call starts `delay` after the first. At most a tenth more calls.
    pub fn after(delay: Duration) -> Self {
        Self { delay, quantile: None, budget: RetryBudget::new(0.1, 0.0) }
    }

    /// The second call starts when the first has taken longer than the part `quantile` of calls do; until a hundred
    /// calls are known, after `at_first`.
    pub fn at_quantile(quantile: f64, at_first: Duration) -> Self {
        Self { quantile: Some(quantile.clamp(0.5, 0.999)), ..Self::after(at_first) }
    }

    /// At most so many extra calls per call (0 to 1).
    pub fn max_extra(self, ratio: f64) -> Self {
        Self { budget: RetryBudget::new(ratio.clamp(0.0, 1.0), 0.0), ..self }
    }

    /// Takes extra calls out of `budget`, shared with retries or other hedges.
    pub fn budget(self, budget: &RetryBudget) -> Self {
        Self { budget: budget.clone(), ..self }
    }
}

impl<S, C> Layer<S, C> for Hedge {
    type Step = HedgeStep<S, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        let delay = AtomicU64::new(nanos(self.delay));
        HedgeStep {
            inner,
            hedge: self,
            delay,
            calls: AtomicU64::new(0),
            took: Histogram::default(),
            site: Site::new(env, Label::HEDGE),
        }
    }
}

/// A step that is hedged.
pub struct HedgeStep<S, C> {
    inner: S,
    hedge: Hedge,
    delay: AtomicU64,
    calls: AtomicU64,
    took: Histogram,
    site: Site<C>,
}

impl<S, C> HedgeStep<S, C> {
    fn delay(&self) -> Duration {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(quantile) = self.hedge.quantile
            && calls >= MIN_SAMPLES
            && calls.is_multiple_of(REFRESH_EVERY)
            && let Some(delay) = self.took.quantile(quantile)
        {
            self.delay.store(nanos(delay), Ordering::Relaxed);
        }
        Duration::from_nanos(self.delay.load(Ordering::Relaxed))
    }
}

impl<I, S, E, C> Step<I> for HedgeStep<S, C>
where
    I: Clone + Send,
    S: Step<I, Err = Fail<E>>,
    E: Send,
    C: Send + Sync,
{
    type Out = S::Out;
    type Err = Fail<E>;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, Fail<E>> {
        let started = cx.now();
        self.hedge.budget.deposit();
        let hedge_at = started.after(self.delay());
        let result = {
            let (first_run, second_run) = (self.site.run(), self.site.run());
            let (one, two) = (cx.child_in(&first_run), cx.child_in(&second_run));
            let mut first = pin!(self.inner.call(&one, input.clone()));
            match Cut::new(&one, hedge_at, first.as_mut()).await {
                Ok(result) => result,
                Err(TooLate) if one.is_committed() || hedge_at >= cx.deadline_tick() => first.await,
                Err(TooLate) if !self.hedge.budget.withdraw(one.now()) => {
                    self.site.note(cx, Decision::HedgeDenied, 0);
                    first.await
                }
                Err(TooLate) => {
                    cx.renew();
                    two.renew();
                    self.site.meter.count_extra();
                    self.site.note(cx, Decision::HedgeStarted, millis(cx.now().since(started)));
                    let second = pin!(self.inner.call(&two, input));
                    let (result, second_won) = first_answer(first, second).await;
                    if second_won {
                        self.site.note(cx, Decision::HedgeWon, 0);
                    }
                    result
                }
            }
        };
        if result.is_ok() {
            self.took.record(cx.now().since(started));
        }
        self.site.passed(cx, started, &result);
        result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        let inner = self.inner.longest(limit)?;
        let delay = Duration::from_nanos(self.delay.load(Ordering::Relaxed)).min(inner);
        Some(inner.saturating_add(delay).min(limit.max(inner)))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, None);
        self.inner.inspect(into);
    }
}

/// The first success of two, or the failure of the first if both fail; and whether it was the second's.
async fn first_answer<O, E, A, B>(mut first: Pin<&mut A>, mut second: Pin<&mut B>) -> (Result<O, E>, bool)
where
    A: Future<Output = Result<O, E>>,
    B: Future<Output = Result<O, E>>,
{
    let (mut first_failed, mut second_failed) = (None, false);
    std::future::poll_fn(move |task| {
        if first_failed.is_none()
            && let Poll::Ready(result) = first.as_mut().poll(task)
        {
            match result {
                Ok(out) => return Poll::Ready((Ok(out), false)),
                Err(fail) => first_failed = Some(fail),
            }
        }
        if !second_failed && let Poll::Ready(result) = second.as_mut().poll(task) {
            match result {
                Ok(out) => return Poll::Ready((Ok(out), true)),
                Err(_) => second_failed = true,
            }
        }
        match first_failed.take() {
            Some(fail) if second_failed => Poll::Ready((Err(fail), false)),
            waiting => {
                first_failed = waiting;
                Poll::Pending
            }
        }
    })
    .await
}
