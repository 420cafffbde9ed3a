//! A token bucket in whole numbers, so that nothing is lost or won by rounding over months.

use std::time::Duration;

use crate::clock::Tick;

/// One token, in the unit of the level: at one token per minute a nanosecond brings exactly one unit.
const TOKEN: i128 = 60_000_000_000;

/// So many tokens per minute, of which so many can be saved up.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    per_minute: u64,
    burst: u64,
    /// The most that can be given back at once.
    returnable: u64,
    /// May be negative: what was used beyond its estimate is owed.
    level: i128,
    at: Tick,
    /// How often something came in while there was not room for all that is `returnable`. Had what was
    /// taken before that been there, the bucket would have run over: it can no longer be given back.
    overflows: u64,
}

impl Bucket {
    /// A full bucket. All numbers at least one.
    pub(super) fn new(per_minute: u64, burst: u64, returnable: u64) -> Self {
        let (per_minute, burst, returnable) = (per_minute.max(1), burst.max(1), returnable.max(1));
        Self { per_minute, burst, returnable, level: i128::from(burst) * TOKEN, at: Tick::ZERO, overflows: 0 }
    }

    pub(super) fn refill(&mut self, now: Tick) {
        let nanos = now.as_nanos().saturating_sub(self.at.as_nanos());
        let earned = i128::from(nanos) * i128::from(self.per_minute);
        self.add(earned);
        self.at = self.at.max(now);
    }

    fn add(&mut self, units: i128) {
        let full = i128::from(self.burst) * TOKEN;
        self.level = (self.level + units).min(full);
        if units > 0 && self.level > full - i128::from(self.returnable) * TOKEN {
            self.overflows += 1;
        }
    }

    /// How long until `cost` can be taken after `ahead` has been. More than the bucket can hold counts as a full one,
    /// else it would wait for ever; the rest is then owed.
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

    /// Takes, and says what [`give_back`](Self::give_back) must be told.
    pub(super) fn take(&mut self, cost: u64) -> u64 {
        self.level -= i128::from(cost) * TOKEN;
        self.overflows
    }

    /// Puts back what was taken when `overflows` was the answer: as if it had not been taken, and never more.
    pub(super) fn give_back(&mut self, cost: u64, overflows: u64) {
        if self.overflows == overflows {
            self.add(i128::from(cost.min(self.returnable)) * TOKEN);
        }
    }

    /// New numbers, the same use so far: what was taken stays taken.
    pub(super) fn resize(&mut self, per_minute: u64, burst: u64, returnable: u64) {
        let used = i128::from(self.burst) * TOKEN - self.level;
        let fresh = Self::new(per_minute, burst, returnable);
        *self = Self { level: fresh.level - used, at: self.at, overflows: self.overflows, ..fresh };
    }

    #[cfg(test)]
    pub(super) fn level_tokens(&self) -> f64 {
        self.level as f64 / TOKEN as f64
    }
}
