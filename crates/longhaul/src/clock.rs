//! The one place where this crate reads a clock.
//!
//! The command line is a leaf: it measures and shows real time. Functions that only compute take `now` as a parameter.

use std::time::Duration;

use jiff::Timestamp;

/// A point on the monotonic clock, to measure from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts to measure.
    #[allow(clippy::disallowed_methods, reason = "the command line's own clock; it measures real time")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// How long ago it was started.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// The time of day, to show how long ago something was.
#[allow(clippy::disallowed_methods, reason = "the command line's own clock; it shows real time")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Nanoseconds since the Unix epoch: a time that two processes of one machine agree on.
#[allow(clippy::disallowed_methods, reason = "the command line's own clock; a benchmark compares two processes by it")]
pub(crate) fn wall_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
