//! What each layer counts: calls by outcome, and how long they took.
//!
//! A successful call costs one atomic addition for all layers together (see [`straight`](crate::straight)), any other
//! call one or two for each layer. A [`Recorder`] gets the same facts as they happen, to hand them to a
//! metrics system; it is called by the layers with no lock held.

use std::time::Duration;

use crate::{
    histogram::{Counts, Histogram},
    label::Label,
    sync::{AtomicU64, Ordering},
    trail::Note,
};

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// How a call of a layer ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Outcome { $($(#[$doc])* $variant),* }

        impl Outcome {
            /// Every outcome.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$variant),*];

            /// The stable name, such as `rejected`.
            pub const fn name(self) -> &'static str {
                match self { $(Outcome::$variant => $name),* }
            }
        }
    };
}

outcomes! {
    /// Answered.
    Ok = "ok",
    /// Answered from a cache.
    Hit = "hit",
    /// Answered from a cache with an old entry.
    Stale = "stale",
    /// Answered by the same call of another caller.
    Coalesced = "coalesced",
    /// Answered by an alternative.
    Degraded = "degraded",
    /// Failed further in.
    Failed = "failed",
    /// Turned away by this layer.
    Rejected = "rejected",
    /// Cut off by this layer.
    TimedOut = "timed_out",
    /// Dropped by the caller.
    Cancelled = "cancelled",
}

/// Receives what happens, for a metrics system. Called with no lock held; should return within nanoseconds.
pub trait Recorder: Send + Sync {
    /// A call of a layer ended.
    fn call(&self, stack: Label, layer: Label, outcome: Outcome, latency: Duration) {
        let _ = (stack, layer, outcome, latency);
    }

    /// A layer decided something.
    fn note(&self, note: &Note) {
        let _ = note;
    }
}

/// The counters of one layer.
#[derive(Debug)]
pub(crate) struct Meter {
    latency: Histogram,
    /// All outcomes but [`Outcome::Ok`], which is what the histogram counts beyond these.
    others: [AtomicU64; Outcome::ALL.len()],
    /// What the layer does more than once per call: retries, hedges.
    extra: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            latency: Histogram::default(),
            others: std::array::from_fn(|_| AtomicU64::new(0)),
            extra: AtomicU64::new(0),
        }
    }
}

impl Meter {
    pub(crate) fn done(&self, outcome: Outcome, nanos: u64) {
        self.latency.record_nanos(nanos);
        if outcome != Outcome::Ok {
            self.others[outcome as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_extra(&self) {
        self.extra.fetch_add(1, Ordering::Relaxed);
    }

    /// What this layer has counted itself, and what `straight` adds: calls that others have counted for it.
    pub(crate) fn snapshot(&self, stack: Label, layer: Label, straight: impl FnOnce(&mut Counts)) -> LayerMetrics {
        // The histogram last: a call between the two readings then counts as ok, never as less than none.
        let mut outcomes: [u64; Outcome::ALL.len()] =
            std::array::from_fn(|index| self.others[index].load(Ordering::Relaxed));
        let mut latency = Counts::default();
        self.latency.add_to(&mut latency);
        straight(&mut latency);
        let calls = latency.total();
        outcomes[Outcome::Ok as usize] = calls.saturating_sub(outcomes.iter().sum());
        LayerMetrics {
            stack,
            layer,
            calls,
            outcomes,
            extra: self.extra.load(Ordering::Relaxed),
            p50: latency.quantile(0.5),
            p95: latency.quantile(0.95),
            p99: latency.quantile(0.99),
            latency,
            state: None,
        }
    }
}

/// The counts of one layer, at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerMetrics {
    /// The stack.
    pub stack: Label,
    /// The layer.
    pub layer: Label,
    /// Calls that ended.
    pub calls: u64,
    outcomes: [u64; Outcome::ALL.len()],
    /// Retries of a retry layer, extra calls of a hedge; zero elsewhere.
    pub extra: u64,
    /// Half of the calls took no longer.
    pub p50: Option<Duration>,
    /// 95 % of the calls took no longer.
    pub p95: Option<Duration>,
    /// 99 % of the calls took no longer.
    pub p99: Option<Duration>,
    /// How long all of them took.
    pub latency: Counts,
    /// The state of a layer that has one, such as `open`, or the current limit.
    pub state: Option<String>,
}

impl LayerMetrics {
    /// How many calls ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ok_is_what_no_other_outcome_claims() {
        let meter = Meter::default();
        for _ in 0..5 {
            meter.done(Outcome::Ok, 1_000_000);
        }
        meter.done(Outcome::Failed, 1_000_000);
        meter.count_extra();
        let seen = meter.snapshot(Label::NONE, Label::RETRY, |_| ());
        assert_eq!((seen.calls, seen.count(Outcome::Ok), seen.count(Outcome::Failed), seen.extra), (6, 5, 1, 1));
    }
}
