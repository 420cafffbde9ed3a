//! What an attempt has begun and not yet kept: a call outside that will be made again if the attempt ends now.
//!
//! Marks outlive the work that they are for. Work that is dropped, because its attempt is interrupted, because it is out
//! of time or because the executor itself has turned to something else, leaves its mark behind: nobody knows how far it
//! got. So whoever ends the attempt asks here, after the executor is gone, whether its end is `ambiguous`.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// The marks of one attempt. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<AtomicU32>);

impl InFlight {
    /// Something begins that may take effect outside.
    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One that had begun has come to its end, and what it came to is kept or told.
    pub(crate) fn settle(&self) {
        // Each end has a beginning before it in the same future.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether something has begun that did not come to its end.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}
