//! The built-in kinds under the real engine: admission, dispatcher, leases, steps, with a store in memory.

mod analysis;
mod checks;
mod ingest;
mod kit;
mod process;
mod search;
