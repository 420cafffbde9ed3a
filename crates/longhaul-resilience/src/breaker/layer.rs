//! The breaker as a layer.

use std::{sync::Arc, time::Duration};

use crate::{
    breaker::{
        decision::{Admission, Moved, Permit, Verdict},
        handle::BreakerHandle,
        settings::BreakerState,
    },
    class::{Class, Classify},
    clock::Tick,
    cx::Cx,
    fail::{Fail, Why},
    inspect::Inspection,
    label::Label,
    meter::Outcome,
    site::{Env, Site},
    stack::Layer,
    step::Step,
    trail::Decision,
};

impl<S, C> Layer<S, C> for BreakerHandle {
    type Step = BreakerStep<S, C>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> Self::Step {
        BreakerStep { inner, breaker: self, site: Site::new(env, Label::BREAKER) }
    }
}

/// A step behind a breaker.
pub struct BreakerStep<S, C> {
    inner: S,
    breaker: BreakerHandle,
    site: Site<C>,
}

impl<I, S, E, C> Step<I> for BreakerStep<S, C>
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
        let (admission, moved) = self.breaker.admit(started);
        self.note_move(cx, moved);
        let permit = match admission {
            Admission::Go(permit) => permit,
            Admission::WouldReject(permit) => {
                self.site.note(cx, Decision::BreakerWouldReject, 0);
                permit
            }
            Admission::Reject { retry_after } => {
                self.site.note(cx, Decision::BreakerRejected, 0);
                self.site.done(cx, started, Outcome::Rejected);
                return Err(self.site.fail(Why::Open { retry_after }));
            }
        };
        if permit.probe.is_some() {
            self.site.note(cx, Decision::BreakerProbe, 0);
        }
        let held = Held { breaker: &self.breaker, permit };
        let result = self.inner.call(cx, input).await;
        let verdict = match self.site.class(&result) {
            Class::Ok | Class::Permanent => Verdict::Success,
            Class::Transient => Verdict::Failure,
            Class::Throttled(_) | Class::Ignore => Verdict::Nothing,
        };
        let now = cx.now();
        let (counted, moved) = held.settle(verdict, now.since(started), now);
        if !counted && permit.generation != 0 {
            self.site.note(cx, Decision::BreakerStale, 0);
        }
        self.note_move(cx, moved);
        self.site.passed(cx, started, &result);
        result
    }

    fn longest(&self, limit: Duration) -> Option<Duration> {
        self.inner.longest(limit)
    }

    fn inspect(&self, into: &mut Inspection) {
        self.site.inspect(into, Some(self.breaker.state().name().to_owned()));
        self.inner.inspect(into);
    }
}

impl<S, C> BreakerStep<S, C> {
    fn note_move(&self, cx: &Cx<'_>, moved: Moved) {
        if let Some((_, to)) = moved {
            let decision = match to {
                BreakerState::Closed => Decision::BreakerClosed,
                BreakerState::Open => Decision::BreakerOpened,
                BreakerState::HalfOpen => Decision::BreakerHalfOpened,
            };
            self.site.note(cx, decision, 0);
        }
    }
}

/// A permit that finds its way home when the call is dropped.
struct Held<'a> {
    breaker: &'a BreakerHandle,
    permit: Permit,
}

impl Held<'_> {
    #[inline]
    fn settle(self, verdict: Verdict, took: Duration, now: Tick) -> (bool, Moved) {
        let (breaker, permit) = (self.breaker, self.permit);
        std::mem::forget(self);
        breaker.settle(permit, verdict, took, now)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.breaker.settle(self.permit, Verdict::Nothing, Duration::ZERO, Tick::ZERO);
    }
}
