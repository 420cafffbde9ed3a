//! So many calls at once, and no more than so many waiting for a place.
//!
//! Places are handed over in the order in which callers came: a place that becomes free is given to the first who waits
//! before anyone new can take it. A caller who is dropped, waiting or working, gives its place back.

mod adaptive;
mod gate;
mod layer;
mod vegas;

pub use adaptive::{Adaptive, AdaptiveHandle, AdaptiveStep};
pub use gate::BulkheadHandle;
pub use layer::{Bulkhead, BulkheadStep};

/// What the models need of the gate, in words that do not leave this module otherwise.
#[cfg(all(test, longhaul_loom))]
pub(crate) mod gate_for_models {
    use std::task::{Context, Poll};

    use super::{BulkheadHandle, gate};

    pub(crate) enum Came {
        Inside,
        Waits(u64),
        Full,
    }

    pub(crate) fn come(gate: &BulkheadHandle) -> Came {
        match gate.come() {
            gate::Came::Inside => Came::Inside,
            gate::Came::Waits(id) => Came::Waits(id),
            gate::Came::Full => Came::Full,
        }
    }

    pub(crate) fn poll(gate: &BulkheadHandle, id: u64, task: &Context<'_>) -> Poll<()> {
        gate.poll(id, task)
    }

    pub(crate) fn give_up(gate: &BulkheadHandle, id: u64) {
        gate.give_up(id);
    }

    pub(crate) fn leave(gate: &BulkheadHandle) {
        gate.leave();
    }
}
