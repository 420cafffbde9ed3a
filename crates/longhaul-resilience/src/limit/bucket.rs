//! A token bucket in whole numbers, so that nothing is lost or won by rounding over months.
//!
//! What was taken can be given back *as if it had not been taken*: had it stayed, the bucket might have been full for a
//! while and let inflow run over, and that part is lost. So much is known from the highest level since the taking, and
//! [`Peaks`] remembers that for every taking that may still come back.

use std::{collections::VecDeque, time::Duration};

use crate::clock::Tick;

/// One token, in the unit of the level: at one token per minute a nanosecond brings exactly one unit.
const TOKEN: i128 = 60_000_000_000;

/// So many tokens per minute, of which so many can be saved up.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    per_minute: u64,
    burst: u64,
    /// May be negative: what was used beyond its estimate is owed.
    level: i128,
    at: Tick,
    takings: u64,
    peaks: Peaks,
}

impl Bucket {
    /// A full bucket. Both numbers at least one.
    pub(super) fn new(per_minute: u64, burst: u64) -> Self {
        let (per_minute, burst) = (per_minute.max(1), burst.max(1));
        let level = i128::from(burst) * TOKEN;
        Self { per_minute, burst, level, at: Tick::ZERO, takings: 0, peaks: Peaks::default() }
    }

    /// The number of the last taking.
    pub(super) fn takings(&self) -> u64 {
        self.takings
    }

    /// A full bucket after another, of which takings up to that number are still to be settled: they mean nothing here.
    pub(super) fn counting_from(mut self, takings: u64) -> Self {
        self.takings = takings;
        self.peaks.reached(takings, self.level);
        self
    }

    fn full(&self) -> i128 {
        i128::from(self.burst) * TOKEN
    }

    #[inline]
    pub(super) fn refill(&mut self, now: Tick) {
        let nanos = now.as_nanos().saturating_sub(self.at.as_nanos());
        self.at = self.at.max(now);
        self.add(i128::from(nanos) * i128::from(self.per_minute));
    }

    #[inline]
    fn add(&mut self, units: i128) {
        if units > 0 {
            self.level = (self.level + units).min(self.full());
            self.peaks.reached(self.takings, self.level);
        }
    }

    /// How long until `cost` can be taken after `ahead` has been. More than the bucket can hold counts as a full one,
    /// else it would wait for ever; the rest is then owed.
    #[inline]
    pub(super) fn wait(&self, ahead: u64, cost: u64) -> Duration {
        let wanted = (i128::from(ahead) + i128::from(cost.min(self.burst))) * TOKEN;
        let missing = wanted - self.level;
        if missing <= 0 {
            return Duration::ZERO;
        }
        let per_minute = i128::from(self.per_minute);
        let nanos = (missing + per_minute - 1) / per_minute;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// [`wait`](Self::wait)`(0, cost)` is zero.
    #[inline]
    pub(super) fn has(&self, cost: u64) -> bool {
        i128::from(cost.min(self.burst)) * TOKEN <= self.level
    }

    /// Takes, and says the number of the taking, by which it can be given back.
    #[inline]
    pub(super) fn take(&mut self, cost: u64) -> u64 {
        self.level -= i128::from(cost) * TOKEN;
        self.takings += 1;
        self.takings
    }

    /// Puts back what was taken as number `taking`: as if it had not been taken, and never more.
    pub(super) fn give_back(&mut self, cost: u64, taking: u64) {
        let cost = i128::from(cost) * TOKEN;
        let room = self.peaks.highest_since(taking).map_or(cost, |peak| self.full() - peak);
        let returned = cost.min(room);
        self.peaks.raise_since(taking, returned);
        self.add(returned);
    }

    /// New numbers, the same use so far: what was taken stays taken.
    pub(super) fn resize(&mut self, per_minute: u64, burst: u64) {
        let used = self.full() - self.level;
        let fresh = Self::new(per_minute, burst);
        // What could be given back under the old numbers would mean nothing under the new ones: it counts as used.
        let mut peaks = Peaks::default();
        peaks.reached(self.takings, fresh.level);
        *self = Self { level: fresh.level - used, at: self.at, takings: self.takings, peaks, ..fresh };
    }

    #[cfg(test)]
    pub(super) fn level_tokens(&self) -> f64 {
        self.level as f64 / TOKEN as f64
    }
}

/// The highest level since every taking, in constant time: later and higher makes earlier and lower forgotten.
#[derive(Clone, Debug)]
struct Peaks {
    /// Takings upwards, levels downwards.
    peaks: VecDeque<(u64, i128)>,
}

/// More peaks than this are merged, the oldest first, to the higher of both: a little less may then be given back.
const MAX_PEAKS: usize = 64;

impl Default for Peaks {
    fn default() -> Self {
        // All at once, so that no call has to make room.
        Self { peaks: VecDeque::with_capacity(MAX_PEAKS + 1) }
    }
}

impl Peaks {
    #[inline]
    fn reached(&mut self, takings: u64, level: i128) {
        // With nothing to give back there is one peak, which is the new one.
        if let (1, Some(last)) = (self.peaks.len(), self.peaks.back_mut())
            && last.1 <= level
        {
            *last = (takings, level);
            return;
        }
        self.reached_among_many(takings, level);
    }

