//! Chance that repeats, and waits drawn from it.

use std::time::Duration;

use serde::Deserialize;

/// No wait is longer, however a distribution falls out.
const LONGEST_MS: f64 = 24.0 * 3_600_000.0;

/// How long something takes, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Latency {
    /// Always the same.
    Fixed {
        /// So long.
        ms: f64,
    },
    /// Anything between, alike.
    Uniform {
        /// At least.
        min_ms: f64,
        /// At most.
        max_ms: f64,
    },
    /// As services are: most calls near the middle, a long tail (a log-normal distribution through both points).
    Percentiles {
        /// Half the calls are faster.
        p50_ms: f64,
        /// One call in a hundred is slower.
        p99_ms: f64,
    },
}

impl Latency {
    /// No time at all.
    pub const NONE: Self = Self::Fixed { ms: 0.0 };

    pub(super) fn draw(self, dice: &mut Dice) -> Duration {
        let milliseconds = match self {
            Self::Fixed { ms } => ms,
            Self::Uniform { min_ms, max_ms } => min_ms + (max_ms - min_ms).max(0.0) * dice.unit(),
            Self::Percentiles { p50_ms, p99_ms } => {
                // 2.326 standard deviations of a normal distribution lie below its 99th percentile.
                let sigma = (p99_ms.max(p50_ms) / p50_ms.max(f64::MIN_POSITIVE)).ln() / 2.326;
                p50_ms * (sigma * dice.normal()).exp()
            }
        };
        let milliseconds = if milliseconds.is_finite() { milliseconds.clamp(0.0, LONGEST_MS) } else { LONGEST_MS };
        Duration::from_micros((milliseconds * 1000.0) as u64)
    }
}

/// A source of chance that is the same every time: SplitMix64, seeded by an FNV-1a hash.
#[derive(Debug, Clone)]
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Self { state: 0xcbf2_9ce4_8422_2325 };
        dice.mix(&seed.to_le_bytes());
        dice
    }

    /// Lets something have its say in all that follows.
    pub(super) fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = (self.state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // Keeps `ab`, `c` apart from `a`, `bc`.
        self.state = (self.state ^ bytes.len() as u64).wrapping_mul(0x0100_0000_01b3);
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0, below 1.
    pub(super) fn unit(&mut self) -> f64 {
        // The 53 bits that a double holds exactly.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of so many. Zero of none.
    pub(super) fn below(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { (self.next() % count as u64) as usize }
    }

    /// Of a standard normal distribution (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_where_they_are_said_to_be() {
        let mut dice = Dice::new(7);
        let latency = Latency::Percentiles { p50_ms: 100.0, p99_ms: 1_000.0 };
        let mut drawn: Vec<f64> = (0..20_000).map(|_| latency.draw(&mut dice).as_secs_f64() * 1e3).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((90.0..110.0).contains(&drawn[10_000]), "p50 {}", drawn[10_000]);
        assert!((850.0..1_150.0).contains(&drawn[19_800]), "p99 {}", drawn[19_800]);
    }

    #[test]
    fn nonsense_is_bounded() {
        let mut dice = Dice::new(1);
        for latency in [
            Latency::Fixed { ms: f64::NAN },
            Latency::Fixed { ms: -5.0 },
            Latency::Percentiles { p50_ms: 0.0, p99_ms: 1.0 },
            Latency::Uniform { min_ms: 5.0, max_ms: 1.0 },
        ] {
            assert!(latency.draw(&mut dice) <= Duration::from_secs(24 * 3600));
        }
    }
}
