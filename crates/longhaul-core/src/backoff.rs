//! How long a failed job waits before its next attempt: full jitter.
//!
//! The wait is drawn evenly from nothing to `initial · 2^(failures − 1)`, capped. Spreading over the whole range is what
//! keeps jobs that failed together from returning together (M. Brooker, "Exponential Backoff And Jitter", AWS
//! Architecture Blog, 2015).

use serde::{Deserialize, Serialize};

use crate::Span;

/// Full-jitter exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The most the first wait can be.
    pub initial_ms: u64,
    /// The most any wait can be.
    pub max_ms: u64,
}

impl Default for Backoff {
    /// From one second to five minutes.
    fn default() -> Self {
        Self { initial_ms: 1_000, max_ms: 300_000 }
    }
}

impl Backoff {
    /// The longest wait after `failures` failures.
    pub fn ceiling(&self, failures: u32) -> Span {
        let doublings = failures.saturating_sub(1).min(63);
        Span::from_millis(self.initial_ms.saturating_mul(1 << doublings).min(self.max_ms))
    }

    /// The wait after `failures` failures; `random` places it between nothing and the ceiling.
    pub fn wait(&self, failures: u32, random: u64) -> Span {
        let ceiling = u128::from(self.ceiling(failures).as_micros());
        Span::from_micros(u64::try_from((ceiling * u128::from(random)) >> 64).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_wait_is_longer_than_its_ceiling_or_the_cap(failures in 0u32..200, random: u64) {
            let backoff = Backoff::default();
            prop_assert!(backoff.wait(failures, random) <= backoff.ceiling(failures));
            prop_assert!(backoff.ceiling(failures) <= Span::from_secs(300));
        }
    }

    #[test]
    fn the_ceiling_doubles_from_one_second_to_five_minutes() {
        let ceilings: Vec<u64> = (1..=10).map(|n| Backoff::default().ceiling(n).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    }
}
