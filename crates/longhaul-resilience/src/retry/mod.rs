//! Trying again what may succeed the next time.
//!
//! - Only [`Class::Transient`](crate::Class::Transient) and [`Class::Throttled`](crate::Class::Throttled) results are
//!   tried again; never what a layer further in turned away, and never once output has reached the caller
//!   ([`Cx::commit`](crate::Cx::commit)).
//! - Waits grow exponentially with jitter, and are never shorter than what the service asked for. If it
//!   asks for more than is sensible to sleep, or than the deadline leaves, the call ends with
//!   [`Why::Park`](crate::Why::Park), and says until when.
//! - A shared [`RetryBudget`] keeps a failing service from being hit harder than a healthy one.
//! - Where stacks are nested only the outermost retry layer repeats: three layers with three retries each would
//!   otherwise make 64 calls of one ([`Retry::even_nested`] turns this off).
//! - No wait and no attempt begins that cannot fit before the deadline, and the last real error survives.

mod budget;
mod layer;
mod schedule;

pub use budget::RetryBudget;
pub use layer::{RetryHandle, RetryStep};
pub use schedule::{Jitter, Retry};
