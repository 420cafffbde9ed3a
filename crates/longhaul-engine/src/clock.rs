//! The machine's clock.
//!
//! Within a process time never goes back and never jumps: [`SystemClock`] counts on the monotonic clock, and follows the
//! wall clock by going a little faster or slower. A wall clock that is set, or a machine that was suspended, thus neither
//! ends leases early nor starts a rush; and a server that runs for months does not drift away from the time of day.

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use longhaul_core::{Clock, Span, Timestamp};

/// How often the two clocks are compared, at most.
const COMPARE_EVERY: Duration = Duration::from_secs(1);

/// In what time a difference is made up, if that is not faster than allowed.
const MADE_UP_IN: Duration = Duration::from_secs(10);

/// How much faster time may go to catch up, in millionths: a lease of thirty seconds then lasts twenty, and is renewed
/// every ten.
const FASTER: i64 = 500_000;

/// How much slower it may go to wait for the wall clock, in millionths.
const SLOWER: i64 = 100_000;

/// The longest single sleep: how late a timer can be because time went faster meanwhile.
const LONGEST_SLEEP: Span = Span::from_secs(15);

/// Where the time of day and the monotonic clock stood together, and how they go on from there.
#[derive(Debug, Clone, Copy)]
struct Course {
    /// The time we gave out.
    time: Timestamp,
    /// The monotonic clock then.
    at: Duration,
    /// What is added to each second for the next [`MADE_UP_IN`], in microseconds.
    correction: i64,
}

impl Course {
    fn new(wall: Timestamp) -> Self {
        Self { time: wall, at: Duration::ZERO, correction: 0 }
    }

    /// The time when the monotonic clock stands at `monotonic`.
    fn time_at(&self, monotonic: Duration) -> Timestamp {
        let passed = monotonic.saturating_sub(self.at);
        let corrected =
            passed.min(MADE_UP_IN).as_micros().saturating_mul(self.correction.unsigned_abs().into()) / 1_000_000;
        let corrected = Span::from_micros(u64::try_from(corrected).unwrap_or(u64::MAX));
        let uncorrected = self.time + Span::from(passed);
        if self.correction < 0 { uncorrected - corrected } else { uncorrected + corrected }
    }

    /// The course from here on, when the wall clock says `wall`. What [`Course::time_at`] said until now stays true.
    fn compared(&self, monotonic: Duration, wall: Timestamp) -> Self {
        let time = self.time_at(monotonic);
        let behind = wall.as_micros().saturating_sub(time.as_micros());
        let seconds = i64::try_from(MADE_UP_IN.as_secs()).unwrap_or(i64::MAX);
        Self { time, at: monotonic, correction: (behind / seconds).clamp(-SLOWER, FASTER) }
    }
}

/// The machine's time: the wall clock read at the start, the monotonic clock from there on, and gently after the wall
/// clock where the two part.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    course: Mutex<Course>,
}

impl SystemClock {
    /// Reads the clocks.
    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's clocks are read")]
    pub fn start() -> Self {
        Self { started: Instant::now(), course: Mutex::new(Course::new(wall())) }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place where the machine's clocks are read")]
fn wall() -> Timestamp {
    Timestamp::EPOCH + Span::from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: whoever comes later sees a later time.
        let monotonic = self.started.elapsed();
        if monotonic.saturating_sub(course.at) >= COMPARE_EVERY {
            *course = course.compared(monotonic, wall());
        }
        course.time_at(monotonic)
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // At least once: whoever asks gives way.
            loop {
                let left = at.since(self.now());
                if left == Span::ZERO {
                    tokio::task::yield_now().await;
                } else {
                    // Outside tokio's budget: asked after work that spends all of it, it would say "not yet" for ever.
                    tokio::task::unconstrained(tokio::time::sleep(left.min(LONGEST_SLEEP).into())).await;
                }
                if self.now() >= at {
                    return;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::EPOCH + Span::from_secs(seconds)
    }

    /// Compares every second from `from` for `for_s` seconds with a wall clock that is `ahead` seconds ahead.
    fn run(mut course: Course, from: u64, for_s: u64, ahead: u64) -> Course {
        for now in from..from + for_s {
            course = course.compared(Duration::from_secs(now), seconds(now + ahead));
        }
        course
    }

    #[test]
    fn a_wall_clock_that_is_set_forward_is_caught_up_with_at_half_the_pace_again() {
        let before = run(Course::new(seconds(0)), 0, 10, 0);
        assert_eq!(before.time_at(Duration::from_secs(9)), seconds(9));
        // A minute ahead from the tenth second on.
        let soon = run(before, 10, 20, 60);
        assert_eq!(soon.time_at(Duration::from_secs(29)).as_millis() / 100, 380 + 5, "half a second each second");
        let late = run(soon, 30, 400, 60);
        let apart = seconds(429 + 60).since(late.time_at(Duration::from_secs(429)));
        assert!(apart < Span::from_millis(1), "{apart:?}");
    }

    #[test]
    fn a_wall_clock_that_is_set_back_is_waited_for_and_time_goes_on() {
        let course = Course::new(seconds(100)).compared(Duration::from_secs(10), seconds(50));
        assert_eq!(course.time_at(Duration::from_secs(10)), seconds(110));
        assert_eq!(course.time_at(Duration::from_secs(20)), seconds(119));
        assert_eq!(course.time_at(Duration::from_secs(30)), seconds(129), "no longer than it was meant for");
    }

    #[test]
    fn drift_is_made_up() {
        // The machine's oscillator is 50 millionths slow, for a day.
        let mut course = Course::new(seconds(0));
        for second in 0..86_400 {
            let monotonic = Duration::from_micros(second * 999_950);
            course = course.compared(monotonic, seconds(second));
        }
        let apart = seconds(86_399).since(course.time_at(Duration::from_micros(86_399 * 999_950)));
        assert!(apart < Span::from_millis(2), "{apart:?}");
    }

    proptest! {
        #[test]
        fn time_never_goes_back(steps in prop::collection::vec((0_u64..20_000_000, 0_u64..4_000_000_000), 1..40)) {
            let mut course = Course::new(seconds(1_000));
            let (mut monotonic, mut last) = (Duration::ZERO, Timestamp::EPOCH);
            for (passed, wall) in steps {
                monotonic += Duration::from_micros(passed);
                let before = course.time_at(monotonic);
                prop_assert!(before >= last);
                course = course.compared(monotonic, Timestamp::from_micros(i64::try_from(wall).expect("small")));
                prop_assert_eq!(course.time_at(monotonic), before);
                last = before;
            }
        }
    }
}
