//! The retry layer: asks the schedule and the budget, and waits.

use std::{pin::pin, sync::Arc, time::Duration};

use crate::{
    class::{Class, Classify, hint_of},
    clock::Tick,
    cut::{Cut, TooLate},
    cx::{Cx, mark},
    fail::{Fail, Why},
    inspect::Inspection,
    label::Label,
    retry::schedule::{Next, Retry, Schedule},
    site::{Env, Site, millis},
    stack::Layer,
    step::Step,
    sync::{Mutex, lock},
    trail::Decision,
};

/// The settings of a retry layer, for changing them while it runs. Clones share them.
#[derive(Clone, Debug)]
pub struct RetryHandle {
    settings: Arc<Mutex<Retry>>,
}

impl RetryHandle {
    /// Settings that can be changed.
    pub fn new(retry: Retry) -> Self {
        Self { settings: Arc::new(Mutex::new(retry)) }
    }

    /// Changes the settings, for attempts that fail from now on. The budget stays the one that the stack was built with.
    pub fn reload(&self, retry: Retry) {
        *lock(&self.settings) = retry;
    }

    /// The settings.
    pub fn settings(&self) -> Retry {
        lock(&self.settings).clone()
    }
}

impl From<Retry> for RetryHandle {
    fn from(retry: Retry) -> Self {
        Self::new(retry)
    }
}

impl<S, C> Layer<S, C> for RetryHandle {
    type Step = RetryStep<S, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        let budget = self.settings().budget;
        RetryStep { inner, handle: self, budget, site: Site::new(env, Label::RETRY) }
    }
}

/// A step that is tried again.
pub struct RetryStep<S, C> {
    inner: S,
    handle: RetryHandle,
    budget: Option<crate::retry::RetryBudget>,
    site: Site<C>,
}

impl<I, S, E, C> Step<I> for RetryStep<S, C>
where
    I: Clone + Send,
    S: Step<I, Err = Fail<E>>,
    E: Send,
    C: Classify<S::Out, E>,
{
    type Out = S::Out;
    type Err = Fail<E>;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, Fail<E>> {
        let started = cx.now();
        let owned_further_out = cx.is_marked(mark::RETRY_OWNED);
        if owned_further_out && !lock(&self.handle.settings).even_nested {
            let result = self.inner.call(cx, input).await;
            self.site.passed(cx, started, &result);
            return result;
        }
        if let Some(budget) = &self.budget {
            budget.deposit();
        }
        let mut schedule = None;
        let (mut attempts, mut reached) = (0, 0);
        let mut last = None;
        let result = loop {
            attempts += 1;
            let begun = cx.begun();
            let result = self.attempt(cx, input.clone(), last.is_some()).await;
            reached += u32::from(cx.begun() != begun);
            let wait = match self.judge(cx, &result, attempts, &mut schedule) {
                Verdict::Done => break result,
                Verdict::GiveUp(why) => {
                    break result.map_err(|fail| fail.because(why, self.site.env.stack, Label::RETRY));
                }
                Verdict::Again(wait) => wait,
            };
            last = result.err().map(|fail| fail.after(last));
            cx.count_retry();
            self.site.meter.count_extra();
            self.site.note(cx, Decision::RetryScheduled, millis(wait));
            let at = cx.now().after(wait);
            cx.sleep_until(at).await;
        };
        self.site.passed(cx, started, &result);
        result.map_err(|fail| fail.after(last).attempts_are(reached))
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        let settings = self.handle.settings();
        let attempt = self.inner.longest(limit)?;
        let attempts = attempt.saturating_mul(settings.max_retries.saturating_add(1));
        let waits = settings.longest_wait().saturating_mul(settings.max_retries);
        // No wait and no further attempt goes beyond the deadline; the first attempt is the inner step's own affair.
        Some(attempts.saturating_add(waits).min(limit.max(attempt)))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, None);
        self.inner.inspect(into);
    }
}

enum Verdict {
    Done,
    GiveUp(Why),
    Again(Duration),
}

impl<S, C> RetryStep<S, C> {
    /// Once there is an error to lose, the deadline is watched here too: cut off further out, it would be lost.
    async fn attempt<I, E>(&self, cx: &Cx<'_>, input: I, watch: bool) -> Result<S::Out, Fail<E>>
    where
        I: Send,
        S: Step<I, Err = Fail<E>>,
        E: Send,
        C: Sync,
    {
        let child = cx.child_with(Tick::NEVER, mark::RETRY_OWNED);
        let work = pin!(self.inner.call(&child, input));
        let until = if watch { cx.deadline_tick() } else { Tick::NEVER };
        match Cut::new(&child, until, work).await {
            Ok(result) => result,
            Err(TooLate) => Err(self.site.fail(Why::Deadline)),
        }
    }

    fn judge<Out, E>(
        &self,
        cx: &Cx<'_>,
        result: &Result<Out, Fail<E>>,
        attempts: u32,
        schedule: &mut Option<Schedule>,
    ) -> Verdict
    where
        C: Classify<Out, E>,
    {
        let hint = match self.site.class(cx, result) {
            Class::Ok | Class::Permanent | Class::Ignore => return Verdict::Done,
            Class::Transient => hint_of(self.site.env.classify(), result),
            Class::Throttled(hint) => hint,
        };
        if cx.is_committed() {
            return Verdict::Done;
        }
        let mut settings = self.handle.settings();
        settings.max_retries = cx.capped_retries(settings.max_retries);
        let hint = hint.map(|hint| hint.wait(cx.unix_time()));
        let schedule = schedule.get_or_insert_with(|| Schedule::new(&settings));
        let next = schedule.next(&settings, hint, cx.now(), cx.deadline_tick(), self.site.env.dice.next_u64());
        match next {
            Next::Wait(wait) => {
                // A rejection of our own has cost the service nothing.
                let local = matches!(result, Err(fail) if matches!(fail.why(), Why::Limited { .. }));
                let paid = local || self.budget.as_ref().is_none_or(|budget| budget.withdraw(cx.now()));
                if paid {
                    return Verdict::Again(wait);
                }
                self.site.note(cx, Decision::RetryBudgetSpent, 0);
                Verdict::GiveUp(Why::BudgetSpent)
            }
            Next::Exhausted => {
                if attempts > 1 {
                    self.site.note(cx, Decision::RetryExhausted, u64::from(attempts));
                }
                Verdict::Done
            }
            Next::NoTime => {
                self.site.note(cx, Decision::RetryNoTime, 0);
                Verdict::GiveUp(Why::Deadline)
            }
            Next::Park { until } => {
                self.site.note(cx, Decision::RetryParked, millis(until.since(cx.now())));
                Verdict::GiveUp(Why::Park { until })
            }
        }
    }
}
