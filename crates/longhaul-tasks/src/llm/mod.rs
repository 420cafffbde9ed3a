//! `llm.chat`, `llm.response`, `llm.embeddings`: calls to models as jobs.
//!
//! An input is the body that the route of that name takes, an output the body of its whole answer; both are read and
//! written by `longhaul-providers`. Here it is decided what a call means for its job:
//!
//! - **Retries belong to the model's stack.** A job of these kinds has one attempt, so the engine runs it again only after
//!   a crash or a park, and retries never multiply.
//! - **What says when to come again parks the job**, durably and without a worker: a provider's `Retry-After` that is
//!   not worth sleeping for, our own limits, an open breaker, too many calls at once.
//! - **What the layers decided is told** as an event of the job, and usage, cost and who answered stand in its report.
//!
//! Dropping an executor's future, as a cancel does, drops the call and closes the provider's connection.
//!
//! [`stored`] says how a response is a job, for those who look for one.

pub(crate) mod call;
pub(crate) mod chat;
mod embeddings;
pub(crate) mod failure;
mod frames;
mod kept;
pub(crate) mod pointer;
mod response;
pub mod stored;

use std::sync::Arc;

use longhaul_engine::Executor;
use longhaul_gateway::Gateway;

pub use call::{FRESH, report};
pub use chat::Chat;
pub use embeddings::Embeddings;
pub use frames::EventJoiner;
pub use kept::Keeper;
pub use response::Response;
pub use stored::{KEPT, RESPONSE};

/// The kinds that call the models of this gateway.
pub fn executors(gateway: &Gateway) -> Vec<Arc<dyn Executor>> {
    vec![
        Arc::new(Chat::new(gateway.clone())),
        Arc::new(Embeddings::new(gateway.clone())),
        Arc::new(Response::new(gateway.clone())),
        Arc::new(Keeper::default()),
    ]
}
