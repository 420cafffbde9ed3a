//! Rolling figures of the last minutes: how many jobs came and went, and how long they took.
//!
//! Counted from commits as they happen, in slots of five seconds that are used again after five minutes. Asking costs
//! the same however many jobs there are, and nothing is read from the store. After a restart they begin anew: what is
//! durable is the jobs, not the figures.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use longhaul_core::{QueueName, Span, Status, Timestamp};
use longhaul_store::{Change, EndFigures};

/// How long a slot lasts.
const SLOT: Span = Span::from_secs(5);

/// How many slots there are: five minutes.
const SLOTS: usize = 60;

/// Of how many queues a slot keeps figures of their own. Clients name queues: who makes up thousands of names gets no
/// rates for all of them, and takes no memory.
const QUEUES_MOST: usize = 256;

/// A histogram has four buckets to each doubling of a microsecond, up to 2^40 (twelve days): no figure is off by more
/// than a fifth.
const BUCKETS: usize = 4 * 40;

impl crate::Engine {
    /// The figures of about the last `span`, at most five minutes, of this process.
    pub fn window(&self, span: Span) -> Window {
        self.inner.hub.stats().window(self.inner.clock.now(), span)
    }

    /// What came and went in each queue in about the last `span`, at most five minutes, through this process. Queues in
    /// which nothing happened are left out.
    pub fn window_of_queues(&self, span: Span) -> HashMap<QueueName, QueueCounts> {
        self.inner.hub.stats().window_of_queues(self.inner.clock.now(), span)
    }
}

/// Rolling figures. One lock, taken once a commit and once a question.
#[derive(Debug)]
pub(crate) struct Stats(Mutex<Ring>);

#[derive(Debug)]
struct Ring {
    slots: Box<[Slot]>,
}

#[derive(Debug, Clone)]
struct Slot {
    /// Which five seconds, counted from the epoch.
    number: i64,
    counts: Counts,
    queues: HashMap<QueueName, QueueCounts>,
    queued: Histogram,
    ran: Histogram,
    whole: Histogram,
}

/// What happened in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs taken in.
    pub submitted: u64,
    /// Jobs that ended with an output.
    pub succeeded: u64,
    /// Jobs that ended with an error.
    pub failed: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Of those that succeeded: not by their first choice.
    pub degraded: u64,
    /// Of those that succeeded: from a cache.
    pub cached: u64,
    /// Tokens read by models.
    pub input_tokens: u64,
    /// Tokens written by models.
    pub output_tokens: u64,
    /// What models cost, in millionths of a US dollar.
    pub cost_microusd: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.submitted += other.submitted;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.degraded += other.degraded;
        self.cached += other.cached;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost_microusd += other.cost_microusd;
    }
}

/// What happened in one queue in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Jobs taken in.
    pub submitted: u64,
    /// Jobs that ended, however.
    pub ended: u64,
}

/// Percentiles of a duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Half took no longer.
    pub p50: Span,
    /// 95 of 100 took no longer.
    pub p95: Span,
    /// 99 of 100 took no longer.
    pub p99: Span,
    /// How many were measured.
    pub count: u64,
}

/// The figures of a window that ends now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// How long it is; shorter than asked for when the process is younger.
    pub span: Span,
    /// What happened in it.
    pub counts: Counts,
    /// From the submit, or the time that was asked for, to the first attempt.
    pub queued: Percentiles,
    /// From the first attempt to the end.
    pub ran: Percentiles,
    /// From the submit, or the time that was asked for, to the end.
    pub whole: Percentiles,
}

impl Default for Stats {
    fn default() -> Self {
        let empty = Slot {
            number: i64::MIN,
            counts: Counts::default(),
            queues: HashMap::new(),
            queued: Histogram::default(),
            ran: Histogram::default(),
            whole: Histogram::default(),
        };
        Self(Mutex::new(Ring { slots: vec![empty; SLOTS].into() }))
    }
}

impl Stats {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what one commit brought.
    pub(crate) fn committed(&self, changes: &[Change]) {
        let submitted = changes.iter().filter_map(|change| change.fresh.then_some(change.at)).fold(None, later);
        let ended = changes.iter().filter_map(|change| change.ended.as_ref());
        let Some(now) = ended.clone().map(|ended| ended.finished_at).fold(submitted, later) else { return };
        let mut ring = self.lock();
        let slot = ring.slot(now);
        slot.counts.submitted += changes.iter().filter(|change| change.fresh).count() as u64;
        for (change, ended) in changes.iter().filter_map(|change| Some((change, change.ended.as_ref()?))) {
            slot.count(change.status, ended);
        }
        // The changes of a commit come in runs of one queue: a name is looked up once a run.
        for run in changes.chunk_by(|one, next| one.queue == next.queue) {
            let submitted = run.iter().filter(|change| change.fresh).count() as u64;
            let ended = run.iter().filter(|change| change.ended.is_some()).count() as u64;
            if let Some(first) = run.first()
                && submitted + ended > 0
            {
                slot.count_queue(&first.queue, submitted, ended);
            }
        }
    }

