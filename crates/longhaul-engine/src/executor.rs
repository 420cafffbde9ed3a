//! What a built-in kind implements.

use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::{JobError, KindSpec, Report, RetryPlan, Wait};
use longhaul_store::StoreError;

use crate::{Check, JobContext};

/// Runs the jobs of one kind within the server's process.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// The kind, its schemas, and how its jobs are run unless a submit says otherwise.
    fn kind(&self) -> &KindSpec;

    /// Checks an input before the job is accepted. None: every JSON value is one.
    fn check(&self) -> Option<&dyn Check> {
        None
    }

    /// Other kinds that an input names, each with the place where it does: one that its tenant does not have is refused
    /// before the job is accepted.
    fn kinds_named(&self, input: &str) -> Vec<NamedKind> {
        let _ = input;
        Vec::new()
    }

    /// Whether the outputs of children that were submitted with a job are put into its input, as `children`.
    fn takes_child_outputs(&self) -> bool {
        true
    }

    /// Runs one attempt. Dropped at any await when the job is cancelled, its lease is lost or the server stops; what
    /// must not be done twice is done in a [`JobContext::step`], what the end of the attempt keeps in
    /// [`JobContext::outside`].
    async fn run(&self, job: &JobContext) -> Result<Completed, Failure>;
}

/// A kind that an input names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKind {
    /// JSON Pointer to the name, from the input.
    pub pointer: String,
    /// The name.
    pub kind: String,
}

/// What an attempt gave.
#[derive(Debug, Clone)]
pub struct Completed {
    /// The output: a JSON text.
    pub output: Bytes,
    /// What the answer says of itself.
    pub report: Report,
}

impl Completed {
    /// An output about which there is nothing more to say.
    pub fn with(output: impl Into<Bytes>) -> Self {
        Self { output: output.into(), report: Report::default() }
    }

    /// Turns a value into the output.
    pub fn json<T: serde::Serialize>(output: &T) -> Result<Self, Failure> {
        match serde_json::to_vec(output) {
            Ok(json) => Ok(Self::with(json)),
            Err(error) => Err(Failure::permanent("output_unserialisable", format!("the output is no JSON: {error}"))),
        }
    }
}

/// Why an attempt gave nothing.
#[derive(Debug, Clone)]
pub enum Failure {
    /// It failed.
    Job {
        /// With what.
        error: Box<JobError>,
        /// What should follow.
        plan: RetryPlan,
        /// Whether it cannot be known if the last outside call took effect.
        ambiguous: bool,
    },
    /// It gives its lease up until this has come; no failure, but the way out of [`Executor::run`] that leaves no worker
    /// waiting. [`JobContext::wait_for_children`] and [`JobContext::ask`] make it.
    Waiting(Wait),
    /// Somebody else has the lease, or the store cannot be reached: there is nothing left to say for this attempt.
    Interrupted,
}

impl Failure {
    /// No further attempt can mend this.
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        Self::from(JobError::permanent(code, message))
    }

    /// Another attempt may not meet this.
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self::from(JobError::transient(code, message))
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        Failure::Job { error: Box::new(error), plan: RetryPlan::Backoff, ambiguous: false }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(_) | StoreError::NotFound(_) | StoreError::Gone(_) => Failure::Interrupted,
            StoreError::Unavailable(why) => Failure::transient("store_unavailable", why),
            StoreError::StorageFull => Failure::transient("storage_full", "the disk is full"),
            StoreError::Overloaded => Failure::transient("overloaded", "too many writes are waiting"),
            StoreError::IdempotencyMismatch | StoreError::StepExists | StoreError::Corrupt(_) => {
                Failure::permanent("internal", error.to_string())
            }
        }
    }
}
