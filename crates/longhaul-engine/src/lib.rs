//! The engine: takes jobs in, runs them, and sees to it that each comes to an end.
//!
//! It knows no SQL, no HTTP and no models. Truth is in the store; what the engine keeps in memory (who runs here, who
//! waits for what) can be lost at any instruction and is rebuilt from the store at the next start.
//!
//! ```text
//!  submit ──► admission ──► store ──► (202)
//!                             │ claim, waiting in the store
//!                         dispatcher ──► executor of the kind ──► store.finish, fenced
//!                             ▲
//!        maintenance: sweeps what is due, beats for running jobs, prunes what retention no longer keeps
//! ```
//!
//! - [`Engine`] is the handle that everybody clones; [`EngineOptions`] starts one.
//! - [`Executor`] is what a built-in kind implements; [`JobContext`] is what it gets.
//! - [`hub`] wakes whoever waits for a job, and keeps what those who follow one are about to read; [`Follow`] is such a
//!   reader.
//! - [`family`] is about parents and children, [`emit`] about output while it comes into being.
//! - [`stats`] counts what comes and goes, [`feed`] tells all of a queue's events to whoever asks.
//! - [`elsewhere`] keeps what other servers on the same store register.
//! - [`remote`] is what a worker elsewhere asks for, [`outside`] how that gets there or comes back.

mod admission;
mod chunks;
mod clock;
mod context;
mod dispatch;
mod elsewhere;
mod emit;
mod engine;
mod executor;
mod family;
mod feed;
mod follow;
mod hub;
mod in_flight;
mod kinds;
mod maintenance;
mod outside;
mod remote;
mod running;
mod stats;

/// What the engine's calls take and give in the words of the store, for those above who do not know the store itself.
pub mod store {
    pub use longhaul_store::{
        BatchFigures, Beat, BeatAnswer, Blocker, Change, Child, Document, EndFigures, EndedAttempt, Held, Idempotency,
        JobPage, JobQuery, JobStore, JobView, Observer, Partial, QueueState, StoreError, StoredStep, Tombstone, blob,
    };
}

pub use admission::{Accepted, Finding, Flaw, JobRequest, Rejected};
pub use chunks::Chunk;
pub use clock::SystemClock;
pub use context::JobContext;
pub use elsewhere::{Elsewhere, Lookout};
pub use engine::{Engine, EngineOptions, KindOverride, Waited};
pub use executor::{Completed, Executor, Failure, NamedKind};
pub use feed::QueueFeed;
pub use follow::{Follow, Followed};
pub use hub::{Hub, Present};
pub use kinds::{Check, FieldError, KindInfo, SchemaCompiler};
pub use outside::Granted;
pub use remote::{Completion, RemoteClaim, RemoteJob};
pub use stats::{Counts, Percentiles, QueueCounts, Window};
