//! Staying within so many requests and tokens per minute.
//!
//! Both are reserved together before the call and in one step: a call never holds a request while it waits for tokens.
//! The tokens are an estimate; when the call has ended they are set right to what it used. A call that is dropped while
//! it waits, or turned away further in, gives everything back.
//!
//! Callers wait in the order in which they came, and whoever is polled hands out what has become free to those whose
//! turn it is: a waiter that is held without being polled blocks nobody.

mod bucket;
mod handle;
mod layer;
mod queue;

pub use handle::LimitHandle;
pub use layer::{Actual, By, Estimate, Limit, LimitStep};
