//! When to try again: pure arithmetic over what happened, the time and a random number.

use std::time::Duration;

use crate::{
    clock::{Tick, nanos},
    dice::unit,
    retry::RetryBudget,
};

/// How waits are spread, so that callers who failed together do not return together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Exactly the exponential wait.
    None,
    /// Anything between nothing and the exponential wait (AWS's *full jitter*): spreads best.
    #[default]
    Full,
    /// Anything between the first wait and three times the one before, up to the cap (AWS's *decorrelated jitter*).
    Decorrelated,
}

/// The settings of a retry layer.
///
/// `max_retries` counts the attempts *after* the first: three retries make at most four calls.
///
/// ```
/// use longhaul_resilience::{Retry, RetryBudget};
/// use std::time::Duration;
///
/// let shared = RetryBudget::default();
/// let retry = Retry::exponential(Duration::from_secs(1), Duration::from_secs(10))
///     .max_retries(3)
///     .full_jitter()
///     .budget(&shared);
/// # let _ = retry;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is part of a stack"]
pub struct Retry {
    pub(crate) max_retries: u32,
    pub(crate) initial: Duration,
    pub(crate) max: Duration,
    pub(crate) factor: f64,
    pub(crate) jitter: Jitter,
    pub(crate) max_hint: Option<Duration>,
    pub(crate) even_nested: bool,
    pub(crate) budget: Option<RetryBudget>,
}

impl Default for Retry {
    /// Three retries, exponential from 1 s to 10 s with full jitter, no budget.
    fn default() -> Self {
        Self::exponential(Duration::from_secs(1), Duration::from_secs(10))
    }
}

impl Retry {
    /// Waits grow from `initial` to `max`, doubling each time, with full jitter.
    pub fn exponential(initial: Duration, max: Duration) -> Self {
        Self {
            max_retries: 3,
            initial,
            max: max.max(initial),
            factor: 2.0,
            jitter: Jitter::Full,
            max_hint: None,
            even_nested: false,
            budget: None,
        }
    }

    /// Waits are all `wait` long, without jitter.
    pub fn constant(wait: Duration) -> Self {
        Self::exponential(wait, wait).jitter(Jitter::None)
    }

    /// At most this many attempts after the first.
    pub fn max_retries(self, max_retries: u32) -> Self {
        Self { max_retries, ..self }
    }

    /// By how much each wait is longer than the one before; at least 1.
    pub fn factor(self, factor: f64) -> Self {
        Self { factor: if factor.is_finite() { factor.max(1.0) } else { 2.0 }, ..self }
    }

    /// How waits are spread.
    pub fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// [`Jitter::Full`].
    pub fn full_jitter(self) -> Self {
        self.jitter(Jitter::Full)
    }

    /// [`Jitter::Decorrelated`].
    pub fn decorrelated_jitter(self) -> Self {
        self.jitter(Jitter::Decorrelated)
    }

    /// The longest wait asked for by the service that is slept through; beyond it the call ends with
    /// [`Why::Park`](crate::Why::Park). The cap of the exponential wait unless set.
    pub fn max_hint(self, max_hint: Duration) -> Self {
        Self { max_hint: Some(max_hint), ..self }
    }

    /// Takes retries out of `budget`, which other stacks may share.
    pub fn budget(self, budget: &RetryBudget) -> Self {
        Self { budget: Some(budget.clone()), ..self }
    }

    /// Repeats even where a retry layer further out does so as well.
    pub fn even_nested(self) -> Self {
        Self { even_nested: true, ..self }
    }

    pub(crate) fn longest_hint(&self) -> Duration {
        self.max_hint.unwrap_or(self.max)
    }

    /// The longest wait between two attempts.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.max.max(self.longest_hint())
    }

    /// The exponential wait before retry number `retry` (from 0), capped, without jitter.
    pub(crate) fn backoff(&self, retry: u32) -> Duration {
        let power = i32::try_from(retry).map_or(f64::INFINITY, |n| self.factor.powi(n));
        let seconds = self.initial.as_secs_f64() * power;
        Duration::try_from_secs_f64(seconds).map_or(self.max, |wait| wait.min(self.max))
    }
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try again after this wait.
    Wait(Duration),
    /// No retries are left.
    Exhausted,
    /// The wait would end at or after the deadline.
    NoTime,
    /// The service asked for a wait that must not be slept through.
    Park { until: Tick },
}

/// The waits of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    retries: u32,
    previous: Duration,
}

