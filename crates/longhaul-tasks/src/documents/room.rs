//! How much text of one document is kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use longhaul_documents::PageError;

use crate::TaskError;

/// Room for so many letters of one document. Once a page has not fitted in, nothing does: what comes out of a document is
/// its beginning, and not whatever happened to be short enough.
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

    /// Whether a page of so many letters is kept.
    pub(super) fn takes(&self, chars: usize) -> bool {
        let fits = |left: usize| left.checked_sub(chars);
        let is_taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if !is_taken {
            self.left.store(0, Ordering::Relaxed);
        }
        is_taken
    }

    /// An earlier attempt has kept a page of so many letters, or left it out.
    pub(super) fn was_taken(&self, chars: usize, error: Option<&TaskError>) {
        let was_full = error.is_some_and(|error| error.code == PageError::LeftOut { page: 0, max: 0 }.code());
        let taken = if was_full { usize::MAX } else { chars };
        let less = |left: usize| Some(left.saturating_sub(taken));
        // The function always gives a value.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_closes_it_for_all_that_follows() {
        let room = Room::of(10);
        assert!(room.takes(4) && room.takes(6));
        let room = Room::of(10);
        assert_eq!((room.takes(4), room.takes(7), room.takes(1), room.is_full()), (true, false, false, true));
    }

    #[test]
    fn a_later_attempt_goes_on_where_an_earlier_one_was() {
        let room = Room::of(10);
        room.was_taken(8, None);
        assert_eq!((room.is_full(), room.takes(3)), (false, false));
        let room = Room::of(10);
        room.was_taken(0, Some(&TaskError::new("page_left_out", "")));
        assert!(room.is_full());
    }
}
