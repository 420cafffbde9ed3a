//! The breaker as a layer.
//!
//! A call that has [committed](Cx::commit) has shown what a probe is to find out: its service is back. It is judged then
//! and gives its place to the next, however long the rest of its output takes.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

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
        let permit = match self.breaker.pass() {
            Some(permit) => permit,
            None => self.ask(cx, started)?,
        };
        let held = Held { breaker: &self.breaker, permit };
        // What was committed before has shown nothing of this call.
        let mut is_watched = permit.probe.is_some() && !cx.is_committed();
        let mut has_proved = false;
        let result = {
            let mut work = pin!(self.inner.call(cx, input));
            std::future::poll_fn(|task| {
                let polled = work.as_mut().poll(task);
                if is_watched && polled.is_pending() && cx.is_committed() {
                    (is_watched, has_proved) = (false, true);
                    self.settle(cx, permit, Verdict::Success, started);
                }
                polled
            })
            .await
        };
        let verdict = match self.site.class(cx, &result) {
            Class::Ok | Class::Permanent if has_proved => Verdict::Nothing,
            Class::Ok | Class::Permanent => Verdict::Success,
            Class::Transient => Verdict::Failure,
            Class::Ignore if result.as_ref().is_err_and(Fail::had_its_time) => Verdict::Failure,
            Class::Throttled(_) | Class::Ignore => Verdict::Nothing,
        };
        if self.breaker.needs_no(verdict, permit) {
            held.let_go();
        } else {
            self.settle(cx, held.let_go(), verdict, started);
        }
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
    #[cold]
    fn ask<E>(&self, cx: &Cx<'_>, started: Tick) -> Result<Permit, Fail<E>> {
        let (admission, moved) = self.breaker.admit(started);
        self.note_move(cx, moved);
        let permit = match admission {
            Admission::Go(permit) => permit,
            Admission::WouldReject(permit) => {
                self.site.note(cx, Decision::BreakerWouldReject, 0);
                permit
            }
            Admission::Reject { retry_after } => {
                let why = Why::Open { retry_after };
                return Err(self.site.turn_away(cx, started, (Decision::BreakerRejected, 0), why));
            }
        };
        if permit.probe.is_some() {
            self.site.note(cx, Decision::BreakerProbe, 0);
        }
        Ok(permit)
    }

    fn settle(&self, cx: &Cx<'_>, permit: Permit, verdict: Verdict, started: Tick) {
        let now = cx.now();
        let (counted, moved) = self.breaker.settle(permit, verdict, now.since(started), now);
        if !counted && verdict != Verdict::Nothing && permit.generation != 0 {
            self.site.note(cx, Decision::BreakerStale, 0);
        }
        self.note_move(cx, moved);
    }

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
    /// The call has ended: what becomes of the permit is the caller's affair.
    #[inline]
    fn let_go(self) -> Permit {
        let permit = self.permit;
        std::mem::forget(self);
        permit
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.breaker.settle(self.permit, Verdict::Nothing, Duration::ZERO, Tick::ZERO);
    }
}