impl Schedule {
    pub(crate) fn new(retry: &Retry) -> Self {
        Self { retries: 0, previous: retry.initial }
    }

    /// Decides after a failed attempt. `hint` is what the service asked for; `word` is random.
    pub(crate) fn next(&mut self, retry: &Retry, hint: Option<Duration>, now: Tick, deadline: Tick, word: u64) -> Next {
        if self.retries >= retry.max_retries {
            return Next::Exhausted;
        }
        let mut wait = self.jittered(retry, word);
        if let Some(hint) = hint.filter(|hint| *hint >= wait) {
            let until = now.after(hint);
            if hint > retry.longest_hint() || until >= deadline {
                return Next::Park { until };
            }
            // A little later than asked, so that those who were asked together do not return together.
            wait = hint.saturating_add(spread(retry, word)).min(retry.longest_wait()).max(hint);
            if now.after(wait) >= deadline {
                wait = hint;
            }
        }
        if now.after(wait) >= deadline {
            return Next::NoTime;
        }
        self.retries += 1;
        self.previous = wait;
        Next::Wait(wait)
    }

    fn jittered(&self, retry: &Retry, word: u64) -> Duration {
        let full = retry.backoff(self.retries);
        match retry.jitter {
            Jitter::None => full,
            Jitter::Full => part(full, word),
            Jitter::Decorrelated => {
                let widest = self.previous.saturating_mul(3).max(retry.initial);
                let above = part(widest - retry.initial, word);
                retry.initial.saturating_add(above).min(retry.max)
            }
        }
    }
}

fn spread(retry: &Retry, word: u64) -> Duration {
    if retry.jitter == Jitter::None { Duration::ZERO } else { part(retry.initial, word) }
}

