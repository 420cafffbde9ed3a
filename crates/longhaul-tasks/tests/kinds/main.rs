//! The built-in kinds under the real engine: admission, dispatcher, leases, steps, with a store in memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod analysis;
mod checks;
mod ingest;
mod kit;
mod process;
mod search;
