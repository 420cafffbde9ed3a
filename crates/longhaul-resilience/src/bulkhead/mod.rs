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