/// A random part of `whole`, never more than it.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a random part"
)]
fn part(whole: Duration, word: u64) -> Duration {
    let whole = nanos(whole);
    Duration::from_nanos(((whole as f64 * unit(word)) as u64).min(whole))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn waits(retry: &Retry, words: &[u64]) -> Vec<Duration> {
        let mut schedule = Schedule::new(retry);
        let step = |word: &u64| match schedule.next(retry, None, Tick::ZERO, Tick::NEVER, *word) {
            Next::Wait(wait) => Some(wait),
            _ => None,
        };
        words.iter().map_while(step).collect()
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let retry = Retry::exponential(secs(1), secs(10)).jitter(Jitter::None).max_retries(6);
        assert_eq!(waits(&retry, &[0; 9]), [1, 2, 4, 8, 10, 10].map(secs));
    }

    #[test]
    fn a_huge_retry_number_stays_at_the_cap() {
        assert_eq!(Retry::exponential(secs(1), secs(10)).backoff(u32::MAX), secs(10));
    }

    #[test]
    fn a_hint_beyond_the_cap_or_the_deadline_parks_the_call() {
        let retry = Retry::exponential(secs(1), secs(10));
        let next = |hint, deadline| {
            Schedule::new(&retry).next(&retry, Some(secs(hint)), Tick::from_nanos(5), deadline, u64::MAX)
        };
        assert_eq!(next(11, Tick::NEVER), Next::Park { until: Tick::from_nanos(5).after(secs(11)) });
        assert_eq!(
            next(8, Tick::from_nanos(5).after(secs(8))),
            Next::Park { until: Tick::from_nanos(5).after(secs(8)) }
        );
        // There is room for the hint, though not for the spread above it.
        let roomy = Tick::from_nanos(6).after(secs(8));
        assert_eq!(next(8, roomy), Next::Wait(secs(8)));
    }

    #[test]
    fn every_setting_is_kept_beside_the_others() {
        let budget = RetryBudget::default();
        let retry = Retry::exponential(secs(2), secs(9))
            .max_retries(7)
            .factor(3.0)
            .max_hint(secs(5))
            .budget(&budget)
            .even_nested()
            .decorrelated_jitter();
        assert_eq!((retry.initial, retry.max, retry.max_retries, retry.factor), (secs(2), secs(9), 7, 3.0));
        assert_eq!((retry.jitter, retry.longest_hint()), (Jitter::Decorrelated, secs(5)));
        assert!(retry.even_nested && retry.budget.is_some());
        let retry = Retry::constant(secs(2)).full_jitter();
        assert_eq!((retry.jitter, retry.initial, retry.max), (Jitter::Full, secs(2), secs(2)));
        assert_eq!(Retry::default().factor(f64::NAN).factor, 2.0);
        assert_eq!(Retry::default().factor(0.5).factor, 1.0);
    }

    #[test]
    fn a_hint_is_slept_through_up_to_the_cap_and_spread_only_where_there_is_jitter() {
        let next =
            |retry: &Retry, hint| Schedule::new(retry).next(retry, Some(hint), Tick::ZERO, Tick::NEVER, u64::MAX);
        let retry = Retry::exponential(secs(1), secs(10));
        let Next::Wait(wait) = next(&retry, secs(3)) else { panic!() };
        assert!(wait > Duration::from_millis(3_900) && wait <= secs(4), "{wait:?}");
        assert_eq!(next(&retry, secs(10)), Next::Wait(secs(10)));
        assert_eq!(next(&retry.jitter(Jitter::None), secs(3)), Next::Wait(secs(3)));
    }

    #[test]
    fn a_wait_that_would_end_at_the_deadline_is_not_begun() {
        let retry = Retry::constant(secs(2));
        let next = |deadline| Schedule::new(&retry).next(&retry, None, Tick::ZERO, deadline, 0);
        assert_eq!(next(Tick::ZERO.after(secs(2))), Next::NoTime);
        assert_eq!(next(Tick::from_nanos(1).after(secs(2))), Next::Wait(secs(2)));
    }

    /// The textbook formulas, written again without the schedule's bookkeeping.
    fn model(retry: &Retry, retries: u32, previous: Duration, word: u64) -> Duration {
        let (initial, max) = (retry.initial.as_secs_f64(), retry.max.as_secs_f64());
        let cap = (initial * retry.factor.powi(retries as i32)).min(max);
        let random = (word >> 11) as f64 / 9_007_199_254_740_992.0;
        Duration::from_secs_f64(match retry.jitter {
            Jitter::None => cap,
            Jitter::Full => random * cap,
            Jitter::Decorrelated => (initial + random * (previous.as_secs_f64() * 3.0 - initial)).min(max),
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_formulas(
            initial in 1u64..5_000, max in 1u64..60_000, factor in 1.0f64..4.0, jitter in 0u8..3,
            words in prop::collection::vec(any::<u64>(), 1..12),
        ) {
            let jitter = [Jitter::None, Jitter::Full, Jitter::Decorrelated][usize::from(jitter)];
            let retry = Retry::exponential(Duration::from_millis(initial), Duration::from_millis(max))
                .factor(factor).jitter(jitter).max_retries(8);
            let got = waits(&retry, &words);
            prop_assert_eq!(got.len(), words.len().min(8));
            let mut previous = retry.initial;
            for (n, (wait, word)) in got.iter().zip(&words).enumerate() {
                let expected = model(&retry, n as u32, previous, *word);
                prop_assert!(wait.abs_diff(expected) < Duration::from_micros(1), "{n}: {wait:?} {expected:?}");
                prop_assert!(*wait <= retry.longest_wait());
                previous = *wait;
            }
        }

        #[test]
        fn no_wait_is_ever_shorter_than_the_hint_or_longer_than_the_longest(
            initial in 1u64..5_000, max in 1u64..60_000, hint in 0u64..90_000, room in 0u64..120_000,
            jitter in 0u8..3, word in any::<u64>(), max_hint in prop::option::of(0u64..90_000),
        ) {
            let jitter = [Jitter::None, Jitter::Full, Jitter::Decorrelated][usize::from(jitter)];
            let mut retry = Retry::exponential(Duration::from_millis(initial), Duration::from_millis(max)).jitter(jitter);
            retry.max_hint = max_hint.map(Duration::from_millis);
            let (hint, now) = (Duration::from_millis(hint), Tick::from_nanos(77));
            let deadline = now.after(Duration::from_millis(room));
            match Schedule::new(&retry).next(&retry, Some(hint), now, deadline, word) {
                Next::Wait(wait) => {
                    prop_assert!(wait >= hint);
                    prop_assert!(wait <= retry.longest_wait());
                    prop_assert!(now.after(wait) < deadline);
                }
                Next::Park { until } => {
                    prop_assert_eq!(until, now.after(hint));
                    prop_assert!(hint > retry.longest_hint() || until >= deadline);
                }
                Next::NoTime => prop_assert!(now.after(retry.max) >= deadline),
                Next::Exhausted => prop_assert!(false, "there are retries left"),
            }
        }
    }
}
