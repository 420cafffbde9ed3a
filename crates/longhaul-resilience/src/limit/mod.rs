//! Staying within so many requests and tokens per minute.
//!
//! Both are reserved together before the call and in one step: a call never holds a request while it waits for tokens.
//! The tokens are an estimate; when the call has ended they are set right to what it used. A call that is dropped while
//! it waits, or turned away further in, gives everything back. One that is dropped after its innermost step has begun
//! gives nothing back: the service may have been asked, and has then counted it.
//!
//! Callers wait in the order in which they came, and whoever is polled hands out what has become free to those whose
//! turn it is: a waiter that is held without being polled blocks nobody.

mod bucket;
mod handle;
mod layer;
mod queue;

pub use handle::LimitHandle;
pub use layer::{Actual, By, Estimate, Limit, LimitStep};

/// What the models need of the shell, in words that do not leave this module otherwise.
#[cfg(all(test, longhaul_loom))]
pub(crate) mod turns {
    use super::{
        LimitHandle,
        queue::{Answer, Cost},
    };
    use crate::cx::Cx;

    /// Waits for its turn, does something and gives everything back.
    pub(crate) async fn pass(limit: &LimitHandle, cx: &Cx<'_>, inside: impl FnOnce()) -> bool {
        let cost = Cost { tokens: 0 };
        let held = match limit.arrive(cx, cost) {
            Answer::Go(stamp) => Some(limit.reservation(cx, cost, stamp)),
            Answer::Wait(place) => limit.turn(cost, place, cx.now()).come(cx).await.ok(),
            Answer::TurnedAway { .. } => None,
        };
        if held.is_some() {
            inside();
        }
        held.is_some()
    }

    /// Waits for its turn for one poll, and then no longer.
    pub(crate) fn glance(limit: &LimitHandle, cx: &Cx<'_>) {
        let mut pass = std::pin::pin!(pass(limit, cx, || ()));
        let _ = pass.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    }
}