    fn reached_among_many(&mut self, takings: u64, level: i128) {
        while self.peaks.back().is_some_and(|(_, lower)| *lower <= level) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((takings, level));
        if self.peaks.len() > MAX_PEAKS
            && let (Some((_, higher)), Some(second)) = (self.peaks.pop_front(), self.peaks.front_mut())
        {
            second.1 = higher;
        }
    }

    fn highest_since(&self, taking: u64) -> Option<i128> {
        self.peaks.get(self.first_since(taking)).map(|(_, level)| *level)
    }

    /// Something was given back: without its taking all levels since would have been higher, which is what other
    /// takings must be measured by.
    fn raise_since(&mut self, taking: u64, by: i128) {
        for (takings, level) in self.peaks.split_off(self.first_since(taking)) {
            self.reached(takings, level + by);
        }
    }

    fn first_since(&self, taking: u64) -> usize {
        self.peaks.partition_point(|(takings, _)| *takings < taking)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Two buckets: one from which things are taken and given back, one from which those never were.
        #[test]
        fn what_is_given_back_was_as_good_as_never_taken(
            per_minute in 1u64..600, burst in 1u64..50,
            steps in prop::collection::vec((0u64..5_000, 0u64..10, prop::option::of(0u64..50)), 0..40),
        ) {
            let mut bucket = Bucket::new(per_minute, burst);
            let mut untouched = bucket.clone();
            let mut taken = vec![];
            let mut now = 0;
            for (wait, take, and_back) in steps {
                now += wait;
                for bucket in [&mut bucket, &mut untouched] {
                    bucket.refill(Tick::ZERO.after(Duration::from_millis(now)));
                    bucket.take(take);
                }
                taken.extend(and_back.map(|cost| (cost, bucket.take(cost))));
            }
            for (cost, taking) in taken {
                bucket.give_back(cost, taking);
            }
            prop_assert_eq!(bucket.level, untouched.level);
        }
    }

    #[test]
    fn new_numbers_keep_what_was_used() {
        let mut bucket = Bucket::new(60, 10);
        bucket.take(4);
        bucket.resize(60, 20);
        assert_eq!(bucket.level_tokens(), 16.0);
        bucket.resize(60, 3);
        assert_eq!(bucket.level_tokens(), -1.0);
    }

    #[test]
    fn after_new_numbers_time_goes_on_and_only_later_takings_come_back() {
        let mut bucket = Bucket::new(60, 10);
        bucket.refill(Tick::ZERO.after(Duration::from_secs(100)));
        let before = (bucket.take(2), bucket.take(2));
        bucket.resize(60, 20);
        bucket.refill(Tick::ZERO.after(Duration::from_secs(101)));
        assert_eq!(bucket.level_tokens(), 17.0, "one second, one token");
        bucket.give_back(2, before.0);
        assert_eq!(bucket.level_tokens(), 17.0, "taken under other numbers");
        let after = bucket.take(5);
        bucket.give_back(5, after);
        assert_eq!(bucket.level_tokens(), 17.0);
    }

    #[test]
    fn many_peaks_are_merged_to_the_careful_side() {
        let mut peaks = Peaks::default();
        for n in 0..200u64 {
            peaks.reached(n, 1000 - i128::from(n));
        }
        assert_eq!(peaks.peaks.len(), MAX_PEAKS);
        for n in 0..200u64 {
            assert!(peaks.highest_since(n).unwrap() >= 1000 - i128::from(n));
        }
        assert_eq!(peaks.highest_since(199), Some(801));
    }
}
