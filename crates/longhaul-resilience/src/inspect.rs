//! A snapshot of a stack: totals, rates, percentiles, and the state of every layer.

use std::time::Duration;

use crate::{
    label::Label,
    meter::{LayerMetrics, Outcome},
};

/// Collects what the steps within a stack have counted.
#[derive(Debug, Default)]
pub struct Inspection {
    layers: Vec<LayerMetrics>,
}

impl Inspection {
    pub(crate) fn add(&mut self, layer: LayerMetrics) {
        self.layers.push(layer);
    }

    pub(crate) fn into_metrics(self, stack: Label) -> StackMetrics {
        StackMetrics::from_layers(stack, self.layers)
    }
}

/// What a stack has done so far. Rates are between 0 and 1, and 0 while there is nothing to divide by.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StackMetrics {
    /// The stack.
    pub stack: Label,
    /// Calls that ended.
    pub total: u64,
    /// Calls that were answered, by whatever layer.
    pub answered: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that their callers dropped.
    pub cancelled: u64,
    /// Retries within this stack, nested stacks included.
    pub retries: u64,
    /// Of the calls that reached the cache, the part that it answered (fresh, stale, or by waiting for the same call).
    pub hit_rate: f64,
    /// Of the calls that reached the fallback layer, the part that an alternative answered.
    pub fallback_rate: f64,
    /// Of all calls that were not dropped, the part that failed.
    pub error_rate: f64,
    /// Half of the calls took no longer.
    pub p50: Option<Duration>,
    /// 95 % of the calls took no longer.
    pub p95: Option<Duration>,
    /// 99 % of the calls took no longer.
    pub p99: Option<Duration>,
    /// Every layer, outermost first, those of nested stacks included.
    pub layers: Vec<LayerMetrics>,
}

impl StackMetrics {
    fn from_layers(stack: Label, layers: Vec<LayerMetrics>) -> Self {
        let whole = layers.iter().find(|l| l.stack == stack && l.layer == Label::STACK).cloned();
        let count = |outcome| whole.as_ref().map_or(0, |l| l.count(outcome));
        let total = whole.as_ref().map_or(0, |l| l.calls);
        let (failed, cancelled) = (count(Outcome::Failed), count(Outcome::Cancelled));
        let in_layer = |label, outcomes: &[Outcome]| {
            let own = layers.iter().filter(|l| l.stack == stack && l.layer == label);
            own.fold((0, 0), |(part, all), l| (part + outcomes.iter().map(|o| l.count(*o)).sum::<u64>(), all + l.calls))
        };
        let hits = in_layer(Label::CACHE, &[Outcome::Hit, Outcome::Stale, Outcome::Coalesced]);
        let fallbacks = in_layer(Label::FALLBACK, &[Outcome::Degraded]);
        Self {
            stack,
            total,
            answered: total - failed - cancelled,
            failed,
            cancelled,
            retries: layers.iter().filter(|l| l.layer == Label::RETRY).map(|l| l.extra).sum(),
            hit_rate: rate(hits),
            fallback_rate: rate(fallbacks),
            error_rate: rate((failed, total - cancelled)),
            p50: whole.as_ref().and_then(|l| l.p50),
            p95: whole.as_ref().and_then(|l| l.p95),
            p99: whole.as_ref().and_then(|l| l.p99),
            layers,
        }
    }

    /// The counts of the first layer of this kind.
    pub fn layer(&self, layer: Label) -> Option<&LayerMetrics> {
        self.layers.iter().find(|l| l.layer == layer)
    }

    /// The state of the first breaker, such as `open`.
    pub fn breaker_state(&self) -> Option<&str> {
        self.layer(Label::BREAKER)?.state.as_deref()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
fn rate((part, all): (u64, u64)) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}
