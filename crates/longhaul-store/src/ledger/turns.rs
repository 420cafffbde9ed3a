//! Whose turn it is: start-time fair queueing (P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queuing", SIGCOMM 1996).
//!
//! Everybody who shares has a time of its own, which a turn moves on by one over its weight; whoever's time is the least
//! goes next. The clock of all is the time of whoever went last. Whoever was idle starts at the clock: so it goes soon,
//! but gathers no credit for the turns that it did not want.

use std::{collections::HashMap, hash::Hash};

/// What a turn costs at weight 1. Weights up to this are told apart.
const TURN: u64 = 1 << 20;

/// How many are remembered before those are looked for who need not be: at most twice as many as need to be, and this.
const KEPT_LEAST: usize = 4_096;

/// The times of those who share something.
#[derive(Debug, Clone)]
pub(crate) struct Turns<K> {
    clock: u64,
    /// Of those that are ahead of the clock; all others stand at it.
    ahead: HashMap<K, u64>,
    /// From so many on, it is looked for those who need not be remembered.
    tidy_at: usize,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { clock: 0, ahead: HashMap::new(), tidy_at: KEPT_LEAST }
    }
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// When the next turn of `who` begins: the least goes first.
    pub(crate) fn next_of(&self, who: &K) -> u64 {
        self.ahead.get(who).map_or(self.clock, |ahead| self.clock.max(*ahead))
    }

    /// Whether `who` has to wait for others before its next turn begins.
    #[cfg(any(feature = "postgres", test))]
    pub(crate) fn is_ahead(&self, who: &K) -> bool {
        self.ahead.get(who).is_some_and(|ahead| *ahead > self.clock)
    }

    /// `who` has had a turn; says when its next begins.
    pub(crate) fn take(&mut self, who: &K, weight: u32) -> u64 {
        let begun = self.next_of(who);
        self.clock = begun;
        let next = begun + (TURN / u64::from(weight.max(1))).max(1);
        match self.ahead.get_mut(who) {
            Some(ahead) => *ahead = next,
            None => {
                if self.ahead.len() >= self.tidy_at {
                    self.ahead.retain(|_, ahead| *ahead > begun);
                    self.tidy_at = (2 * self.ahead.len()).max(KEPT_LEAST);
                }
                self.ahead.insert(who.clone(), next);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Lets all of them want turns all the time, and counts who gets how many.
    fn share(
        turns: &mut Turns<&'static str>,
        wanting: &[(&'static str, u32)],
        count: usize,
    ) -> BTreeMap<&'static str, usize> {
        let mut got = BTreeMap::new();
        for _ in 0..count {
            let (who, weight) = wanting.iter().min_by_key(|(who, _)| turns.next_of(who)).unwrap();
            turns.take(who, *weight);
            *got.entry(*who).or_default() += 1;
        }
        got
    }

    #[test]
    fn turns_are_shared_by_weight() {
        let got = share(&mut Turns::default(), &[("a", 1), ("b", 2), ("c", 5)], 800);
        assert_eq!(got, BTreeMap::from([("a", 100), ("b", 200), ("c", 500)]));
    }

    #[test]
    fn whoever_comes_back_goes_at_once_and_then_takes_its_share_and_no_more() {
        let mut turns = Turns::default();
        share(&mut turns, &[("a", 1)], 1_000);
        let got = share(&mut turns, &[("a", 1), ("b", 1)], 2);
        assert!(got.contains_key("b"), "{got:?}");
        let got = share(&mut turns, &[("a", 1), ("b", 1)], 100);
        assert_eq!((got["a"], got["b"]), (50, 50));
    }

    #[test]
    fn those_who_want_nothing_any_more_are_forgotten() {
        let mut turns: Turns<u32> = Turns::default();
        // All at the same time, so that each is ahead of the clock, and then one that moves it on.
        for who in (0..20_000).chain([0; 10]).chain(20_000..50_000) {
            turns.take(&who, 1);
        }
        assert!(turns.ahead.len() <= 30_010, "{}", turns.ahead.len());
        assert_eq!(turns.next_of(&7), turns.clock);
    }
}
