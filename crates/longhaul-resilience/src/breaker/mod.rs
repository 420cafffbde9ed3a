//! Failing fast while a service is down, and finding out when it is back.
//!
//! ```text
//!             threshold reached                 open_for is over
//!   closed ───────────────────────▶ open ───────────────────────▶ half-open
//!     ▲                              ▲                               │  │
//!     │                              └──────── a probe fails ────────┘  │
//!     └────────────────────── enough probes succeed ────────────────────┘
//! ```
//!
//! - Every change of state begins a new *generation*. A call carries the generation that it was admitted in, and its
//!   result counts only there: a call that began before the breaker opened can neither close nor reopen it.
//! - Half-open admits at most [`Breaker::probes`] calls at once, however many callers come. A probe that is dropped gives
//!   its place back; one that hangs loses it after [`Breaker::probe_ttl`]. Neither counts as success or failure.
//! - Windows truly slide, in constant time and memory: an hour of successes does not hide a minute of
//!   failures.
//! - Throttling does not count, nor do rejections of our own, nor cancelled calls. A permanent error (a malformed
//!   request) counts as a success: the service was well enough to judge it.
//! - Decisions know no lock and no clock. The shell around them admits calls with one atomic load
//!   while closed. Listeners run after the lock is released.

mod decision;
mod handle;
mod layer;
mod settings;
mod window;

pub use handle::{BreakerHandle, Change};
pub use layer::BreakerStep;
pub use settings::{Breaker, BreakerMode, BreakerState, Window};

/// What the models need of the shell, in words that do not leave this module otherwise.
#[cfg(all(test, longhaul_loom))]
pub(crate) mod shell {
    use super::{
        BreakerHandle,
        decision::{Admission, Permit, Verdict},
    };
    use crate::clock::Tick;
    use std::time::Duration;

    pub(crate) fn admit(breaker: &BreakerHandle, now: Tick) -> Option<Permit> {
        match breaker.admit(now).0 {
            Admission::Go(permit) => Some(permit),
            Admission::WouldReject(_) | Admission::Reject { .. } => None,
        }
    }

    pub(crate) fn settle(breaker: &BreakerHandle, permit: Permit, well: bool, now: Tick) {
        let verdict = if well { Verdict::Success } else { Verdict::Failure };
        breaker.settle(permit, verdict, Duration::ZERO, now);
    }

    pub(crate) fn release(breaker: &BreakerHandle, permit: Permit) {
        breaker.settle(permit, Verdict::Nothing, Duration::ZERO, Tick::ZERO);
    }
}
