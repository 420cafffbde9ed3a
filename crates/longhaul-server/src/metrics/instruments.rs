//! What is counted as it happens: numbers that grow, and histograms. One or two atomic additions each.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        if more > 0 {
            self.0.fetch_add(more, Relaxed);
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The buckets of a histogram.
#[derive(Debug)]
pub(super) struct Edges {
    /// Their upper edges, rising, in what is counted: microseconds, tokens.
    pub(super) upper: &'static [u64],
    /// How many of what is counted make one of what is told: a million microseconds a second.
    pub(super) per_unit: f64,
}

const MICROS: f64 = 1e6;

impl Edges {
    const fn of_micros(upper: &'static [u64]) -> Self {
        Self { upper, per_unit: MICROS }
    }

    /// Answers over HTTP: from a thousandth of a second to the longest wait that a client can ask for.
    pub(super) const REQUEST: Self = Self::of_micros(&[
        1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
        10_000_000, 30_000_000, 60_000_000,
    ]);

    /// Calls of models, as the semantic conventions of OpenTelemetry advise.
    pub(super) const CALL: Self = Self::of_micros(&[
        10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_280_000, 2_560_000, 5_120_000, 10_240_000,
        20_480_000, 40_960_000, 81_920_000,
    ]);

    /// The first piece of a streamed answer, as the conventions advise.
    pub(super) const FIRST_CHUNK: Self = Self::of_micros(&[
        1_000, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
        5_000_000, 7_500_000, 10_000_000,
    ]);

    /// Each token after the first, as the conventions advise.
    pub(super) const PER_TOKEN: Self = Self::of_micros(&[
        10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000, 750_000, 1_000_000,
        2_500_000,
    ]);

    /// Tokens of a request or an answer, as the conventions advise.
    pub(super) const TOKENS: Self = Self {
        upper: &[
            1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864,
        ],
        per_unit: 1.0,
    };

    /// Jobs: some are over in milliseconds, some take a day.
    pub(super) const JOB: Self = Self::of_micros(&[
        5_000,
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        30_000_000,
        60_000_000,
        300_000_000,
        900_000_000,
        3_600_000_000,
        14_400_000_000,
        86_400_000_000,
    ]);

    /// Commits: a fast disk takes a tenth of a millisecond, a sick one seconds.
    pub(super) const COMMIT: Self = Self::of_micros(&[
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
    ]);

    /// Calls of the layers of a target. Their own histograms have buckets of powers of two: at these edges the counts are exact.
    /// Rounded up to microseconds.
    pub(super) const LAYER: Self = Self::of_micros(&[
        1_049,
        16_778,
        134_218,
        536_871,
        1_073_742,
        2_147_484,
        4_294_968,
        8_589_935,
        17_179_870,
        34_359_739,
        137_438_954,
    ]);

    /// Waits within a call.
    pub(super) const WAIT: Self = Self::of_micros(&[
        1_000, 10_000, 100_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ]);
}

/// Counts values by their size.
#[derive(Debug)]
pub(super) struct Histogram {
    edges: &'static Edges,
    /// One more than there are edges: the last is for what is above them all.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(edges: &'static Edges) -> Self {
        Self { edges, buckets: (0..=edges.upper.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    pub(super) fn record(&self, value: u64) {
        let bucket = self.edges.upper.partition_point(|upper| *upper < value);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    pub(super) fn record_micros(&self, took: Duration) {
        self.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// What it holds now.
    pub(super) fn take(&self) -> Taken {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        Taken { edges: self.edges, counts, sum: self.sum.load(Relaxed) }
    }
}

/// What a histogram held at one moment.
#[derive(Debug)]
pub(super) struct Taken {
    edges: &'static Edges,
    counts: Vec<u64>,
    sum: u64,
}

impl Taken {
    /// What a histogram held that was counted elsewhere, of durations: `below` says how many were shorter.
    pub(super) fn of(edges: &'static Edges, total: u64, sum: Duration, below: impl Fn(Duration) -> u64) -> Self {
        let mut told = 0;
        let mut count = |up_to: u64| {
            let more = up_to.saturating_sub(told);
            told += more;
            more
        };
        let counts = edges.upper.iter().map(|upper| count(below(Duration::from_micros(*upper))));
        let mut counts: Vec<u64> = counts.collect();
        counts.push(count(total));
        Self { edges, counts, sum: u64::try_from(sum.as_micros()).unwrap_or(u64::MAX) }
    }

    /// The upper edge of each bucket but the last, in what is told, and how many values it holds.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let upper = self.edges.upper.iter().map(|upper| *upper as f64 / self.edges.per_unit);
        upper.zip(self.counts.iter().copied())
    }

    /// How many values there are. Summed up from the buckets, so that it is never another number than theirs.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum as f64 / self.edges.per_unit
    }
}

#[cfg(test)]
mod tests {
    use longhaul_gateway::HistogramCounts;

    use super::*;

    static LAYER: Edges = Edges::LAYER;

    #[test]
    fn what_was_counted_elsewhere_is_told_in_buckets_that_say_the_same() {
        let mut counts = HistogramCounts::default();
        for ms in 1..=1_000 {
            counts.record(Duration::from_millis(ms));
        }
        counts.record(Duration::from_secs(3_600));
        let taken = Taken::of(&LAYER, counts.total(), counts.about_the_sum(), |limit| counts.below(limit));
        let told: Vec<u64> = taken.buckets().map(|(_, count)| count).collect();
        // Up to 1.05 ms, 16.8 ms, 134 ms, 537 ms, 1.07 s, and an hour is above all edges.
        assert_eq!(told, [1, 15, 118, 402, 464, 0, 0, 0, 0, 0, 0]);
        assert_eq!(taken.count(), 1_001);
        assert!((taken.sum() - 4_100.5).abs() < 4_100.5 / 16.0, "{}", taken.sum());
    }
}
