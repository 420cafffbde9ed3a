//! Randomness that replays: SplitMix64 over one shared counter.
//!
//! Jitter, hedging and chaos need numbers that differ between callers and nothing more. One atomic addition per number
//! makes it safe to share, and the same seed gives the same numbers in the same order.

use crate::sync::{AtomicU64, Ordering};

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A seeded stream of random numbers, shared by reference.
#[derive(Debug)]
pub struct Dice {
    state: AtomicU64,
}

impl Dice {
    /// The stream of `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// A stream that differs from process to process: keyed by the standard library's own hash seed.
    pub fn unpredictable() -> Self {
        use std::hash::{BuildHasher, Hasher};
        Self::seeded(std::collections::hash_map::RandomState::new().build_hasher().finish())
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&self) -> u64 {
        mix(self.state.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed).wrapping_add(GOLDEN_GAMMA))
    }

    /// The next number in `0.0..1.0`.
    pub fn unit(&self) -> f64 {
        unit(self.next_u64())
    }
}

/// Maps a random word into `0.0..1.0`, by its upper 53 bits.
#[allow(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
pub(crate) fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (a, b) = (Dice::seeded(7), Dice::seeded(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Dice::seeded(7).next_u64(), Dice::seeded(8).next_u64());
    }

    #[test]
    fn units_fill_their_range_evenly() {
        let dice = Dice::seeded(1);
        let mut tenths = [0u32; 10];
        for _ in 0..100_000 {
            tenths[(dice.unit() * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|&n| (9_500..10_500).contains(&n)), "{tenths:?}");
    }
}
