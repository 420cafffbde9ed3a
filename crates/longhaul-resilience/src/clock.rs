//! Where time comes from.
//!
//! Every layer asks the [`Clock`] of its [`Cx`](crate::Cx) and nothing else, so a test can hold time still and a
//! simulation can run a day in a second. A [`Tick`] is a point on one clock's own monotonic scale; it means nothing to
//! another clock or process. Wall time is read only to understand an HTTP date.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// A point in time on a clock's monotonic scale, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// The start of the scale.
    pub const ZERO: Tick = Tick(0);
    /// Later than every real point: the deadline of a call that has none.
    pub const NEVER: Tick = Tick(u64::MAX);

    /// The tick `nanos` nanoseconds after the start of the scale.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of the scale.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `wait` later; a sum beyond the scale is [`Tick::NEVER`].
    #[inline]
    pub fn after(self, wait: Duration) -> Self {
        self.after_nanos(nanos(wait))
    }

    #[inline]
    pub(crate) const fn after_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The time from `earlier` to here, zero if `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    #[inline]
    pub(crate) const fn nanos_since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("never");
        }
        write!(f, "+{:?}", Duration::from_nanos(self.0))
    }
}

/// A duration in nanoseconds, the largest `u64` if it is longer than 584 years.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    // Not by `as_nanos`, which multiplies in 128 bits: this is on the path of every call.
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// A wait that ends at a tick.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of time and of waits.
pub trait Clock: Send + Sync {
    /// Monotonic: never earlier than what it said before.
    fn now(&self) -> Tick;
    /// Wall time since the Unix epoch, for HTTP dates only.
    fn unix_time(&self) -> Duration;
    /// Ready once [`now`](Clock::now) has reached `at`, and then wakes its task.
    fn sleep_until(&self, at: Tick) -> Sleep;
}

/// The clock of the machine, through tokio: it stands still when tokio's time is paused.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The scale starts an hour before its first use: a test runtime with paused time may be some milliseconds behind the
/// runtime that asked first, and must not run into zero.
const HEAD_START: Duration = Duration::from_secs(3600);

/// By the machine's own clock, not tokio's: a runtime whose paused time was moved far ahead must not begin the scale for
/// those after it.
#[allow(clippy::disallowed_methods, reason = "the one place where the machine's monotonic clock is read")]
fn origin() -> tokio::time::Instant {
    static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        let now = std::time::Instant::now();
        now.checked_sub(HEAD_START).unwrap_or(now).into()
    })
}

#[allow(clippy::disallowed_methods, reason = "the one place where the machine's monotonic clock is read")]
fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Tick {
        Tick(nanos(instant().saturating_duration_since(origin())))
    }

    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's wall clock is read")]
    fn unix_time(&self) -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep_until(&self, at: Tick) -> Sleep {
        // Beyond what an Instant can hold means: never, as far as one process is concerned.
        match origin().checked_add(Duration::from_nanos(at.0)) {
            // Outside tokio's budget: a call that always has more to do spends all of it in every poll, and a timer that is
            // asked after it would say "not yet" for ever.
            Some(instant) => Box::pin(tokio::task::unconstrained(tokio::time::sleep_until(instant))),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// The clock of a context: the machine's without a reference count, or any other shared.
#[derive(Clone, Default)]
pub(crate) enum Time {
    #[default]
    System,
    Shared(Arc<dyn Clock>),
}

impl Time {
    #[inline]
    pub(crate) fn now(&self) -> Tick {
        match self {
            Time::System => SystemClock.now(),
            Time::Shared(clock) => clock.now(),
        }
    }

    pub(crate) fn unix_time(&self) -> Duration {
        match self {
            Time::System => SystemClock.unix_time(),
            Time::Shared(clock) => clock.unix_time(),
        }
    }

    pub(crate) fn sleep_until(&self, at: Tick) -> Sleep {
        match self {
            Time::System => SystemClock.sleep_until(at),
            Time::Shared(clock) => clock.sleep_until(at),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Time::System => "System",
            Time::Shared(_) => "Shared",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_beyond_the_scale_is_never() {
        assert_eq!(Tick::from_nanos(5).after(Duration::MAX), Tick::NEVER);
        assert_eq!(Tick::from_nanos(5).since(Tick::from_nanos(9)), Duration::ZERO);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "looks at tokio's paused clock")]
    fn a_runtime_whose_time_was_moved_far_ahead_does_not_begin_the_scale_for_the_next() {
        let paused = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        paused().block_on(async {
            tokio::time::advance(Duration::from_secs(10 * 3600)).await;
            SystemClock.now();
        });
        paused().block_on(async {
            let (began, from) = (SystemClock.now(), tokio::time::Instant::now());
            SystemClock.sleep_until(began.after(Duration::from_millis(100))).await;
            assert!(from.elapsed() < Duration::from_secs(1), "{:?}", from.elapsed());
        });
    }

    #[tokio::test(start_paused = true)]
    async fn the_system_clock_stands_still_with_tokio() {
        let before = SystemClock.now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(SystemClock.now().since(before), Duration::from_secs(5));
        SystemClock.sleep_until(before.after(Duration::from_secs(9))).await;
        assert_eq!(SystemClock.now().since(before), Duration::from_secs(9));
    }
}
