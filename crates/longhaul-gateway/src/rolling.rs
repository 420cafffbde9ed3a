//! What a model did in the last minutes: counts, percentiles and what its layers decided.
//!
//! Counted from the record of every call as it ends, in slots of ten seconds that are used again after five minutes. The
//! memory is bounded by the number of configured models, and a question costs the same however many calls there were.
//! Whole numbers since the start are in [`stats`](crate::stats); these say what is true now.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_resilience::{HistogramCounts, Tick};

use crate::record::{CacheUse, CallRecord};

/// How long a slot lasts.
const SLOT: Duration = Duration::from_secs(10);

/// How many slots there are: five minutes.
const SLOTS: usize = 30;

/// What the calls that ended in a time came to.
#[derive(Debug, Clone, Default)]
pub struct ModelWindow {
    /// Calls that ended by themselves.
    pub calls: u64,
    /// Of those: without an answer, though what was asked was right.
    pub failed: u64,
    /// Of those: without an answer, because of what was asked.
    pub refused: u64,
    /// Of those: answered by another than the first target.
    pub degraded: u64,
    /// Calls that looked into the cache.
    pub looked_up: u64,
    /// Of those: answered by it.
    pub hits: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Tokens of requests that a provider answered.
    pub input_tokens: u64,
    /// Tokens of those answers.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub cost_microusd: u64,
    /// How long whole calls took.
    pub latency: HistogramCounts,
    /// How long streams took until their first token.
    pub first_token: HistogramCounts,
    /// What layers decided: the layer, its decision and how often, in no order. Plain successes are left out.
    pub decisions: Vec<(&'static str, &'static str, u64)>,
}

impl ModelWindow {
    fn count(&mut self, record: &CallRecord) {
        let is_free = record.cache.is_free();
        self.calls += 1;
        self.failed += u64::from(record.error.is_some() && !record.is_refused());
        self.refused += u64::from(record.is_refused());
        self.degraded += u64::from(record.degraded);
        self.looked_up += u64::from(!matches!(record.cache, CacheUse::Off | CacheUse::Bypass));
        self.hits += u64::from(is_free);
        self.retries += u64::from(record.retries);
        if !is_free {
            let usage = record.usage.unwrap_or_default();
            self.input_tokens += usage.input_tokens;
            self.output_tokens += usage.output_tokens;
            self.cost_microusd += record.cost_microusd.unwrap_or(0);
        }
        self.latency.record(record.took);
        if let Some(first) = record.first_token {
            self.first_token.record(first);
        }
        for note in record.layers().filter(|note| note.decision != "call.ok") {
            // Checkpoints are named by callers: they are no layer's decision, and their names have no bound.
            if note.decision != "checkpoint" {
                self.decided(note.layer, note.decision, 1);
            }
        }
    }

    fn decided(&mut self, layer: &'static str, decision: &'static str, times: u64) {
        match self.decisions.iter_mut().find(|known| (known.0, known.1) == (layer, decision)) {
            Some(known) => known.2 += times,
            None => self.decisions.push((layer, decision, times)),
        }
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.failed += other.failed;
        self.refused += other.refused;
        self.degraded += other.degraded;
        self.looked_up += other.looked_up;
        self.hits += other.hits;
        self.retries += other.retries;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost_microusd += other.cost_microusd;
        self.latency.add(&other.latency);
        self.first_token.add(&other.first_token);
        for (layer, decision, times) in &other.decisions {
            self.decided(layer, decision, *times);
        }
    }
}

/// The slots of one model. Empty until its first call.
#[derive(Debug, Default)]
pub(crate) struct Rolling(Mutex<Vec<Slot>>);

#[derive(Debug)]
struct Slot {
    /// Which ten seconds, counted from the start of the clock's scale.
    number: u64,
    counts: ModelWindow,
}

