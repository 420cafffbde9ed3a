//! The decisions of adaptive concurrency: how many calls at once the service takes without queueing them.
//!
//! After TCP Vegas (Brakmo and Peterson, 1994): the quickest call of late shows how long the work itself takes; whatever
//! calls take beyond that, they spend in a queue inside the service. The length of that queue follows, and the limit
//! goes up while it is short and down while it is long. Failures for lack of capacity bring it down by a tenth.
//!
//! The quickest time is forgotten in turns and measured anew at half the limit, else a service that became slower for
//! good would look overloaded for ever, and one that is overloaded would look slow.

use std::time::Duration;

/// How many calls make one step.
const SAMPLES: u32 = 20;
/// After so many steps the limit is halved for one step, to see how quick a call is without company.
const STEPS_PER_PROBE: u32 = 50;
/// A queue shorter than this is too short, one longer than twice this too long.
const QUEUE: f64 = 3.0;

#[derive(Debug)]
pub(super) struct Vegas {
    limit: f64,
    min: f64,
    max: f64,
    quickest: Option<Duration>,
    window_quickest: Option<Duration>,
    window_total: Duration,
    samples: u32,
    dropped: bool,
    steps: u32,
    /// The limit to return to after a probe.
    probing_from: Option<f64>,
}

impl Vegas {
    pub(super) fn new(initial: u32, min: u32, max: u32) -> Self {
        let (min, max) = (f64::from(min.max(1)), f64::from(max.max(min).max(1)));
        Self {
            limit: f64::from(initial).clamp(min, max),
            min,
            max,
            quickest: None,
            window_quickest: None,
            window_total: Duration::ZERO,
            samples: 0,
            dropped: false,
            steps: 0,
            probing_from: None,
        }
    }

    /// The limit now.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped between one and u32::MAX")]
    pub(super) fn limit(&self) -> u32 {
        let limit = if self.probing_from.is_some() { (self.limit / 2.0).max(self.min) } else { self.limit };
        limit.round() as u32
    }

    /// A call ended: in `took`, or for lack of capacity. `in_use` is how many were under way. Says whether the limit
    /// may have changed.
    pub(super) fn sample(&mut self, took: Duration, lacked_capacity: bool, in_use: u32) -> bool {
        if lacked_capacity {
            self.dropped = true;
        } else {
            self.window_quickest = Some(self.window_quickest.map_or(took, |quickest| quickest.min(took)));
            self.window_total += took;
        }
        self.samples += 1;
        // A step needs as many calls as go at once, else it looks at a part of one round.
        if self.samples < SAMPLES.max(self.limit()) {
            return false;
        }
        self.step(in_use);
        self.window_quickest = None;
        self.window_total = Duration::ZERO;
        (self.samples, self.dropped) = (0, false);
        true
    }

