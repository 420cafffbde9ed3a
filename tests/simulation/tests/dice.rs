//! All chance of a simulation, from one seed, in the order in which it is asked for.

use std::sync::{Arc, Mutex};

use longhaul_core::{IdSource, Span};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// The one source of chance. Clones draw from the same.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    pub(crate) fn of(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// 0 to `sides` - 1.
    pub(crate) fn below(&self, sides: usize) -> usize {
        ((u128::from(self.random()) * sides as u128) >> 64) as usize
    }

    /// True in `percent` of 100 draws.
    pub(crate) fn percent(&self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn between(&self, least: Span, most: Span) -> Span {
        let width = (most.as_micros() - least.as_micros()) as usize;
        Span::from_micros(least.as_micros() + self.below(width + 1) as u64)
    }

    pub(crate) fn up_to(&self, most: Span) -> Span {
        self.between(Span::ZERO, most)
    }

    /// One of `from`; none, when there is none.
    pub(crate) fn one<T: Clone>(&self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())).cloned() }
    }
}

impl IdSource for Dice {
    fn random(&self) -> u64 {
        self.0.lock().unwrap().next_u64()
    }
}
