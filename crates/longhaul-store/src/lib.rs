//! Keeping jobs: the [`JobStore`] port in the words of the domain, and the stores behind it.
//!
//! The store owns the truth. It is told *what* shall happen and decides by [`longhaul_core::Job::step`] *whether* it
//! may; it numbers events, issues leases and alone judges whether one still holds. Everything that a caller is told has
//! been committed before.
//!
//! Two stores share one ledger: SQLite in a directory, and memory for tests. Both pass the suite in `conformance`
//! (behind the feature of that name), which is written against the port, so that another store can be held to it.
//!
//! Only this crate knows SQL.

pub mod blob;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod ledger;
mod memory;
mod port;
mod sqlite;

pub use error::StoreError;
pub use ledger::StoreClock;
pub use memory::MemoryStore;
pub use port::*;
pub use sqlite::{Check, Fault, OpenError, SqliteOptions, SqliteStore, Verification};
