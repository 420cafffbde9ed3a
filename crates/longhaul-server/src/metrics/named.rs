//! Counters by name, where the names come from outside.
//!
//! Whoever may submit jobs names queues and registers kinds. A page must not grow with what they think of: the first so
//! many names are told as they are, all later ones together as `other`. What has a name of its own keeps it until the
//! process ends, so that no counter ever goes back.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

/// What all names beyond the bound are told as.
pub(super) const OTHER: &str = "other";

/// Counters of each name.
#[derive(Debug)]
pub(super) struct Named<T> {
    most: usize,
    known: RwLock<HashMap<Box<str>, Arc<T>>>,
    other: OnceLock<Arc<T>>,
}

impl<T: Default> Named<T> {
    /// At most so many names have counters of their own.
    pub(super) fn at_most(most: usize) -> Self {
        Self { most, known: RwLock::new(HashMap::new()), other: OnceLock::new() }
    }

    /// The counters of a name.
    pub(super) fn of(&self, name: &str) -> Arc<T> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return known.clone();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(name) {
            return known.clone();
        }
        if known.len() >= self.most || name == OTHER {
            return self.other.get_or_init(Arc::default).clone();
        }
        let new = Arc::<T>::default();
        known.insert(name.into(), new.clone());
        new
    }

    /// All names with their counters, in the order of the alphabet; `other` comes last, when it is used.
    pub(super) fn all(&self) -> Vec<(Box<str>, Arc<T>)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.iter().map(|(name, counters)| (name.clone(), counters.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.extend(self.other.get().map(|other| (OTHER.into(), other.clone())));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::instruments::Counter;

    #[test]
    fn names_beyond_the_bound_are_told_together_and_the_first_keep_theirs() {
        let named = Named::<Counter>::at_most(2);
        for (name, count) in [("a", 1), ("b", 2), ("c", 4), ("d", 8), ("a", 16), ("other", 32)] {
            named.of(name).add(count);
        }
        let all: Vec<(String, u64)> = named.all().iter().map(|(name, count)| (name.to_string(), count.get())).collect();
        assert_eq!(all, [("a".into(), 17), ("b".into(), 2), ("other".into(), 44)]);
    }
}
