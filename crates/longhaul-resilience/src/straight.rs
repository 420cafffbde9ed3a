//! Counting a call once that went straight through many layers.
//!
//! Most calls succeed at the first attempt and wait nowhere. All layers then see the same beginning, the same end and the
//! same outcome, and counting that in each of them would be the largest part of what a stack costs. So the layers only
//! pass a [`Run`] on: the innermost begins it, each next one that saw the same adds itself, and when the run is over it
//! is counted once, at its topmost layer. What a layer has counted is then its own count and that of all runs which
//! reached it; nothing is estimated.
//!
//! Invariants: a run covers the layers from the innermost up to one of them, without a gap. Whoever saw anything else
//! (a failure, a wait, another time) counts itself and leaves the run where it is; a run that is dropped is counted.
//! A run belongs to one call at a time: calls that are under way side by side are given one each. Were it otherwise, a
//! count could be lost, and nothing else.

use std::{fmt, sync::OnceLock};

use crate::{
    clock::Tick,
    histogram::{Counts, Histogram},
    sync::{AtomicU32, AtomicU64, Ordering},
};

const SEALED: u32 = 1 << 31;

/// The runs of one stack, by the layer at which they ended.
pub(crate) struct Straight {
    /// How many layers there are, and in the top bit whether no more are taken in.
    layers: AtomicU32,
    /// One for each layer, the innermost first. Made when the stack is first called: then all layers are known.
    ended_at: OnceLock<Box<[Histogram]>>,
}

impl Default for Straight {
    fn default() -> Self {
        Self { layers: AtomicU32::new(0), ended_at: OnceLock::new() }
    }
}

impl Straight {
    /// The number of a layer that came when the stack had been called already: no run reaches it, it counts itself.
    pub(crate) const ALONE: u32 = u32::MAX;

    /// Another layer, around those there are; returns how many are within it, or [`Self::ALONE`].
    pub(crate) fn enlist(&self) -> u32 {
        let join = |layers: u32| (layers & SEALED == 0).then_some(layers + 1);
        self.layers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, join).unwrap_or(Self::ALONE)
    }

    #[inline]
    fn ended_at(&self) -> &[Histogram] {
        self.ended_at.get_or_init(|| {
            let layers = self.layers.fetch_or(SEALED, Ordering::Relaxed) & !SEALED;
            (0..layers).map(|_| Histogram::default()).collect()
        })
    }

    #[cfg(all(test, longhaul_loom))]
    pub(crate) fn places(&self) -> u32 {
        u32::try_from(self.ended_at().len()).unwrap_or(u32::MAX)
    }

    /// Adds the calls that went straight through the layer with `within` layers inside it.
    pub(crate) fn add_to(&self, within: u32, counts: &mut Counts) {
        self.ended_at().iter().skip(within as usize).for_each(|runs| runs.add_to(counts));
    }
}

/// One call on its way back through the layers.
pub(crate) struct Run<'a> {
    straight: &'a Straight,
    /// How many layers it has passed.
    layers: AtomicU32,
    began: AtomicU64,
    ended: AtomicU64,
}

impl<'a> Run<'a> {
    #[inline]
    pub(crate) fn new(straight: &'a Straight) -> Self {
        Self { straight, layers: AtomicU32::new(0), began: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }

    /// The layer with `within` layers inside it saw a success. Says whether the run counts it; if not, the layer must.
    #[inline(always)]
    pub(crate) fn passes(&self, within: u32, began: Tick, ended: Tick) -> bool {
        // Plain loads and stores: see the invariants.
        let layers = self.layers.load(Ordering::Relaxed);
        if within == 0 {
            if layers != 0 {
                self.count(layers);
            }
            self.began.store(began.as_nanos(), Ordering::Relaxed);
            self.ended.store(ended.as_nanos(), Ordering::Relaxed);
        } else if layers != within
            || self.began.load(Ordering::Relaxed) != began.as_nanos()
            || self.ended.load(Ordering::Relaxed) != ended.as_nanos()
        {
            return false;
        }
        self.layers.store(within + 1, Ordering::Relaxed);
        true
    }

    #[inline]
    fn count(&self, layers: u32) {
        if let Some(runs) = self.straight.ended_at().get(layers as usize - 1) {
            let (began, ended) = (self.began.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
            runs.record_nanos(ended.saturating_sub(began));
        }
    }
}

impl Drop for Run<'_> {
    #[inline]
    fn drop(&mut self) {
        let layers = self.layers.load(Ordering::Relaxed);
        if layers != 0 {
            self.count(layers);
        }
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({} layers)", self.layers.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: [Tick; 3] = [Tick::from_nanos(1_000), Tick::from_nanos(2_000), Tick::from_nanos(3_000)];

    fn straight(layers: u32) -> Straight {
        let straight = Straight::default();
        (0..layers).for_each(|n| assert_eq!(straight.enlist(), n));
        straight
    }

    fn counted(straight: &Straight, layers: u32) -> Vec<u64> {
        let count = |within| {
            let mut counts = Counts::default();
            straight.add_to(within, &mut counts);
            counts.total()
        };
        (0..layers).map(count).collect()
    }

    #[test]
    fn a_run_is_counted_in_every_layer_that_it_reached() {
        let straight = straight(4);
        let run = Run::new(&straight);
        assert!((0..3).all(|within| run.passes(within, AT[0], AT[1])));
        assert_eq!(counted(&straight, 4), [0; 4], "not over yet");
        drop(run);
        assert_eq!(counted(&straight, 4), [1, 1, 1, 0]);
    }

    #[test]
    fn whoever_saw_another_time_or_a_gap_counts_itself() {
        let straight = straight(4);
        let run = Run::new(&straight);
        assert!(!run.passes(1, AT[0], AT[1]), "nothing has begun");
        assert!(run.passes(0, AT[0], AT[1]));
        assert!(!run.passes(2, AT[0], AT[1]), "one was left out");
        assert!(!run.passes(1, AT[1], AT[1]), "began later");
        assert!(!run.passes(1, AT[0], AT[2]), "ended later");
        assert!(run.passes(1, AT[0], AT[1]));
        assert!(!run.passes(1, AT[0], AT[1]), "twice");
        drop(run);
        assert_eq!(counted(&straight, 4), [1, 1, 0, 0]);
    }

    #[test]
    fn a_second_attempt_begins_anew_and_the_first_is_counted() {
        let straight = straight(2);
        let run = Run::new(&straight);
        run.passes(0, AT[0], AT[1]);
        run.passes(0, AT[1], AT[2]);
        run.passes(1, AT[1], AT[2]);
        drop(run);
        assert_eq!(counted(&straight, 2), [2, 1]);
    }

    #[test]
    fn a_layer_that_came_after_the_first_call_counts_itself() {
        let straight = straight(1);
        drop(Run::new(&straight));
        straight.add_to(0, &mut Counts::default());
        let late = straight.enlist();
        let run = Run::new(&straight);
        assert!(run.passes(0, AT[0], AT[1]));
        assert!(!run.passes(late, AT[0], AT[1]));
        drop(run);
        assert_eq!(counted(&straight, 1), [1]);
    }
}