    /// See [`crate::Engine::window_of_queues`].
    pub(crate) fn window_of_queues(&self, now: Timestamp, span: Span) -> HashMap<QueueName, QueueCounts> {
        let (oldest, newest) = slots_of(now, span);
        let mut sum: HashMap<QueueName, QueueCounts> = HashMap::new();
        for slot in self.lock().slots.iter().filter(|slot| (oldest..=newest).contains(&slot.number)) {
            for (queue, counts) in &slot.queues {
                let total = sum.entry(queue.clone()).or_default();
                total.submitted += counts.submitted;
                total.ended += counts.ended;
            }
        }
        sum
    }

    /// The figures of about the last `span`: whole slots, and the one that is under way.
    pub(crate) fn window(&self, now: Timestamp, span: Span) -> Window {
        let (oldest, newest) = slots_of(now, span);
        let (mut counts, mut queued, mut ran, mut whole) =
            (Counts::default(), Histogram::default(), Histogram::default(), Histogram::default());
        for slot in self.lock().slots.iter().filter(|slot| (oldest..=newest).contains(&slot.number)) {
            counts.add(&slot.counts);
            queued.add(&slot.queued);
            ran.add(&slot.ran);
            whole.add(&slot.whole);
        }
        let begun = Timestamp::from_micros(oldest.saturating_mul(SLOT.as_micros().cast_signed()));
        Window {
            span: now.since(begun).max(Span::from_millis(1)),
            counts,
            queued: queued.percentiles(),
            ran: ran.percentiles(),
            whole: whole.percentiles(),
        }
    }
}

/// The first and the last slot of a window.
fn slots_of(now: Timestamp, span: Span) -> (i64, i64) {
    let most = usize::try_from(span.as_micros().div_ceil(SLOT.as_micros())).unwrap_or(SLOTS).clamp(1, SLOTS);
    let newest = number_of(now);
    (newest - i64::try_from(most).unwrap_or(0) + 1, newest)
}

fn later(newest: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    newest.max(Some(at))
}

impl Slot {
    fn count_queue(&mut self, queue: &QueueName, submitted: u64, ended: u64) {
        if self.queues.len() >= QUEUES_MOST && !self.queues.contains_key(queue) {
            return;
        }
        let counts = self.queues.entry(queue.clone()).or_default();
        counts.submitted += submitted;
        counts.ended += ended;
    }

    fn count(&mut self, status: Status, job: &EndFigures) {
        match status {
            Status::Succeeded => self.counts.succeeded += 1,
            Status::Failed => self.counts.failed += 1,
            Status::Cancelled => self.counts.cancelled += 1,
            Status::Queued | Status::Running => return,
        }
        self.counts.degraded += u64::from(job.degraded);
        self.counts.cached += u64::from(job.cached);
        self.counts.input_tokens += job.usage.input_tokens;
        self.counts.output_tokens += job.usage.output_tokens;
        self.counts.cost_microusd += job.usage.cost_microusd;
        if let Some(started_at) = job.started_at {
            self.queued.record(started_at.since(job.ready_at));
            self.ran.record(job.finished_at.since(started_at));
        }
        self.whole.record(job.finished_at.since(job.ready_at));
    }
}

fn number_of(now: Timestamp) -> i64 {
    now.as_micros().div_euclid(SLOT.as_micros().cast_signed())
}

impl Ring {
    /// The slot of this moment, emptied when it was last used five minutes ago.
    fn slot(&mut self, now: Timestamp) -> &mut Slot {
        let number = number_of(now);
        let index = usize::try_from(number.rem_euclid(SLOTS as i64)).unwrap_or(0);
        let slot = &mut self.slots[index];
        if slot.number != number {
            slot.number = number;
            slot.counts = Counts::default();
            slot.queues.clear();
            slot.queued.clear();
            slot.ran.clear();
            slot.whole.clear();
        }
        slot
    }
}

#[derive(Debug, Clone)]
struct Histogram {
    count: u64,
    buckets: [u32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { count: 0, buckets: [0; BUCKETS] }
    }
}

impl Histogram {
    fn clear(&mut self) {
        if self.count > 0 {
            *self = Self::default();
        }
    }

    fn record(&mut self, span: Span) {
        let bucket = &mut self.buckets[bucket_of(span.as_micros())];
        *bucket = bucket.saturating_add(1);
        self.count += 1;
    }

    fn add(&mut self, other: &Histogram) {
        if other.count == 0 {
            return;
        }
        self.count += other.count;
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    fn percentiles(&self) -> Percentiles {
        Percentiles { p50: self.percentile(50), p95: self.percentile(95), p99: self.percentile(99), count: self.count }
    }

    /// The upper edge of the bucket that so many of a hundred do not exceed.
    fn percentile(&self, of_hundred: u64) -> Span {
        let wanted = (self.count * of_hundred).div_ceil(100);
        if wanted == 0 {
            return Span::ZERO;
        }
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Span::from_micros(upper_edge(index));
            }
        }
        Span::from_micros(upper_edge(BUCKETS - 1))
    }
}

