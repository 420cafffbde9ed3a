//! What a target remembers: its breaker, its limits, its meters. Kept over a reload of the configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longhaul_resilience::{
    BreakerHandle, BreakerState, Bulkhead, BulkheadHandle, Clock, Limit, LimitHandle, LiveDuration, Retry, RetryBudget,
    RetryHandle, Tick,
};

use crate::settings::{LimitSettings, TargetSettings};
use crate::stats::TargetMeter;

/// What makes a target of the new configuration the same as one of the old.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TargetKey {
    pub(crate) model: String,
    pub(crate) target: String,
    pub(crate) provider: String,
    pub(crate) upstream: String,
}

impl TargetKey {
    pub(crate) fn of(model: &str, target: &TargetSettings) -> Self {
        Self {
            model: model.to_owned(),
            target: target.name.clone(),
            provider: target.provider.clone(),
            upstream: target.model.clone(),
        }
    }
}

/// Retries for each first attempt, and beyond that a few a minute so that a quiet target can retry at all: an outage
/// then costs its provider at most a sixth more calls than there are.
const RETRIES_PER_CALL: f64 = 0.15;
const RETRIES_PER_SECOND: f64 = 0.2;

/// So many callers wait at a target until there is room; each costs about a hundred bytes and a timer, and none waits
/// longer than ten seconds.
const WAITING_MOST: usize = 10_000;

/// The place of a time when there is none.
const NEVER_MOVED: u64 = u64::MAX;

/// The living parts of a target.
#[derive(Debug)]
pub(crate) struct TargetState {
    pub(crate) breaker: BreakerHandle,
    pub(crate) limit: LimitHandle,
    pub(crate) places: BulkheadHandle,
    pub(crate) retry: RetryHandle,
    pub(crate) attempt_timeout: LiveDuration,
    pub(crate) meter: TargetMeter,
    breaker_moved: Arc<AtomicU64>,
    budget: RetryBudget,
}

impl TargetState {
    /// `clock` tells when the breaker changes.
    pub(crate) fn new(settings: &TargetSettings, clock: Arc<dyn Clock>) -> Self {
        let budget = RetryBudget::new(RETRIES_PER_CALL, RETRIES_PER_SECOND);
        let limit = Limit::tokens_only().tpm(1, |&(): &()| 0).handle();
        set_limit(&limit, &settings.limit);
        let breaker = BreakerHandle::new(settings.breaker.layer());
        let breaker_moved = Arc::new(AtomicU64::new(NEVER_MOVED));
        let moved = Arc::clone(&breaker_moved);
        breaker.on_change(move |change| {
            // Open and half-open take turns while a provider is away: that is one time, not many.
            if change.from == BreakerState::Closed || change.to == BreakerState::Closed {
                moved.store(clock.now().as_nanos(), Ordering::Relaxed);
            }
        });
        Self {
            breaker,
            breaker_moved,
            limit,
            places: Bulkhead::new(places(&settings.limit, None)).queue(WAITING_MOST).handle(),
            retry: RetryHandle::new(retry(settings, &budget)),
            attempt_timeout: LiveDuration::new(settings.attempt_timeout),
            meter: TargetMeter::default(),
            budget,
        }
    }

    /// How many calls there may be at once; `None` is without limit.
    pub(crate) fn most_at_once(&self) -> Option<u32> {
        Some(self.places.limit()).filter(|limit| *limit < BulkheadHandle::MAX_LIMIT)
    }

    /// How long the breaker has been closed, or has not been: probes in between do not begin a new time. Unset while it
    /// has never moved.
    pub(crate) fn breaker_since(&self, now: Tick) -> Option<Duration> {
        let moved = self.breaker_moved.load(Ordering::Relaxed);
        (moved != NEVER_MOVED).then(|| now.since(Tick::from_nanos(moved)))
    }

    /// Takes new numbers and keeps everything that was learned. `share` is how many connections of its provider the target
    /// may use at once.
    pub(crate) fn reload(&self, settings: &TargetSettings, share: Option<u32>) {
        let breaker = settings.breaker.layer();
        if self.breaker.settings() != breaker {
            self.breaker.reload(breaker);
        }
        set_limit(&self.limit, &settings.limit);
        self.places.set_limit(places(&settings.limit, share));
        self.retry.reload(retry(settings, &self.budget));
        self.attempt_timeout.set(settings.attempt_timeout);
    }
}

fn retry(settings: &TargetSettings, budget: &RetryBudget) -> Retry {
    settings.retry.layer().budget(budget)
}

fn set_limit(limit: &LimitHandle, settings: &LimitSettings) {
    limit.set_rpm(settings.rpm);
    limit.set_tpm(settings.tpm);
}

fn places(settings: &LimitSettings, share: Option<u32>) -> u32 {
    let own = settings.concurrency.unwrap_or(BulkheadHandle::MAX_LIMIT);
    own.min(share.unwrap_or(BulkheadHandle::MAX_LIMIT))
}
