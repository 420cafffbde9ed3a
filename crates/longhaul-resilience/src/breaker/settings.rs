//! What a breaker opens for, how long it stays open, and how it closes again.

use std::time::Duration;

/// Over which calls a failure rate is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last so many calls.
    Calls(u32),
    /// The calls of the last so much time, to a sixtieth of it.
    Time(Duration),
}

/// The settings of a breaker.
///
/// ```
/// use longhaul_resilience::Breaker;
/// use std::time::Duration;
///
/// let simple = Breaker::consecutive(5).open_for(Duration::from_secs(60)).successes(2);
/// let by_rate = Breaker::rate(0.5).window(Duration::from_secs(30)).min_calls(20).probes(2);
/// # let _ = (simple, by_rate);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a layer does nothing until it is part of a stack"]
pub struct Breaker {
    pub(crate) consecutive: Option<u32>,
    pub(crate) rate: Option<f64>,
    pub(crate) slow: Option<(Duration, f64)>,
    pub(crate) window: Window,
    pub(crate) min_calls: u32,
    pub(crate) open_for: Duration,
    pub(crate) max_open_for: Option<Duration>,
    pub(crate) successes: u32,
    pub(crate) probes: u32,
    pub(crate) probe_ttl: Duration,
}

impl Default for Breaker {
    /// Opens after 5 failures in a row, for 60 seconds; one probe at a time; closes after 2 successes.
    fn default() -> Self {
        Self::consecutive(5)
    }
}

impl Breaker {
    /// The longest count window: what a window costs is its length in bytes.
    pub const MAX_WINDOW_CALLS: u32 = 1 << 20;

    const BASE: Breaker = Breaker {
        consecutive: None,
        rate: None,
        slow: None,
        window: Window::Calls(100),
        min_calls: 20,
        open_for: Duration::from_secs(60),
        max_open_for: None,
        successes: 2,
        probes: 1,
        probe_ttl: Duration::from_secs(60),
    };

    /// Opens after so many failures in a row; at least one.
    pub fn consecutive(failures: u32) -> Self {
        Self { consecutive: Some(failures.max(1)), ..Self::BASE }
    }

    /// Opens when this part of the calls in the window (0 to 1) has failed. The window is the last 100 calls unless set.
    pub fn rate(rate: f64) -> Self {
        Self { rate: Some(sane_rate(rate)), ..Self::BASE }
    }

    /// Opens after so many failures in a row as well.
    pub fn or_consecutive(self, failures: u32) -> Self {
        Self { consecutive: Some(failures.max(1)), ..self }
    }

    /// Opens as well when this part of the calls in the window took `slower_than` or longer.
    pub fn slow_calls(self, slower_than: Duration, rate: f64) -> Self {
        Self { slow: Some((slower_than, sane_rate(rate))), ..self }
    }

    /// Rates are taken over this much time.
    pub fn window(self, window: Duration) -> Self {
        Self { window: Window::Time(window.max(Duration::from_millis(1))), ..self }
    }

    /// Rates are taken over the last so many calls, 1 to [`Breaker::MAX_WINDOW_CALLS`].
    pub fn window_calls(self, calls: u32) -> Self {
        Self { window: Window::Calls(calls.clamp(1, Self::MAX_WINDOW_CALLS)), ..self }
    }

    /// No rate is taken of fewer calls than this. Never more than a count window holds.
    pub fn min_calls(self, calls: u32) -> Self {
        Self { min_calls: calls.max(1), ..self }
    }

    /// How long it stays open before it lets a probe through.
    pub fn open_for(self, open_for: Duration) -> Self {
        Self { open_for, ..self }
    }

    /// Stays open twice as long after every probe that fails, up to `max`.
    pub fn open_for_growing_to(self, max: Duration) -> Self {
        Self { max_open_for: Some(max), ..self }
    }

    /// So many probes must succeed, without a failure between, for it to close; at least one.
    pub fn successes(self, successes: u32) -> Self {
        Self { successes: successes.max(1), ..self }
    }

    /// So many probes may be under way at once; at least one.
    pub fn probes(self, probes: u32) -> Self {
        Self { probes: probes.max(1), ..self }
    }

    /// A probe that has not ended after this time loses its place to another; its result counts all the same when it
    /// comes. 60 seconds unless set.
    pub fn probe_ttl(self, ttl: Duration) -> Self {
        Self { probe_ttl: ttl, ..self }
    }

    pub(crate) fn has_window(&self) -> bool {
        self.rate.is_some() || self.slow.is_some()
    }
}

fn sane_rate(rate: f64) -> f64 {
    if rate.is_finite() { rate.clamp(f64::MIN_POSITIVE, 1.0) } else { 1.0 }
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are turned away.
    Open,
    /// Some calls go through, to see.
    HalfOpen,
}

impl BreakerState {
    /// `closed`, `open` or `half_open`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum BreakerMode {
    /// The results.
    #[default]
    Auto,
    /// A person: every call is turned away.
    ForcedOpen,
    /// A person: every call goes through, and no result counts.
    ForcedClosed,
    /// The results move the state, but no call is turned away: for trying settings out.
    Shadow,
}
