//! Windows over results that truly slide: each new result pushes the oldest out, in constant time and fixed memory.

use std::time::Duration;

use crate::{
    breaker::settings::Window,
    clock::{Tick, nanos},
};

/// How one call went, as far as a window is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) total: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

impl Counts {
    fn add(&mut self, mark: Mark) {
        self.total += 1;
        self.failed += u32::from(mark.failed);
        self.slow += u32::from(mark.slow);
    }

    fn subtract(&mut self, other: Counts) {
        self.total -= other.total;
        self.failed -= other.failed;
        self.slow -= other.slow;
    }
}

impl From<Mark> for Counts {
    fn from(mark: Mark) -> Self {
        let mut counts = Self::default();
        counts.add(mark);
        counts
    }
}

/// A sliding window.
#[derive(Debug)]
pub(super) enum Rolling {
    Calls(Ring),
    Time(Box<Buckets>),
}

impl Rolling {
    pub(super) fn new(window: Window) -> Self {
        match window {
            Window::Calls(calls) => Self::Calls(Ring::new(calls)),
            Window::Time(window) => Self::Time(Box::new(Buckets::new(window))),
        }
    }

    pub(super) fn push(&mut self, mark: Mark, now: Tick) -> Counts {
        match self {
            Self::Calls(ring) => ring.push(mark),
            Self::Time(buckets) => buckets.push(mark, now),
        }
    }

    /// Whether another quick success would leave it as it is: it would push out one like itself.
    pub(super) fn is_full_of_successes(&self) -> bool {
        match self {
            Self::Calls(ring) => ring.is_full() && ring.counts.failed == 0 && ring.counts.slow == 0,
            // Time pushes out here, so every call counts.
            Self::Time(_) => false,
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Calls(ring) => *ring = Ring::new(u32::try_from(ring.marks.len()).unwrap_or(u32::MAX)),
            Self::Time(buckets) => **buckets = Buckets { width: buckets.width, ..Buckets::new(Duration::ZERO) },
        }
    }

    /// Goes on over a new length with what it knows. Of a count window the newest results stay; a time window keeps
    /// its counts as if they were new; a change of kind begins empty.
    pub(super) fn resize(&mut self, window: Window) {
        match (self, window) {
            (Self::Calls(ring), Window::Calls(calls)) => ring.resize(calls),
            (Self::Time(buckets), Window::Time(window)) => buckets.resize(window),
            (this, window) => *this = Self::new(window),
        }
    }
}

const FAILED: u8 = 1;
const SLOW: u8 = 2;

/// The last so many calls, one byte each.
#[derive(Debug)]
pub(super) struct Ring {
    marks: Box<[u8]>,
    next: usize,
    counts: Counts,
}

impl Ring {
    fn new(calls: u32) -> Self {
        Self { marks: vec![0; calls.max(1) as usize].into(), next: 0, counts: Counts::default() }
    }

    fn is_full(&self) -> bool {
        self.counts.total as usize == self.marks.len()
    }

    fn push(&mut self, mark: Mark) -> Counts {
        let oldest = std::mem::replace(&mut self.marks[self.next], mark.pack());
        if self.is_full() {
            self.counts.subtract(Mark::unpack(oldest).into());
        }
        self.counts.add(mark);
        self.next = (self.next + 1) % self.marks.len();
        self.counts
    }

    fn resize(&mut self, calls: u32) {
        if calls.max(1) as usize == self.marks.len() {
            return;
        }
        let (len, held) = (self.marks.len(), self.counts.total as usize);
        let oldest_first = (0..held).map(|n| self.marks[(self.next + len - held + n) % len]);
        let mut resized = Self::new(calls);
        for mark in oldest_first {
            resized.push(Mark::unpack(mark));
        }
        *self = resized;
    }
}

impl Mark {
    fn pack(self) -> u8 {
        (u8::from(self.failed) * FAILED) | (u8::from(self.slow) * SLOW)
    }

    fn unpack(byte: u8) -> Self {
        Self { failed: byte & FAILED != 0, slow: byte & SLOW != 0 }
    }
}

const BUCKETS: usize = 60;

/// The calls of the last so much time, counted in sixty buckets of it: a result is forgotten between 59 and 60 sixtieths
/// of the window after it came.
#[derive(Debug)]
pub(super) struct Buckets {
    width: u64,
    /// The number, since the clock's zero, of the bucket that is being filled.
    newest: u64,
    buckets: [Counts; BUCKETS],
    counts: Counts,
}

impl Buckets {
    fn new(window: Duration) -> Self {
        Self {
            width: (nanos(window) / BUCKETS as u64).max(1),
            newest: 0,
            buckets: [Counts::default(); BUCKETS],
            counts: Counts::default(),
        }
    }