    fn step(&mut self, in_use: u32) {
        self.steps += 1;
        if let Some(limit) = self.probing_from.take() {
            self.quickest = self.window_quickest.or(self.quickest);
            self.limit = limit;
            return;
        }
        if self.dropped {
            self.limit = (self.limit * 0.9).max(self.min);
            return;
        }
        let Some(window_quickest) = self.window_quickest else { return };
        let quickest = self.quickest.map_or(window_quickest, |quickest| quickest.min(window_quickest));
        self.quickest = Some(quickest);
        let average = self.window_total.as_secs_f64() / f64::from(self.samples);
        if average > 0.0 {
            let queue = self.limit * (1.0 - quickest.as_secs_f64() / average);
            // A limit that is not reached says nothing about being too low.
            let reached = f64::from(in_use) * 2.0 >= self.limit;
            if queue < QUEUE && reached {
                self.limit = (self.limit + (self.limit.log10().max(1.0) * 2.0)).min(self.max);
            } else if queue > 2.0 * QUEUE {
                self.limit = (self.limit - self.limit.log10().max(1.0)).max(self.min);
            }
        }
        if self.steps.is_multiple_of(STEPS_PER_PROBE) {
            self.probing_from = Some(self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that takes `base` for up to `knee` calls at once, and queues the rest.
    fn run(vegas: &mut Vegas, knee: f64, base: Duration, calls: u32) -> Vec<u32> {
        let mut limits = vec![];
        for n in 0..calls {
            let at_once = vegas.limit();
            let wobble = 1.0 + f64::from(n * 7 % 5) / 100.0;
            let took = base.mul_f64((f64::from(at_once) / knee).max(1.0) * wobble);
            vegas.sample(took, false, at_once);
            if vegas.probing_from.is_none() {
                limits.push(vegas.limit());
            }
        }
        limits.split_off(limits.len() / 2)
    }

    #[test]
    fn it_settles_within_a_fifth_of_the_knee() {
        for knee in [30.0, 60.0, 100.0] {
            let mut vegas = Vegas::new(20, 1, 400);
            for limit in run(&mut vegas, knee, Duration::from_millis(50), 100_000) {
                assert!((f64::from(limit) - knee).abs() <= knee / 5.0, "{limit} at a knee of {knee}");
            }
        }
    }

    #[test]
    fn it_follows_a_knee_that_moves_and_a_service_that_becomes_slower() {
        let mut vegas = Vegas::new(20, 1, 400);
        run(&mut vegas, 100.0, Duration::from_millis(50), 100_000);
        for limit in run(&mut vegas, 40.0, Duration::from_millis(200), 200_000) {
            assert!((32..=48).contains(&limit), "{limit}");
        }
    }

    #[test]
    fn failures_for_lack_of_capacity_bring_it_down_but_not_below_its_least() {
        let mut vegas = Vegas::new(100, 5, 400);
        let mut before = vegas.limit();
        for _ in 0..10_000 {
            vegas.sample(Duration::ZERO, true, 1);
            assert!(vegas.limit() <= before);
            before = vegas.limit();
        }
        assert_eq!(vegas.limit(), 5);
    }

    #[test]
    fn a_step_takes_as_many_calls_as_go_at_once_and_some_steps_look_at_half_the_limit() {
        let mut vegas = Vegas::new(30, 30, 30);
        for _ in 0..STEPS_PER_PROBE {
            assert_eq!(vegas.limit(), 30);
            assert!((1..30).all(|_| !vegas.sample(Duration::from_millis(50), false, 30)));
            assert!(vegas.sample(Duration::from_millis(50), false, 30), "the thirtieth");
        }
        assert_eq!(vegas.limit(), 30, "not below the least");
        let mut vegas = Vegas::new(30, 1, 30);
        let halved = (0..30 * (STEPS_PER_PROBE + 1)).find(|_| {
            vegas.sample(Duration::from_millis(50), false, 30);
            vegas.limit() == 15
        });
        assert_eq!(halved, Some(30 * STEPS_PER_PROBE - 1));
    }

    /// The limit after one step at 1,000, where calls without company take 100 ms.
    fn after_a_step(average_micros: u64, in_use: u32) -> f64 {
        let mut vegas = Vegas::new(1_000, 1, 2_000);
        let average = Duration::from_micros(average_micros);
        vegas.quickest = Some(Duration::from_millis(100));
        (vegas.window_quickest, vegas.window_total, vegas.samples) = (Some(average), average * 10, 10);
        vegas.step(in_use);
        vegas.limit
    }

    #[test]
    fn a_short_queue_raises_the_limit_a_long_one_lowers_it_and_one_between_leaves_it() {
        assert_eq!(after_a_step(100_200, 1_000), 1_006.0, "two in the queue");
        assert_eq!(after_a_step(100_550, 1_000), 1_000.0, "five");
        assert_eq!(after_a_step(101_000, 1_000), 997.0, "ten");
        assert_eq!(after_a_step(100_200, 500), 1_006.0);
        assert_eq!(after_a_step(100_200, 499), 1_000.0, "not even half of it was used");
        assert_eq!(after_a_step(0, 1_000), 1_000.0, "too quick to tell");
    }

    #[test]
    fn a_limit_that_is_not_reached_does_not_grow() {
        let mut vegas = Vegas::new(20, 1, 400);
        for _ in 0..900 {
            vegas.sample(Duration::from_millis(50), false, 2);
        }
        assert_eq!(vegas.limit(), 20);
    }
}