impl Rolling {
    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that has ended.
    pub(crate) fn observe(&self, record: &CallRecord) {
        let number = number_of(record.ended_at());
        let mut slots = self.lock();
        let index = match slots.iter().position(|slot| slot.number == number) {
            Some(index) => index,
            None if slots.len() < SLOTS => {
                slots.push(Slot { number, counts: ModelWindow::default() });
                slots.len() - 1
            }
            None => {
                let oldest = slots.iter().enumerate().min_by_key(|(_, slot)| slot.number);
                let index = oldest.map_or(0, |(index, _)| index);
                slots[index] = Slot { number, counts: ModelWindow::default() };
                index
            }
        };
        slots[index].counts.count(record);
    }

    /// The figures of about the last `span`, at most five minutes: whole slots, and the one that is under way.
    pub(crate) fn window(&self, now: Tick, span: Duration) -> ModelWindow {
        let slots_back = span.as_nanos().div_ceil(SLOT.as_nanos()).clamp(1, SLOTS as u128);
        let newest = number_of(now);
        let oldest = newest.saturating_sub(u64::try_from(slots_back).unwrap_or(1) - 1);
        let mut sum = ModelWindow::default();
        for slot in self.lock().iter().filter(|slot| (oldest..=newest).contains(&slot.number)) {
            sum.add(&slot.counts);
        }
        sum
    }
}

/// How long the figures of [`Rolling::window`] cover: the whole slots of `span`, and what has passed of the newest.
pub(crate) fn covered(now: Tick, span: Duration) -> Duration {
    let slot = u64::try_from(SLOT.as_nanos()).unwrap_or(u64::MAX);
    let back = u64::try_from(span.as_nanos().div_ceil(u128::from(slot)).clamp(1, SLOTS as u128)).unwrap_or(1) - 1;
    Duration::from_nanos(now.as_nanos() % slot).saturating_add(Duration::from_nanos(slot.saturating_mul(back)))
}

fn number_of(at: Tick) -> u64 {
    at.as_nanos() / u64::try_from(SLOT.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use longhaul_providers::ErrorClass;
    use longhaul_resilience::Cx;

    use super::*;
    use crate::record::RecordedError;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos((1_000 + seconds) * 1_000_000_000)
    }

    fn call(ended: Tick, took: Duration) -> CallRecord {
        let began = Tick::from_nanos(ended.as_nanos() - u64::try_from(took.as_nanos()).unwrap());
        CallRecord::new(&"smart".into(), began, ended, Cx::new("test").report())
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_older_than_the_window_no_longer_counts_and_its_memory_is_used_again() {
        let rolling = Rolling::default();
        for second in 0..2_000 {
            rolling.observe(&call(at(second), Duration::from_millis(5)));
        }
        assert_eq!(rolling.lock().len(), SLOTS);
        let window = rolling.window(at(1_999), MINUTE);
        assert_eq!(window.calls, 60);
        assert_eq!(rolling.window(at(1_999), Duration::from_secs(3_600)).calls, 300);
        assert_eq!(rolling.window(at(2_500), MINUTE).calls, 0);
        assert_eq!(covered(at(1_999), MINUTE), Duration::from_secs(59));
    }

    #[test]
    fn rates_are_of_the_calls_that_could_have_counted() {
        let rolling = Rolling::default();
        let taken = |cache| {
            let mut record = call(at(1), Duration::from_millis(20));
            record.cache = cache;
            record
        };
        for cache in [CacheUse::Hit, CacheUse::Miss, CacheUse::Bypass, CacheUse::Off] {
            rolling.observe(&taken(cache));
        }
        let error = |class| Some(RecordedError { code: "x", message: String::new(), http_status: None, class });
        let mut failed = taken(CacheUse::Miss);
        (failed.error, failed.degraded) = (error(ErrorClass::Transient), true);
        rolling.observe(&failed);
        for class in [ErrorClass::Caller, ErrorClass::Unsupported] {
            let mut refused = taken(CacheUse::Bypass);
            refused.error = error(class);
            rolling.observe(&refused);
        }
        let window = rolling.window(at(2), MINUTE);
        assert_eq!((window.calls, window.looked_up, window.hits), (7, 3, 1));
        assert_eq!((window.failed, window.refused, window.degraded), (1, 2, 1));
        let p50 = window.latency.quantile(0.5).unwrap();
        assert!((20..=23).contains(&p50.as_millis()), "{p50:?}");
    }
}
