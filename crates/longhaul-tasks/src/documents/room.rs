//! How much text of one document is kept.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for so many letters of one document. Once a page has not fitted in, nothing does: what comes out of a document is
/// its beginning, and not whatever happened to be short enough.
///
/// Pages are read several at once; whether they are kept is judged one after the other, in their order, whatever the order
/// in which they were read. Whoever reads may look whether there is room at all: if there is none, a page before it has
/// used it up.
#[derive(Debug)]
pub(super) struct Room {
    max: usize,
    left: AtomicUsize,
}

impl Room {
    pub(super) fn of(max: usize) -> Self {
        Self { max, left: AtomicUsize::new(max) }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn is_full(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Whether the next page is kept, which has so many letters.
    pub(super) fn takes(&self, chars: usize) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        let rest = left.checked_sub(chars).filter(|_| left > 0);
        self.left.store(rest.unwrap_or(0), Ordering::Relaxed);
        rest.is_some()
    }

    /// The next page is left out without being looked at, and with it all that follow.
    pub(super) fn close(&self) {
        self.left.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_closes_it_for_all_that_follows() {
        let room = Room::of(10);
        assert!(room.takes(4) && room.takes(6));
        assert!(room.is_full() && !room.takes(0));
        let room = Room::of(10);
        assert_eq!((room.takes(4), room.takes(7), room.takes(1), room.is_full()), (true, false, false, true));
        let room = Room::of(10);
        room.close();
        assert_eq!((room.takes(0), room.is_full()), (false, true));
    }
}
