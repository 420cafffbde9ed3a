//! Answers kept for a time: the fastest and cheapest layer, and so the outermost.
//!
//! - An answer is *fresh* for [`CachePolicy::ttl`]. After that it may be served once more while a refresh runs
//!   ([`stale_while_revalidate`](CachePolicy::stale_while_revalidate)), or when the call fails
//!   ([`stale_if_error`](CachePolicy::stale_if_error)).
//! - However many callers miss the same key at once, one call is made. It belongs to all who wait: it goes
//!   on while any of them is left, and is dropped with the last.
//! - Errors are never kept. A degraded answer is not kept either, unless
//!   [`degraded_ttl`](CachePolicy::degraded_ttl) says for how long.
//! - A hit touches nothing further in: it never waits for a place, a limit or a breaker.
//!
//! Use it as a layer of a stack ([`Cache::keyed`]), or as a plain thing around any future ([`CacheHandle`]).

mod flight;
mod handle;
mod layer;
mod memory;
mod normalise;
mod policy;
mod store;

#[cfg(all(test, longhaul_loom))]
pub(crate) use flight::{FlightForModels, flight_for_models};
pub use handle::{CacheHandle, Got, How};
pub use layer::{Cache, CachedStep};
pub use memory::Memory;
pub use normalise::normalised;
pub use policy::{CachePolicy, Scenario};
pub use store::{Found, Lifetime, Store};
