//! A place among the provider's connections, taken before the attempt begins.
//!
//! Waiting for one says nothing about the provider: its time is not the attempt's, so no breaker hears of it, and who
//! waits in vain was turned away by us ([`Why::Full`]) and goes on to the next target.
//!
//! The place travels in the [`Ask`], which is the only thing that the layers within hand on. It is used up by the
//! exchange, and put back where the exchange was never begun.

use std::sync::Arc;

use longhaul_resilience::{Cx, Decision, Env, Fail, Inspection, Label, Layer, Step, Why};

use super::CallFail;
use crate::call::Ask;
use crate::http::{PLACE_WAIT, Place, Pool};
use crate::provider::Provider;

/// The layer between a target's places and its attempt time-out.
pub(super) struct Seats(pub(super) Arc<Provider>);

/// Something that is asked.
pub(crate) trait Asking {
    fn ask(&self) -> &Arc<Ask>;
}

impl Asking for Arc<Ask> {
    fn ask(&self) -> &Arc<Ask> {
        self
    }
}

impl<S, C> Layer<S, C> for Seats {
    type Step = SeatStep<S>;

    fn wrap(self, inner: S, env: &Arc<Env<C>>) -> SeatStep<S> {
        SeatStep { inner, provider: self.0, stack: env.stack(), label: Label::new("connections") }
    }
}

/// A step that begins with a place.
pub(crate) struct SeatStep<S> {
    inner: S,
    provider: Arc<Provider>,
    stack: Label,
    label: Label,
}

impl<I, S> Step<I> for SeatStep<S>
where
    I: Asking + Send,
    S: Step<I, Err = CallFail>,
{
    type Out = S::Out;
    type Err = CallFail;

    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<S::Out, CallFail> {
        let Some(pool) = self.provider.pool() else { return self.inner.call(cx, input).await };
        let place = match pool.place_now() {
            Some(place) => place,
            None => self.wait(cx, pool).await?,
        };
        let ask = Arc::clone(input.ask());
        ask.sit_down(place);
        let _unused = StandUp(&ask);
        self.inner.call(cx, input).await
    }

    fn longest(&self, limit: std::time::Duration) -> Option<std::time::Duration> {
        let waiting = if self.provider.pool().is_some() { PLACE_WAIT.min(limit) } else { std::time::Duration::ZERO };
        Some(self.inner.longest(limit)?.saturating_add(waiting))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.inner.inspect(into);
    }
}

impl<S> SeatStep<S> {
    async fn wait(&self, cx: &Cx<'_>, pool: &Pool) -> Result<Place, CallFail> {
        let from = cx.renew();
        let until = from.after(PLACE_WAIT).min(cx.deadline().unwrap_or(longhaul_resilience::Tick::NEVER));
        let place = pool.place(cx, until).await;
        let waited = u64::try_from(cx.renew().since(from).as_millis()).unwrap_or(u64::MAX);
        let decision = if place.is_ok() { Decision::BulkheadWaited } else { Decision::BulkheadRejected };
        cx.note(self.stack, self.label, decision, waited);
        place.map_err(|_| Fail::local(Why::Full, self.stack, self.label))
    }
}

/// Gives a place back that no exchange has taken.
struct StandUp<'a>(&'a Ask);

impl Drop for StandUp<'_> {
    fn drop(&mut self) {
        drop(self.0.stand_up());
    }
}
