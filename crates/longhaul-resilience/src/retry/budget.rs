//! How many retries a set of stacks may make together.
//!
//! Every first attempt pays a part of a token in, every retry takes a whole one out: with a fifth per attempt the load
//! can grow by a fifth and no more, however much fails and however stacks are nested. A small reserve per second keeps
//! quiet stacks able to retry at all.

use std::sync::Arc;

use crate::{
    clock::Tick,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// A thousandth of a token.
const MILLI: u64 = 1000;

/// A retry budget, shared by its clones.
///
/// ```
/// use longhaul_resilience::RetryBudget;
/// // For each ten first attempts two retries, and one more every two seconds.
/// let budget = RetryBudget::new(0.2, 0.5);
/// # let _ = budget;
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget {
    cell: Arc<Cell>,
}

#[derive(Debug)]
struct Cell {
    deposit: u64,
    balance: AtomicU64,
    reserve_per_second: f64,
    reserve: Mutex<Reserve>,
}

#[derive(Debug)]
struct Reserve {
    tokens: f64,
    at: Tick,
}

impl Default for RetryBudget {
    /// A fifth of the first attempts, and one retry every two seconds.
    fn default() -> Self {
        Self::new(0.2, 0.5)
    }
}

impl RetryBudget {
    /// The most that is saved up, in retries: what a short outage after a long calm may cost at once.
    pub const MAX_BALANCE: u64 = 100;
    /// What a new budget starts with, in retries.
    pub const START_BALANCE: u64 = 10;

    /// Allows `ratio` retries per first attempt (0 to 10), and `reserve_per_second` beyond.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    pub fn new(ratio: f64, reserve_per_second: f64) -> Self {
        let sane = |value: f64, max: f64| if value.is_finite() { value.clamp(0.0, max) } else { 0.0 };
        let cell = Cell {
            deposit: (sane(ratio, 10.0) * MILLI as f64).round() as u64,
            balance: AtomicU64::new(Self::START_BALANCE * MILLI),
            reserve_per_second: sane(reserve_per_second, 1e6),
            reserve: Mutex::new(Reserve { tokens: 1.0, at: Tick::ZERO }),
        };
        Self { cell: Arc::new(cell) }
    }

    /// Allows nothing at all.
    pub(crate) fn nothing() -> Self {
        let budget = Self::new(0.0, 0.0);
        budget.cell.balance.store(0, Ordering::Relaxed);
        budget
    }

    /// A first attempt is being made.
    #[inline]
    pub fn deposit(&self) {
        let max = Self::MAX_BALANCE * MILLI;
        // The usual case, a full purse, is one load.
        if self.cell.balance.load(Ordering::Relaxed) < max {
            let add = |balance: u64| Some((balance + self.cell.deposit).min(max));
            let _ = self.cell.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Takes one retry out, if there is one.
    pub fn withdraw(&self, now: Tick) -> bool {
        let take = |balance: u64| balance.checked_sub(MILLI);
        if self.cell.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return true;
        }
        let mut reserve = lock(&self.cell.reserve);
        let per_second = self.cell.reserve_per_second;
        let earned = now.since(reserve.at).as_secs_f64() * per_second;
        // Saved up for at most a second, but always to one whole retry, else a slow reserve would never pay.
        reserve.tokens = (reserve.tokens + earned).min(per_second.max(1.0));
        reserve.at = reserve.at.max(now);
        let enough = per_second > 0.0 && reserve.tokens >= 1.0;
        if enough {
            reserve.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn retries_stay_a_fifth_of_the_first_attempts() {
        let budget = RetryBudget::new(0.2, 0.0);
        let mut retries = 0;
        for _ in 0..10_000 {
            budget.deposit();
            retries += u32::from(budget.withdraw(Tick::ZERO));
        }
        assert!((2_000..=2_010).contains(&retries), "{retries}");
    }

    #[test]
    fn the_reserve_pays_one_every_two_seconds() {
        let budget = RetryBudget::new(0.0, 0.5);
        while budget.withdraw(Tick::from_nanos(1)) {}
        let at = |ms| Tick::from_nanos(1).after(Duration::from_millis(ms));
        let paid = (1..=100).filter(|n| budget.withdraw(at(n * 100))).count();
        assert_eq!(paid, 5);
    }

    #[test]
    fn a_long_calm_saves_up_no_more_than_the_maximum() {
        let budget = RetryBudget::new(1.0, 0.0);
        for _ in 0..10_000 {
            budget.deposit();
        }
        let paid = (0..1000).filter(|_| budget.withdraw(Tick::ZERO)).count();
        assert_eq!(paid as u64, RetryBudget::MAX_BALANCE);
    }

    #[test]
    fn senseless_settings_mean_none() {
        let budget = RetryBudget::new(f64::NAN, f64::INFINITY);
        budget.deposit();
        let paid = (0..1000).filter(|n| budget.withdraw(Tick::from_nanos(n * 1_000_000_000))).count();
        assert_eq!(paid as u64, RetryBudget::START_BALANCE);
    }
}
