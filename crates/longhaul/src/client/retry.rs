//! How often a request is repeated, and how long the pause before it is.

use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The longest that a server's `Retry-After` is slept; a person sits in front of it.
const LONGEST_TOLD: Duration = Duration::from_secs(10);

/// Repetitions with full-jitter backoff: before try `n + 1` a random part of `first × 2^(n-1)`, at most `most`.
#[derive(Debug)]
pub struct Retries {
    /// How many tries there are in all.
    pub tries: u32,
    /// The longest pause after the first try.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    random: Mutex<StdRng>,
}

impl Retries {
    /// Three tries, pauses up to 0.25 s and 0.5 s.
    #[must_use]
    pub fn standard(random: StdRng) -> Self {
        Self { tries: 3, first: Duration::from_millis(250), most: Duration::from_secs(2), random: Mutex::new(random) }
    }

    /// The pause after the given failed try: what the server told, else backoff.
    #[must_use]
    pub fn pause_after(&self, attempt: u32, told: Option<Duration>) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        let ceiling = self.first.saturating_mul(1 << doublings).min(self.most);
        let share = {
            let mut random = self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            random.random_range(0.0..1.0)
        };
        let jitter = ceiling.mul_f64(share);
        match told {
            // Never earlier than told, and not all at the same moment.
            Some(told) => told.min(LONGEST_TOLD) + jitter,
            None => jitter,
        }
    }

    /// Sleeps that long.
    pub async fn pause(&self, attempt: u32, told: Option<Duration>) {
        tokio::time::sleep(self.pause_after(attempt, told)).await;
    }

    /// A key that no other submission has: 128 random bits in hexadecimal.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let mut random = self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        format!("cli-{:032x}", random.random::<u128>())
    }
}

impl Default for Retries {
    /// [`Retries::standard`], seeded from the operating system.
    fn default() -> Self {
        Self::standard(StdRng::from_rng(&mut rand::make_rng::<StdRng>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_ceiling_and_never_undercut_what_was_told() {
        let retries = Retries::standard(StdRng::seed_from_u64(7));
        for attempt in 1..40 {
            assert!(retries.pause_after(attempt, None) <= Duration::from_secs(2));
            let told = retries.pause_after(attempt, Some(Duration::from_secs(3)));
            assert!(told >= Duration::from_secs(3), "{told:?}");
        }
        assert!(retries.pause_after(1, None) <= Duration::from_millis(250));
        assert!(retries.pause_after(1, Some(Duration::from_secs(900))) <= Duration::from_secs(11));
    }
}