/// Four buckets to each doubling; the first eight are exact.
fn bucket_of(micros: u64) -> usize {
    if micros < 8 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let doubling = micros.ilog2();
    let quarter = (micros >> (doubling - 2)) & 3;
    let index = 8 + 4 * (doubling as usize - 3) + usize::try_from(quarter).unwrap_or(0);
    index.min(BUCKETS - 1)
}

fn upper_edge(index: usize) -> u64 {
    if index < 8 {
        return index as u64;
    }
    let (doubling, quarter) = ((index - 8) / 4 + 3, (index - 8) % 4);
    // The last value before the next bucket begins.
    ((4 + quarter as u64 + 1) << (doubling - 2)) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000) + Span::from_secs(seconds)
    }

    fn change(at: Timestamp, ended: Option<EndFigures>) -> Change {
        Change {
            tenant: longhaul_core::Tenant::default_tenant(),
            job: longhaul_core::JobId::fresh(&longhaul_core::Ids::seeded(1), at),
            queue: longhaul_core::QueueName::default_queue(),
            kind: None,
            status: if ended.is_some() { Status::Succeeded } else { Status::Queued },
            version: 1,
            view: None,
            cancelling: false,
            fresh: ended.is_none(),
            at,
            ended,
            attempt: None,
            trace: None,
            events: None,
        }
    }

    fn submitted(at: Timestamp, jobs: usize) -> Vec<Change> {
        vec![change(at, None); jobs]
    }

    fn ended(now: Timestamp, took: Span) -> Change {
        let usage = longhaul_core::Usage::default();
        let (ready_at, started_at) = (now - took, Some(now - took));
        change(now, Some(EndFigures { ready_at, started_at, finished_at: now, degraded: false, cached: true, usage }))
    }

    #[test]
    fn what_is_older_than_the_window_no_longer_counts() {
        let stats = Stats::default();
        stats.committed(&submitted(at(0), 7));
        stats.committed(&submitted(at(58), 2));
        stats.committed(&[ended(at(58), Span::from_millis(40))]);
        assert_eq!(stats.window(at(59), Span::from_secs(60)).counts.submitted, 9);
        let later = stats.window(at(70), Span::from_secs(60));
        assert_eq!((later.counts.submitted, later.counts.succeeded, later.counts.cached), (2, 1, 1));
        // Five minutes later the slots are used again, and what stood in them is gone.
        stats.committed(&submitted(at(300), 1));
        assert_eq!(stats.window(at(300), Span::from_secs(300)).counts.submitted, 3);
        assert_eq!(stats.window(at(900), Span::from_secs(300)).counts, Counts::default());
    }

    #[test]
    fn each_queue_is_counted_by_itself_and_there_is_an_end_to_their_number() {
        let stats = Stats::default();
        let named = |name: &str| longhaul_core::QueueName::new(name).unwrap();
        let of = |name: &str, change: Change| Change { queue: named(name), ..change };
        let (came, went) = (|| change(at(3), None), || ended(at(3), Span::from_millis(9)));
        stats.committed(&[of("ocr", came()), of("ocr", went()), of("mail", came()), of("ocr", came())]);
        let found = stats.window_of_queues(at(4), Span::from_secs(60));
        assert_eq!(found[&named("ocr")], QueueCounts { submitted: 2, ended: 1 });
        assert_eq!(found[&named("mail")], QueueCounts { submitted: 1, ended: 0 });
        for number in 0..1_000 {
            stats.committed(&[of(&format!("made-up-{number}"), came())]);
        }
        let found = stats.window_of_queues(at(4), Span::from_secs(60));
        assert_eq!(found.len(), QUEUES_MOST);
        assert_eq!(found[&named("ocr")].submitted, 2, "who came first is kept");
        assert!(stats.window_of_queues(at(400), Span::from_secs(60)).is_empty());
    }

    #[test]
    fn percentiles_of_a_known_spread_are_within_a_fifth() {
        let stats = Stats::default();
        stats.committed(&(1..=1_000).map(|ms| ended(at(10), Span::from_millis(ms))).collect::<Vec<_>>());
        let whole = stats.window(at(10), Span::from_secs(60)).whole;
        for (found, right) in [(whole.p50, 500), (whole.p95, 950), (whole.p99, 990)] {
            let ms = found.as_millis();
            assert!((right..=right * 6 / 5).contains(&ms), "{ms} ms instead of {right}");
        }
        assert_eq!(whole.count, 1_000);
    }

    proptest! {
        #[test]
        fn a_duration_is_in_the_bucket_whose_edges_enclose_it(micros in 0_u64..1 << 40) {
            let index = bucket_of(micros);
            prop_assert!(micros <= upper_edge(index));
            prop_assert!(index == 0 || micros > upper_edge(index - 1));
        }
    }
}
