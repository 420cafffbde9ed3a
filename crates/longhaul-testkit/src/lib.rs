//! What proves Longhaul from outside: a history checker, a harness that runs and kills the built program, a load.
//!
//! Nothing here shares code with what it judges. The [`history`] checker knows the published life of a job only from
//! the HTTP contract, so a mistake in the engine's own state machine cannot hide in it. Panics are kept out of this
//! crate as well: a harness reports, a test decides.
//!
//! * [`history`]: what a load did and saw, kept durably, and the judgement over it.
//! * [`server`]: the built program as a child process that can be started, killed and started again.
//! * [`client`]: a small HTTP client that tells "was never sent" from "nobody knows".
//! * [`load`]: a client that writes down everything it does.
//! * [`storm`]: that load, and the killer.
//! * [`upstream`]: a provider that is broken in every way that providers are.
//! * [`script`]: a provider that answers by a script, and counts.
//! * [`collector`]: what takes traces, and a provider that keeps what it is told of them.
//! * [`files`]: as many open files as a test needs.
//! * [`fixture`]: documents, good and broken, made on the spot.

pub mod client;
pub mod collector;
pub mod files;
pub mod fixture;
pub mod history;
pub mod load;
pub mod script;
pub mod server;
pub mod storm;
pub mod upstream;
