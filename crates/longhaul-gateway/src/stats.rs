//! What a gateway counts: per model and per target, in atomics and histograms of fixed size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longhaul_providers::chat::Usage;
use longhaul_resilience::{Histogram, Tick};
use serde::Serialize;

use crate::record::{CacheUse, CallRecord};
use crate::rolling::{ModelWindow, Rolling};

/// A number that grows.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one model.
#[derive(Debug, Default)]
pub(crate) struct ModelMeter {
    calls: Counter,
    failed: Counter,
    refused: Counter,
    cancelled: Counter,
    degraded: Counter,
    hits: Counter,
    looked_up: Counter,
    retries: Counter,
    tokens: Tokens,
    cost_microusd: Counter,
    latency: Histogram,
    first_token: Histogram,
    rolling: Rolling,
}

#[derive(Debug, Default)]
struct Tokens {
    input: Counter,
    output: Counter,
}

impl Tokens {
    fn add(&self, usage: Usage) {
        self.input.add(usage.input_tokens);
        self.output.add(usage.output_tokens);
    }
}

impl ModelMeter {
    pub(crate) fn observe(&self, record: &CallRecord) {
        if record.cancelled {
            self.cancelled.add(1);
            self.tokens.add(record.usage.unwrap_or_default());
            self.cost_microusd.add(record.cost_microusd.unwrap_or(0));
            return;
        }
        self.rolling.observe(record);
        self.calls.add(1);
        self.failed.add(u64::from(record.error.is_some() && !record.is_refused()));
        self.refused.add(u64::from(record.is_refused()));
        self.degraded.add(u64::from(record.degraded));
        self.hits.add(u64::from(record.cache.is_free()));
        self.looked_up.add(u64::from(!matches!(record.cache, CacheUse::Off | CacheUse::Bypass)));
        self.retries.add(u64::from(record.retries));
        if !record.cache.is_free() {
            self.tokens.add(record.usage.unwrap_or_default());
            self.cost_microusd.add(record.cost_microusd.unwrap_or(0));
        }
        self.latency.record(record.took);
        if let Some(first) = record.first_token {
            self.first_token.record(first);
        }
    }

    /// What was counted in about the last `span`.
    pub(crate) fn window(&self, now: Tick, span: Duration) -> ModelWindow {
        self.rolling.window(now, span)
    }

    pub(crate) fn snapshot(&self) -> ModelStats {
        let calls = self.calls.get();
        ModelStats {
            calls,
            failed: self.failed.get(),
            refused: self.refused.get(),
            cancelled: self.cancelled.get(),
            degraded: self.degraded.get(),
            cache_hits: self.hits.get(),
            retries: self.retries.get(),
            input_tokens: self.tokens.input.get(),
            output_tokens: self.tokens.output.get(),
            cost_microusd: self.cost_microusd.get(),
            hit_rate: rate(self.hits.get(), self.looked_up.get()),
            fallback_rate: rate(self.degraded.get(), calls),
            error_rate: rate(self.failed.get(), calls),
            latency: Percentiles::of(&self.latency),
            first_token: Percentiles::of(&self.first_token),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
fn rate(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// What a model did since the start, or since it was last configured anew. Rates are 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelStats {
    /// Calls that ended.
    pub calls: u64,
    /// Without an answer, though what was asked was right.
    pub failed: u64,
    /// Without an answer, because of what was asked: the provider found it wrong, or the target cannot do it.
    pub refused: u64,
    /// Given up by their callers.
    pub cancelled: u64,
    /// Answered by another than the first target.
    pub degraded: u64,
    /// Answered from the cache, or together with another call.
    pub cache_hits: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Tokens of requests.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub cost_microusd: u64,
    /// Of the calls that looked into the cache, the part that found their answer.
    pub hit_rate: f64,
    /// The part that another than the first target answered.
    pub fallback_rate: f64,
    /// The part that had no answer, though what was asked was right.
    pub error_rate: f64,
    /// How long whole calls took.
    pub latency: Percentiles,
    /// How long streams took until their first token.
    pub first_token: Percentiles,
}

/// How long things took, in microseconds. Unset while nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half took no longer.
    pub p50_us: Option<u64>,
    /// 95 % took no longer.
    pub p95_us: Option<u64>,
    /// 99 % took no longer.
    pub p99_us: Option<u64>,
}

impl Percentiles {
    fn of(histogram: &Histogram) -> Self {
        let at = |quantile| histogram.quantile(quantile).map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX));
        Self { p50_us: at(0.5), p95_us: at(0.95), p99_us: at(0.99) }
    }
}

