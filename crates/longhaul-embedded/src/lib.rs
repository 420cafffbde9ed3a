//! Durable jobs inside a program of your own: the engine and its SQLite store, typed handlers, no server.
//!
//! ```
//! use longhaul_embedded::{Failure, Longhaul};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Resize { path: String, width: u32 }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let data = directory.path();
//! let longhaul = Longhaul::builder(data)
//!     .handle("resize", |input: Resize| async move { Ok::<_, Failure>(format!("{}.{}.png", input.path, input.width)) })
//!     .start()
//!     .await?;
//! let job = longhaul.submit("resize", &Resize { path: "cat".into(), width: 200 }).await?;
//! let copy: String = longhaul.result(job).await?;
//! assert_eq!(copy, "cat.200.png");
//! longhaul.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! What [`Longhaul::submit`] has returned is on disk: a crash of the program at any instruction loses nothing, and the
//! next start with the same directory goes on. A handler runs at least once, and exactly one result is accepted; what
//! must not be done twice is a step ([`JobContext::step`]), for which a handler implements [`Handler`].
//!
//! The directory is one program's at a time. Everything else (deadlines, retries, priorities, history) is the engine's
//! own: [`Longhaul::engine`].

mod builder;
mod handler;

use std::sync::Arc;

use longhaul_core::{JobError, JobId, Span, Status, Tenant};
use longhaul_engine::{Rejected, Waited};
use serde::{Serialize, de::DeserializeOwned};

pub use builder::{Builder, StartError};
pub use handler::Handler;
pub use longhaul_core as core;
pub use longhaul_engine::{
    Engine, Failure, FieldError, JobContext, JobRequest,
    store::{JobView, StoreError},
};

/// How long a wait that has no end waits at a time.
const WAIT_AT_ONCE: Span = Span::from_secs(60);

/// How long running jobs get when the program stops.
const DRAIN: Span = Span::from_secs(30);

/// A running engine with your handlers. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Longhaul {
    engine: Engine,
    tenant: Tenant,
}

/// Why there is no job, or no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No handler takes this kind.
    #[error("no handler was given for the kind {0}")]
    UnknownKind(String),
    /// The handler's input type does not take this value.
    #[error("the input does not fit its handler: {}", said(.0))]
    Input(Vec<FieldError>),
    /// The value is no JSON.
    #[error("a value cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The program is stopping.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// The job failed.
    #[error("the job failed: {}: {}", .0.code, .0.message)]
    Failed(Box<JobError>),
    /// The job was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
}

fn said(errors: &[FieldError]) -> String {
    let each = errors.iter().map(|error| format!("{} {}", error.pointer, error.message));
    each.collect::<Vec<_>>().join("; ")
}

impl Longhaul {
    /// A program's jobs, kept in `directory`.
    pub fn builder(directory: impl Into<std::path::PathBuf>) -> Builder {
        Builder::new(directory.into())
    }

    fn of(engine: Engine) -> Self {
        Self { engine, tenant: Tenant::default_tenant() }
    }

    /// Submits a job. When this returns, it is on disk.
    ///
    /// # Errors
    /// When there is no such kind, the input does not fit its handler, or the store cannot take it.
    pub async fn submit(&self, kind: &str, input: &impl Serialize) -> Result<JobId, Error> {
        self.submit_request(JobRequest::of(kind, serde_json::to_vec(input)?)).await
    }

    /// Submits a job with all that can be said of one: a deadline, a priority, a time to begin.
    ///
    /// # Errors
    /// As [`Longhaul::submit`].
    pub async fn submit_request(&self, request: JobRequest) -> Result<JobId, Error> {
        let kind = request.kind.clone();
        let accepted = self.engine.submit(&self.tenant, vec![request], None).await?;
        accepted.jobs.first().copied().ok_or(Error::UnknownKind(kind))
    }

    /// Waits until the job has ended, and gives it.
    ///
    /// # Errors
    /// When there is no such job, or the store cannot be read.
    pub async fn wait(&self, job: JobId) -> Result<Arc<JobView>, Error> {
        loop {
            match self.engine.wait(&self.tenant, job, WAIT_AT_ONCE, None).await? {
                Waited::Now(view) if view.job.status().is_terminal() => return Ok(view),
                _ if self.engine.is_stopping() => return Err(Error::ShuttingDown),
                Waited::Now(_) | Waited::Unchanged => {}
            }
        }
    }

    /// Waits until the job has ended, and gives its output.
    ///
    /// # Errors
    /// As [`Longhaul::wait`]; and when the job failed, was cancelled, or its output is no `T`.
    pub async fn result<T: DeserializeOwned>(&self, job: JobId) -> Result<T, Error> {
        let view = self.wait(job).await?;
        match (&view.output, &view.job.error) {
            (Some(output), _) => Ok(serde_json::from_slice(&self.engine.payload(output).await?)?),
            (None, Some(error)) if view.job.status() == Status::Failed => Err(Error::Failed(Box::new(error.clone()))),
            (None, _) => Err(Error::Cancelled),
        }
    }

    /// Asks a job to stop.
    ///
    /// # Errors
    /// When there is no such job, or the store cannot take it.
    pub async fn cancel(&self, job: JobId) -> Result<Status, Error> {
        Ok(self.engine.cancel(&self.tenant, job).await?)
    }

    /// The engine itself, for everything else. Jobs submitted here belong to the tenant `default`.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Ends all work: running jobs get 30 seconds, the rest goes on at the next start, at no cost to it.
    pub async fn shutdown(&self) {
        self.engine.drain(DRAIN).await;
        self.engine.close().await;
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Store(error) => Error::Store(error),
            Rejected::ShuttingDown => Error::ShuttingDown,
            Rejected::Invalid(findings) => {
                let mut fields = Vec::new();
                for finding in findings {
                    match finding.flaw {
                        longhaul_engine::Flaw::UnknownKind { kind, .. } => return Error::UnknownKind(kind),
                        longhaul_engine::Flaw::Field(error) => fields.push(error),
                        longhaul_engine::Flaw::Input(errors) => fields.extend(errors),
                    }
                }
                Error::Input(fields)
            }
        }
    }
}
