//! The kinds that call models, under the real engine and the real gateway, with a provider on loopback that answers by a
//! script and keeps a ledger.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod agent;
mod analysis;
mod approvals;
mod documents;
mod kit;
mod process;
mod refusals;
mod tools;
