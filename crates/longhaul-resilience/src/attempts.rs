//! How many attempts one piece of work has in all, over every call, retry and alternative that is made for it.
//!
//! Each layer bounds what it repeats itself: three retries of two targets are eight calls, and whoever asks such a stack
//! again because the answer was of no use makes sixteen of them. Attempts are a bound across the layers. They travel in
//! the context ([`Cx::attempts`](crate::Cx::attempts)); the innermost step counts each one that it makes, a retry layer
//! makes none that is not there, and who has alternatives keeps one back for each of them, so that the first choice
//! does not use up what the second would answer with.

use std::sync::Arc;

use crate::sync::{AtomicU32, Ordering};

/// A number of attempts, shared by its clones.
///
/// ```
/// use longhaul_resilience::Attempts;
///
/// let attempts = Attempts::new(3);
/// attempts.count();
/// assert_eq!(attempts.left(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Attempts(Arc<Purse>);

#[derive(Debug)]
struct Purse {
    left: AtomicU32,
    kept_back: AtomicU32,
}

impl Attempts {
    /// So many.
    pub fn new(most: u32) -> Self {
        Self(Arc::new(Purse { left: AtomicU32::new(most), kept_back: AtomicU32::new(0) }))
    }

    /// One is being made. What begins with none left is not stopped: who makes calls looks before.
    pub fn count(&self) {
        let one_less = |left: u32| left.checked_sub(1);
        let _ = self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }

    /// How many there are still.
    pub fn left(&self) -> u32 {
        self.0.left.load(Ordering::Relaxed)
    }

    /// From now on so many of them are for alternatives, and none of these is used to repeat; but never the last one.
    pub fn keep_back(&self, alternatives: u32) {
        self.0.kept_back.store(alternatives.min(self.left().saturating_sub(1)), Ordering::Relaxed);
    }

    /// Whether there is one to repeat a call with.
    pub(crate) fn may_repeat(&self) -> bool {
        self.left() > self.0.kept_back.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_back_for_alternatives_repeats_nothing() {
        let attempts = Attempts::new(3);
        attempts.keep_back(1);
        attempts.count();
        assert!(attempts.may_repeat());
        attempts.count();
        assert!(!attempts.may_repeat(), "the last one is for the alternative");
        attempts.keep_back(0);
        assert!(attempts.may_repeat());
        attempts.count();
        assert!(!attempts.may_repeat());
        attempts.count();
        assert_eq!(attempts.left(), 0);
    }

    #[test]
    fn there_is_always_one_for_the_first_choice() {
        let attempts = Attempts::new(2);
        attempts.keep_back(9);
        assert!(attempts.may_repeat());
        attempts.count();
        assert!(!attempts.may_repeat());
    }
}
