//! Counters by name, where the names come from outside.
//!
//! Whoever may submit jobs names queues and registers kinds. A page must not grow with what they think of: the first so
//! many names are told as they are, all later ones together as `other`. What has a name of its own keeps it until the
//! process ends, so that no counter ever goes back.
//!
//! Names of the operator's are [reserved](Named::reserve): they count against no bound, so that nobody who makes names up
//! can push them into `other`. Whoever reserves answers for their number.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

/// What all names beyond the bound are told as.
pub(super) const OTHER: &str = "other";

/// Counters of each name.
#[derive(Debug)]
pub(super) struct Named<T> {
    most: usize,
    known: RwLock<Known<T>>,
    other: OnceLock<Arc<T>>,
}

#[derive(Debug)]
struct Known<T> {
    counters: HashMap<Box<str>, Arc<T>>,
    /// Names that get counters of their own whenever they come.
    reserved: HashSet<Box<str>>,
    /// How many counters have names that nobody has reserved.
    made_up: usize,
}

impl<T: Default> Named<T> {
    /// At most so many names that are not reserved have counters of their own.
    pub(super) fn at_most(most: usize) -> Self {
        let known = Known { counters: HashMap::new(), reserved: HashSet::new(), made_up: 0 };
        Self { most, known: RwLock::new(known), other: OnceLock::new() }
    }

    /// From now on this name has counters of its own, however many others there are. What was told of it as `other` stays
    /// there.
    pub(super) fn reserve(&self, name: &str) {
        if name == OTHER || self.is_reserved(name) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.reserved.insert(name.into()) && known.counters.contains_key(name) {
            known.made_up = known.made_up.saturating_sub(1);
        }
    }

    fn is_reserved(&self, name: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).reserved.contains(name)
    }

    /// The counters of a name.
    pub(super) fn of(&self, name: &str) -> Arc<T> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).counters.get(name) {
            return known.clone();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.counters.get(name) {
            return known.clone();
        }
        if !known.reserved.contains(name) {
            if known.made_up >= self.most || name == OTHER {
                return self.other.get_or_init(Arc::default).clone();
            }
            known.made_up += 1;
        }
        let new = Arc::<T>::default();
        known.counters.insert(name.into(), new.clone());
        new
    }

    /// All names with their counters, in the order of the alphabet; `other` comes last, when it is used.
    pub(super) fn all(&self) -> Vec<(Box<str>, Arc<T>)> {
        let mut all: Vec<_> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.counters.iter().map(|(name, counters)| (name.clone(), counters.clone())).collect()
        };
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.extend(self.other.get().map(|other| (OTHER.into(), other.clone())));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::instruments::Counter;

    fn told(named: &Named<Counter>) -> Vec<(String, u64)> {
        named.all().iter().map(|(name, count)| (name.to_string(), count.get())).collect()
    }

    #[test]
    fn names_beyond_the_bound_are_told_together_and_the_first_keep_theirs() {
        let named = Named::<Counter>::at_most(2);
        for (name, count) in [("a", 1), ("b", 2), ("c", 4), ("d", 8), ("a", 16), ("other", 32)] {
            named.of(name).add(count);
        }
        assert_eq!(told(&named), [("a".into(), 17), ("b".into(), 2), ("other".into(), 44)]);
    }

    #[test]
    fn names_that_are_made_up_do_not_push_out_those_that_are_reserved() {
        let named = Named::<Counter>::at_most(2);
        named.reserve("mine");
        for (name, count) in [("a", 1), ("b", 2), ("c", 4), ("mine", 8)] {
            named.of(name).add(count);
        }
        // Reserved late: what was counted together stays so, and no counter goes back.
        named.reserve("c");
        named.of("c").add(16);
        // One that has its counters already makes room for another.
        named.reserve("a");
        named.of("d").add(32);
        named.of("e").add(64);
        let sums = [("a", 1), ("b", 2), ("c", 16), ("d", 32), ("mine", 8), ("other", 68)];
        assert_eq!(told(&named), sums.map(|(name, count)| (name.to_owned(), count)));
    }
}