/// The counters of one target. Survive a reload.
#[derive(Debug, Default)]
pub(crate) struct TargetMeter {
    attempts: Counter,
    failed: Counter,
    throttled: Counter,
    in_flight: AtomicU64,
    /// How long attempts take, exponentially weighted; zero while none is known. Nanoseconds.
    smoothed: AtomicU64,
    /// When that was last renewed.
    renewed_at: AtomicU64,
    latency: Histogram,
}

/// How much one attempt moves the smoothed latency: an eighth, as TCP does with round trips.
const SMOOTHING_SHIFT: u32 = 3;
/// No target looks slower than this, however long it has been failing.
const WORST_NANOS: u64 = 600_000_000_000;
/// In this time half of what is known is forgotten, so that a target that was slow is tried again.
const HALF_LIFE: Duration = Duration::from_secs(10);

impl TargetMeter {
    /// An attempt begins. Dropped without an end it was cancelled, and says nothing.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { meter: self }
    }

    pub(crate) fn attempt(&self, took: Duration, ended: AttemptEnd, now: Tick) {
        self.attempts.add(1);
        self.latency.record(took);
        match ended {
            AttemptEnd::Ok => {}
            AttemptEnd::Failed => self.failed.add(1),
            AttemptEnd::Throttled => self.throttled.add(1),
        }
        // A quick failure must not look like a quick target.
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let as_slow = || nanos.max(self.smoothed.load(Ordering::Relaxed)).saturating_mul(2).min(WORST_NANOS);
        let seen = if ended == AttemptEnd::Ok { nanos } else { as_slow() };
        let smooth = |old: u64| {
            let step = (old >> SMOOTHING_SHIFT).max(1);
            Some(if old == 0 { seen } else { old.saturating_sub(step).saturating_add(seen >> SMOOTHING_SHIFT) })
        };
        let _ = self.smoothed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, smooth);
        self.renewed_at.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// How long a new call is likely to take: what one takes, times those that are under way and this one. An unknown
    /// target costs nothing, so that it becomes known.
    pub(crate) fn load(&self, now: Tick) -> u64 {
        let calls = self.in_flight.load(Ordering::Relaxed).saturating_add(1);
        let age = now.since(Tick::from_nanos(self.renewed_at.load(Ordering::Relaxed)));
        let halvings = age.as_secs() / HALF_LIFE.as_secs();
        let forgotten =
            u32::try_from(halvings).ok().and_then(|by| self.smoothed.load(Ordering::Relaxed).checked_shr(by));
        forgotten.unwrap_or(0).saturating_mul(calls)
    }

    /// Attempts under way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn snapshot(&self) -> TargetStats {
        TargetStats {
            attempts: self.attempts.get(),
            failed: self.failed.get(),
            throttled: self.throttled.get(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency: Percentiles::of(&self.latency),
        }
    }
}

/// How an attempt ended, as far as the counters care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    Ok,
    Failed,
    Throttled,
}

/// An attempt under way.
pub(crate) struct InFlight<'a> {
    meter: &'a TargetMeter,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.meter.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a target did since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetStats {
    /// Attempts that ended.
    pub attempts: u64,
    /// Without an answer, throttled ones not counted.
    pub failed: u64,
    /// Turned away by the provider for now.
    pub throttled: u64,
    /// Under way.
    pub in_flight: u64,
    /// How long attempts took, of streams until their end.
    pub latency: Percentiles,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NOW: Tick = Tick::from_nanos(1_000_000_000);

    #[test]
    fn an_unknown_target_is_tried_and_a_busy_one_is_left() {
        let (slow, quick) = (TargetMeter::default(), TargetMeter::default());
        assert_eq!(slow.load(NOW), 0);
        slow.attempt(100 * MS, AttemptEnd::Ok, NOW);
        quick.attempt(10 * MS, AttemptEnd::Ok, NOW);
        assert!(quick.load(NOW) < slow.load(NOW));
        let busy: Vec<InFlight<'_>> = (0..20).map(|_| quick.begin()).collect();
        assert!(quick.load(NOW) > slow.load(NOW));
        drop(busy);
        assert!(quick.load(NOW) < slow.load(NOW));
        assert_eq!(quick.snapshot().in_flight, 0);
    }

    #[test]
    fn failing_quickly_does_not_make_a_target_look_quick_but_is_forgotten() {
        let (broken, sound) = (TargetMeter::default(), TargetMeter::default());
        for meter in [&broken, &sound] {
            meter.attempt(100 * MS, AttemptEnd::Ok, NOW);
        }
        for _ in 0..20 {
            broken.attempt(MS, AttemptEnd::Failed, NOW);
            sound.attempt(100 * MS, AttemptEnd::Ok, NOW);
        }
        assert!(broken.load(NOW) > sound.load(NOW));
        let later = NOW.after(Duration::from_secs(60));
        sound.attempt(100 * MS, AttemptEnd::Ok, later);
        assert!(broken.load(later) < sound.load(later), "it is given another chance");
    }
}