    fn push(&mut self, mark: Mark, now: Tick) -> Counts {
        self.advance(now);
        self.buckets[position(self.newest)].add(mark);
        self.counts.add(mark);
        self.counts
    }

    /// Forgets the buckets that time has left behind: at most sixty, however long ago the last call was.
    fn advance(&mut self, now: Tick) {
        let current = now.as_nanos() / self.width;
        let first = (self.newest + 1).max((current + 1).saturating_sub(BUCKETS as u64));
        for number in first..=current {
            let old = std::mem::take(&mut self.buckets[position(number)]);
            self.counts.subtract(old);
        }
        self.newest = self.newest.max(current);
    }

    fn resize(&mut self, window: Duration) {
        let mut resized = Self::new(window);
        if resized.width == self.width {
            return;
        }
        resized.newest = self.newest.saturating_mul(self.width) / resized.width;
        resized.buckets[position(resized.newest)] = self.counts;
        resized.counts = self.counts;
        *self = resized;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is below sixty")]
fn position(number: u64) -> usize {
    (number % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn mark() -> impl Strategy<Value = Mark> {
        (any::<bool>(), any::<bool>()).prop_map(|(failed, slow)| Mark { failed, slow })
    }

    fn count<'a>(marks: impl Iterator<Item = &'a Mark>) -> Counts {
        let mut counts = Counts::default();
        marks.for_each(|mark| counts.add(*mark));
        counts
    }

    proptest! {
        /// A list of everything, of which the end is looked at.
        #[test]
        fn a_count_window_is_the_last_calls(
            size in 1u32..40, resized in 1u32..40, marks in prop::collection::vec(mark(), 1..200), at in 0usize..200,
        ) {
            let mut window = Rolling::new(Window::Calls(size));
            let mut all: VecDeque<Mark> = VecDeque::new();
            let mut size = size as usize;
            for (n, mark) in marks.into_iter().enumerate() {
                if n == at {
                    window.resize(Window::Calls(resized));
                    // What the smaller window has forgotten does not come back.
                    while all.len() > size { all.pop_front(); }
                    size = resized as usize;
                }
                all.push_back(mark);
                let expected = count(all.iter().rev().take(size));
                prop_assert_eq!(window.push(mark, Tick::ZERO), expected);
            }
        }

        /// A list of everything with its bucket, of which the last sixty buckets are looked at.
        #[test]
        fn a_time_window_is_the_last_sixty_buckets(
            width in 1u64..50, calls in prop::collection::vec((0u64..2000, mark()), 1..200),
        ) {
            let mut window = Rolling::new(Window::Time(Duration::from_nanos(width * 60)));
            let mut all: Vec<(u64, Mark)> = Vec::new();
            let mut now = 0;
            for (wait, mark) in calls {
                now += wait;
                let bucket = now / width;
                all.push((bucket, mark));
                let expected = count(all.iter().filter(|(b, _)| b + 60 > bucket).map(|(_, m)| m));
                prop_assert_eq!(window.push(mark, Tick::from_nanos(now)), expected);
            }
        }
    }

    #[test]
    fn time_that_runs_backwards_counts_as_now() {
        let mut window = Rolling::new(Window::Time(Duration::from_nanos(60)));
        let bad = Mark { failed: true, slow: false };
        window.push(bad, Tick::from_nanos(1000));
        assert_eq!(window.push(bad, Tick::from_nanos(900)).failed, 2);
    }

    #[test]
    fn a_resized_time_window_keeps_its_counts() {
        let mut window = Rolling::new(Window::Time(Duration::from_secs(60)));
        let bad = Mark { failed: true, slow: false };
        let at = Tick::ZERO.after(Duration::from_secs(100));
        window.push(bad, at);
        window.resize(Window::Time(Duration::from_secs(30)));
        assert_eq!(window.push(bad, at).failed, 2);
        // As if they were new, by the new length: gone after half a minute, not after a whole one.
        assert_eq!(window.push(bad, at.after(Duration::from_secs(29))).failed, 3);
        assert_eq!(window.push(bad, at.after(Duration::from_secs(30))).failed, 2);
    }

    #[test]
    fn a_time_window_that_keeps_its_length_keeps_the_times_too() {
        let mut window = Rolling::new(Window::Time(Duration::from_secs(60)));
        let bad = Mark { failed: true, slow: false };
        let at = |seconds| Tick::ZERO.after(Duration::from_secs(seconds));
        window.push(bad, at(100));
        window.push(bad, at(130));
        window.resize(Window::Time(Duration::from_secs(60)));
        assert_eq!(window.push(bad, at(161)).failed, 2, "the first is gone");
    }
}
