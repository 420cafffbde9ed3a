//! The temper of a simulated provider.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::latency::{Dice, Latency};

/// How the provider behaves. Everything left out is as in [`SimSettings::default`]: quick and faultless.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimSettings {
    /// Another seed, other fates.
    pub seed: u64,
    /// Until the first token.
    pub first_token: Latency,
    /// How fast tokens follow.
    pub tokens_per_second: f64,
    /// The shortest answer.
    pub min_tokens: u32,
    /// The longest answer, unless the request allows less.
    pub max_tokens: u32,
    /// What goes wrong, and in which share of calls (0 to 1).
    pub faults: BTreeMap<Fault, f64>,
    /// What a throttled call is told to wait.
    pub retry_after_ms: u64,
    /// Between two bytes of a dripping answer.
    pub drip_ms: f64,
}

impl Default for SimSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            first_token: Latency::Percentiles { p50_ms: 120.0, p99_ms: 600.0 },
            tokens_per_second: 80.0,
            min_tokens: 12,
            max_tokens: 60,
            faults: BTreeMap::new(),
            retry_after_ms: 1_000,
            drip_ms: 1_000.0,
        }
    }
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// 429, with `Retry-After` and the `x-ratelimit-` headers of a used-up allowance.
    RateLimited,
    /// 500.
    ServerError,
    /// 503.
    Overloaded,
    /// No head ever comes.
    Hang,
    /// The answer begins and goes silent.
    Stall,
    /// The connection breaks in the middle of the answer.
    Cut,
    /// The answer is no JSON.
    Malformed,
    /// A page where an answer should be, with status 200.
    WrongContentType,
    /// An error inside a good status.
    LateError,
    /// The answer comes a byte at a time.
    Drip,
}

impl SimSettings {
    /// Settings with a name: `quick` (no waits), `steady` (the default), `slow`, `flaky` (one call in five fails in
    /// some way).
    pub fn preset(name: &str) -> Option<Self> {
        let steady = Self::default();
        Some(match name {
            "quick" => Self { first_token: Latency::NONE, tokens_per_second: f64::INFINITY, ..steady },
            "steady" => steady,
            "slow" => Self {
                first_token: Latency::Percentiles { p50_ms: 3_000.0, p99_ms: 20_000.0 },
                tokens_per_second: 8.0,
                ..steady
            },
            "flaky" => Self {
                faults: BTreeMap::from([
                    (Fault::RateLimited, 0.06),
                    (Fault::ServerError, 0.04),
                    (Fault::Overloaded, 0.03),
                    (Fault::Cut, 0.03),
                    (Fault::Malformed, 0.02),
                    (Fault::LateError, 0.01),
                    (Fault::Hang, 0.01),
                ]),
                ..steady
            },
            _ => return None,
        })
    }

    /// The fate of one call.
    pub(super) fn fault(&self, dice: &mut Dice) -> Option<Fault> {
        let mut at = dice.unit();
        for (fault, share) in &self.faults {
            if at < *share {
                return Some(*fault);
            }
            at -= share;
        }
        None
    }
}
