//! Latencies in fixed memory: log-linear buckets, one atomic addition per value.
//!
//! Eight buckets per power of two from 128 ns to 2.4 hours: a quantile is off by at most an eighth, and a histogram
//! takes 2.2 KiB however many calls it has seen.

use std::time::Duration;

use crate::{
    clock::nanos,
    sync::{AtomicU64, Ordering},
};

const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
/// Values are counted in units of 128 ns.
const UNIT_BITS: u32 = 7;
const BUCKETS: usize = 272;

/// A shared latency histogram.
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Histogram {
    /// Counts one value.
    #[inline]
    pub fn record(&self, value: Duration) {
        self.record_nanos(nanos(value));
    }

    #[inline]
    pub(crate) fn record_nanos(&self, nanos: u64) {
        self.buckets[index(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts().total()
    }

    /// The value below which the part `q` (0 to 1) of all values lies, or `None` while there are none.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        self.counts().quantile(q)
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.add_to(&mut counts);
        counts
    }

    /// Forgets everything. A value that is counted meanwhile may be forgotten or not.
    pub(crate) fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }

    pub(crate) fn add_to(&self, counts: &mut Counts) {
        for (sum, bucket) in counts.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
    }
}

/// A histogram of one owner: what several [`Histogram`]s held at one moment, or what a window of time brought.
///
/// ```
/// use std::time::Duration;
///
/// let mut counts = longhaul_resilience::HistogramCounts::default();
/// counts.record(Duration::from_millis(20));
/// assert_eq!(counts.total(), 1);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Counts {
    buckets: Box<[u64]>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS].into() }
    }
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Counts({} values)", self.total())
    }
}

impl Counts {
    /// Counts one value.
    pub fn record(&mut self, value: Duration) {
        self.buckets[index(nanos(value))] += 1;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Counts) {
        for (sum, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += more;
        }
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many values were shorter than `limit`: exactly, where that is a power of two times 128 ns; else those that lie
    /// near it, by an eighth at most, count as longer.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut counts = longhaul_resilience::HistogramCounts::default();
    /// [1, 2, 500].map(|ms| counts.record(Duration::from_millis(ms)));
    /// assert_eq!(counts.below(Duration::from_nanos(128 << 17)), 2);
    /// ```
    pub fn below(&self, limit: Duration) -> u64 {
        let limit = nanos(limit);
        let whole = self.buckets.iter().enumerate().take_while(|(bucket, _)| upper_nanos(*bucket) < limit);
        whole.map(|(_, count)| count).sum()
    }

    /// About what all values come to: each counts as the middle of its bucket, which is off by a sixteenth at most.
    pub fn about_the_sum(&self) -> Duration {
        let middle = |bucket: usize| {
            let from = bucket.checked_sub(1).map_or(0, |below| upper_nanos(below) + 1);
            u128::from(from.midpoint(upper_nanos(bucket)))
        };
        let sum: u128 =
            self.buckets.iter().enumerate().map(|(bucket, count)| u128::from(*count) * middle(bucket)).sum();
        Duration::from_nanos(u64::try_from(sum).unwrap_or(u64::MAX))
    }

    /// See [`Histogram::quantile`].
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_nanos(upper_nanos(bucket)))
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Histogram({} values)", self.count())
    }
}

#[inline]
fn index(nanos: u64) -> usize {
    let units = nanos >> UNIT_BITS;
    if units < SUB as u64 {
        return units as usize;
    }
    let exponent = 63 - units.leading_zeros();
    let sub = (units >> (exponent - SUB_BITS)) as usize & (SUB - 1);
    ((exponent - SUB_BITS + 1) as usize * SUB + sub).min(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn upper_nanos(index: usize) -> u64 {
    let (octave, sub) = (index / SUB, (index % SUB) as u64);
    let units = match octave.checked_sub(1) {
        None => sub + 1,
        Some(shift) => (SUB as u64 + sub + 1) << shift,
    };
    (units << UNIT_BITS) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for nanos in (0..40u32).flat_map(|bits| [1u64 << bits, (1 << bits) + 1, (1u64 << bits) * 3 / 2]) {
            let bucket = index(nanos);
            assert!(nanos <= upper_nanos(bucket), "{nanos}");
            assert!(bucket == 0 || nanos > upper_nanos(bucket - 1), "{nanos}");
        }
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        for (q, exact) in [(0.5, 0.5), (0.95, 0.95), (0.99, 0.99), (1.0, 1.0)] {
            let got = histogram.quantile(q).unwrap().as_secs_f64();
            assert!(got >= exact && got <= exact * 1.126, "{q}: {got}");
        }
    }

    #[test]
    fn what_one_owner_counts_is_what_a_shared_histogram_counts() {
        let (shared, mut one, mut other) = (Histogram::default(), Counts::default(), Counts::default());
        for ms in 1..=1000 {
            shared.record(Duration::from_millis(ms));
            if ms % 3 == 0 { &mut one } else { &mut other }.record(Duration::from_millis(ms));
        }
        one.add(&other);
        assert_eq!((one.total(), one.quantile(0.95)), (1000, shared.quantile(0.95)));
    }

    #[test]
    fn what_is_below_a_power_of_two_is_counted_exactly_and_the_sum_nearly() {
        let mut counts = Counts::default();
        for ms in 1..=1_000 {
            counts.record(Duration::from_millis(ms));
        }
        for shift in 13..24 {
            let limit = Duration::from_nanos(128 << shift);
            let exact = (1..=1_000).filter(|ms| Duration::from_millis(*ms) < limit).count();
            assert_eq!(counts.below(limit), exact as u64, "{limit:?}");
        }
        assert_eq!((counts.below(Duration::ZERO), counts.below(Duration::MAX)), (0, 1_000));
        let (sum, exact) = (counts.about_the_sum().as_secs_f64(), 500.5);
        assert!((sum - exact).abs() < exact / 16.0, "{sum}");
    }

    #[test]
    fn a_value_beyond_the_last_bucket_is_counted_there() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.count(), 1);
    }
}
