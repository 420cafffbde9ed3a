//! The time that a whole call may take, retries and alternatives included.
//!
//! The layer narrows the deadline of the context, which every layer within respects: nothing is begun that has no time
//! left. It also cuts the work off itself, in case the innermost step does not watch the clock. Around a step that
//! cannot fail it only narrows: such a step ends in an alternative that always answers, and must get to it.

use std::{pin::pin, sync::Arc, time::Duration};

use crate::{
    clock::{Tick, nanos},
    cut::{Cut, TooLate},
    cx::Cx,
    fail::{Failure, Why},
    inspect::Inspection,
    label::Label,
    meter::Outcome,
    site::{Env, Site},
    stack::Layer,
    step::Step,
    sync::{AtomicU64, Ordering},
    trail::Decision,
};

/// A duration that can be changed while stacks use it. Clones share it.
///
/// [`Stack::deadline`](crate::Stack::deadline) and [`Stack::attempt_timeout`](crate::Stack::attempt_timeout) take one
/// of these or a plain [`Duration`].
#[derive(Clone, Debug)]
pub struct LiveDuration {
    nanos: Arc<AtomicU64>,
}

impl LiveDuration {
    /// A duration that starts with this value.
    pub fn new(duration: Duration) -> Self {
        Self { nanos: Arc::new(AtomicU64::new(nanos(duration))) }
    }

    /// The value now.
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    pub(crate) fn nanos(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }

    /// Changes the value, for calls that begin from now on.
    pub fn set(&self, duration: Duration) {
        self.nanos.store(nanos(duration), Ordering::Relaxed);
    }
}

impl From<Duration> for LiveDuration {
    fn from(duration: Duration) -> Self {
        Self::new(duration)
    }
}

/// The deadline layer. See the [module](self).
#[derive(Clone, Debug)]
pub struct Deadline {
    limit: LiveDuration,
}

impl Deadline {
    /// The whole call may take `limit`.
    pub fn new(limit: impl Into<LiveDuration>) -> Self {
        Self { limit: limit.into() }
    }
}

impl<S, C> Layer<S, C> for Deadline {
    type Step = DeadlineStep<S, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        DeadlineStep { inner, limit: self.limit, site: Site::new(env, Label::DEADLINE) }
    }
}

/// A step with a deadline.
pub struct DeadlineStep<S, C> {
    inner: S,
    limit: LiveDuration,
    site: Site<C>,
}

impl<I, S, C> Step<I> for DeadlineStep<S, C>
where
    I: Send,
    S: Step<I>,
    S::Err: Failure,
    C: Send + Sync,
{
    type Out = S::Out;
    type Err = S::Err;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, S::Err> {
        let started = cx.now();
        let deadline = started.after_nanos(self.limit.nanos()).min(cx.deadline_tick());
        let too_late = || S::Err::local(Why::Deadline, self.site.env.stack, Label::DEADLINE);
        if started >= deadline
            && let Some(fail) = too_late()
        {
            self.site.note(cx, Decision::DeadlineRefused, 0);
            self.site.done(cx, started, Outcome::Rejected);
            return Err(fail);
        }
        let result = {
            let child = cx.child(deadline);
            let mut work = pin!(self.inner.call(&child, input));
            let until = if S::Err::CAN_FAIL { deadline } else { Tick::NEVER };
            match Cut::new(&child, until, work.as_mut()).await {
                Ok(result) => result,
                Err(TooLate) => match too_late() {
                    Some(fail) => {
                        self.site.note(cx, Decision::DeadlineCut, 0);
                        self.site.done(cx, started, Outcome::TimedOut);
                        return Err(fail);
                    }
                    None => work.await,
                },
            }
        };
        self.site.passed(cx, started, &result);
        result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        let limit = limit.min(self.limit.get());
        let inner = self.inner.longest(limit);
        match S::Err::local(Why::Deadline, self.site.env.stack, Label::DEADLINE) {
            Some(_) => Some(inner.map_or(limit, |inner| inner.min(limit))),
            // Around a step that cannot fail nothing is cut: only what is within can promise an end.
            None => inner,
        }
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, None);
        self.inner.inspect(into);
    }
}
