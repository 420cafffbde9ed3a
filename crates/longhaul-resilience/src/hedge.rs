//! A second call beside a first that is unusually slow; the first answer wins.
//!
//! The delay is fixed, or a quantile of how long calls have taken of late. The extra load is capped by a budget of the
//! same kind as for retries, which may be shared with them. The loser is dropped, which cancels it. The first to
//! [commit](Cx::commit) output has won: the other is dropped then, whatever becomes of the winner.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    clock::nanos,
    cut::{Cut, TooLate},
    cx::Cx,
    fail::Fail,
    histogram::{Counts, Histogram},
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
/// The quantile is that of the last calls, of so many at least and twice as many at most.
const LATE_CALLS: u64 = 1_024;

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
        let budget = if ratio > 0.0 { RetryBudget::new(ratio.min(1.0), 0.0) } else { RetryBudget::nothing() };
        Self { budget, ..self }
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
            took: [Histogram::default(), Histogram::default()],
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
    /// Of the last calls and of those before, in turns.
    took: [Histogram; 2],
    site: Site<C>,
}

impl<S, C> HedgeStep<S, C> {
    fn delay(&self) -> Duration {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(quantile) = self.hedge.quantile
            && calls >= MIN_SAMPLES
            && calls.is_multiple_of(REFRESH_EVERY)
        {
            let mut late = Counts::default();
            self.took.iter().for_each(|took| took.add_to(&mut late));
            if let Some(delay) = late.quantile(quantile) {
                self.delay.store(nanos(delay), Ordering::Relaxed);
            }
        }
        if calls.is_multiple_of(LATE_CALLS) {
            self.took(calls).clear();
        }
        Duration::from_nanos(self.delay.load(Ordering::Relaxed))
    }

    /// Where it is taken down how long call number `calls` took.
    fn took(&self, calls: u64) -> &Histogram {
        &self.took[usize::from(!(calls / LATE_CALLS).is_multiple_of(2))]
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
            let (first_part, second_part) = (cx.part(cx.is_committed()), cx.part(cx.is_committed()));
            let (one, two) = (cx.as_part(&first_part), cx.as_part(&second_part));
            let (one, two) = (one.child_in(&first_run), two.child_in(&second_run));
            let mut first = pin!(Some(self.inner.call(&one, input.clone())));
            let begun = Cut::new(&one, hedge_at, pin!(output(first.as_mut()))).await;
            match begun {
                Ok(result) => result,
                Err(TooLate) if one.is_committed() || hedge_at >= cx.deadline_tick() => output(first).await,
                Err(TooLate) if !self.hedge.budget.withdraw(one.now()) => {
                    self.site.note(cx, Decision::HedgeDenied, 0);
                    output(first).await
                }
                Err(TooLate) => {
                    cx.renew();
                    two.renew();
                    self.site.meter.count_extra();
                    self.site.note(cx, Decision::HedgeStarted, millis(cx.now().since(started)));
                    let second = pin!(Some(self.inner.call(&two, input)));
                    let (result, second_won) = first_answer((&one, first), (&two, second)).await;
                    if second_won {
                        self.site.note(cx, Decision::HedgeWon, 0);
                    }
                    result
                }
            }
        };
        if result.is_ok() {
            self.took(self.calls.load(Ordering::Relaxed).saturating_sub(1)).record(cx.now().since(started));
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

/// What `work` comes to, if it is still there.
async fn output<F: Future>(mut work: Pin<&mut Option<F>>) -> F::Output {
    std::future::poll_fn(|task| poll(work.as_mut(), task)).await
}

/// Dropped when it is done.
fn poll<F: Future>(mut work: Pin<&mut Option<F>>, task: &mut Context<'_>) -> Poll<F::Output> {
    let Some(running) = work.as_mut().as_pin_mut() else { return Poll::Pending };
    let polled = running.poll(task);
    if polled.is_ready() {
        work.set(None);
    }
    polled
}

/// The first success of two, or the failure of the first if both fail; and whether it was the second's. Whichever commits
/// is alone from then on.
async fn first_answer<O, E, A, B>(
    (one, mut first): (&Cx<'_>, Pin<&mut Option<A>>),
    (two, mut second): (&Cx<'_>, Pin<&mut Option<B>>),
) -> (Result<O, E>, bool)
where
    A: Future<Output = Result<O, E>>,
    B: Future<Output = Result<O, E>>,
{
    let (mut first_failed, mut second_failed) = (None, None);
    std::future::poll_fn(move |task| {
        match poll(first.as_mut(), task) {
            Poll::Ready(Ok(out)) => return Poll::Ready((Ok(out), false)),
            Poll::Ready(Err(fail)) => first_failed = Some(fail),
            Poll::Pending => {}
        }
        if one.is_committed() {
            second.set(None);
        }
        match poll(second.as_mut(), task) {
            Poll::Ready(Ok(out)) => return Poll::Ready((Ok(out), true)),
            Poll::Ready(Err(fail)) => second_failed = Some(fail),
            Poll::Pending => {}
        }
        if two.is_committed() {
            first.set(None);
            first_failed = None;
        }
        if first.is_some() || second.is_some() {
            return Poll::Pending;
        }
        match first_failed.take().or_else(|| second_failed.take()) {
            Some(fail) => Poll::Ready((Err(fail), false)),
            None => Poll::Pending,
        }
    })
    .await
}
