//! What a worker elsewhere asks for: jobs, and the ways to write for them under their lease.
//!
//! The same leases and the same rules as for the kinds that run here; only that nobody beats for such a worker but itself,
//! and that its bytes come and go as they are.

use std::sync::Arc;

use bytes::Bytes;
use longhaul_core::{
    INLINE_LIMIT, JobError, JobSpec, KindName, OutputData, Payload, Progress, QueueName, Report, RetryPlan, Span,
    Stage, Status, StepName, Tenant, TraceContext, Usage, Wait,
};
use longhaul_store::{Beat, BeatAnswer, Claim, Held, JobStore, JobView, Leased, Outcome, StoreError};

use crate::{Engine, Failure};

/// How many bytes of inputs and steps one claim brings, its first job apart: bounds the memory of an answer.
const CLAIM_BYTES: usize = 32 << 20;

/// Who wants jobs, and which.
#[derive(Debug, Clone)]
pub struct RemoteClaim {
    /// Whose jobs.
    pub tenant: Tenant,
    /// What the worker calls itself.
    pub worker: String,
    /// Of which kinds.
    pub kinds: Arc<[KindName]>,
    /// Of which queues; none: of any.
    pub queues: Option<Arc<[QueueName]>>,
    /// At most so many.
    pub limit: usize,
    /// How long a lease holds unless it is extended.
    pub lease_for: Span,
}

/// A job as a worker gets it.
#[derive(Debug, Clone)]
pub struct RemoteJob {
    /// As it stood when it was leased.
    pub view: Arc<JobView>,
    /// The right to write for it.
    pub held: Held,
    /// Its input, with the outputs of its children when it was submitted with some.
    pub input: Bytes,
    /// The steps that earlier attempts have stored, with their outputs.
    pub steps: Vec<(StepName, Bytes)>,
}

/// How a worker ends an attempt.
#[derive(Debug, Clone)]
pub enum Completion {
    /// With an output, a JSON text.
    Succeeded(Bytes, Box<Report>),
    /// With a failure.
    Failed {
        /// What went wrong.
        error: JobError,
        /// What should follow.
        plan: RetryPlan,
        /// Something had begun outside of which nobody knows whether it took effect.
        ambiguous: bool,
    },
    /// Unfinished, at no cost.
    Released {
        /// As of a failure.
        ambiguous: bool,
    },
    /// Unfinished, until this has come.
    Waiting(Wait),
}

/// Leases that nobody has been told of yet.
struct Untold {
    engine: Engine,
    held: Vec<Held>,
}

impl Drop for Untold {
    fn drop(&mut self) {
        self.engine.give_back(std::mem::take(&mut self.held));
    }
}

impl Engine {
    /// The trace that what an attempt does belongs to.
    pub fn trace_of_attempt(&self, spec: &JobSpec, held: &Held) -> Option<TraceContext> {
        let trace = spec.trace?;
        let is_told = self.inner.options.records_traces;
        Some(if is_told { trace.within_attempt(spec.id, held.token.count()) } else { trace })
    }

    /// Leases jobs for a worker elsewhere; waits at most `at_most` for the first of them. Dropping the future is safe:
    /// what it was granted is given back at no cost.
    pub async fn claim(&self, claim: RemoteClaim, at_most: Span) -> Result<Vec<RemoteJob>, StoreError> {
        let inner = &*self.inner;
        let RemoteClaim { tenant, worker, kinds, queues, limit, lease_for } = claim;
        let wanted =
            Claim { worker: worker.into(), in_process: false, tenant: Some(tenant), kinds, queues, limit, lease_for };
        let leased = tokio::select! {
            biased;
            () = inner.stop_claiming.cancelled() => Vec::new(),
            leased = inner.store.claim(wanted) => leased?,
            () = inner.clock.sleep(at_most) => Vec::new(),
        };
        let mut untold =
            Untold { engine: self.clone(), held: leased.iter().map(|leased| leased.held.clone()).collect() };
        let mut jobs: Vec<RemoteJob> = Vec::with_capacity(leased.len());
        let mut bytes = 0;
        for leased in leased {
            let held = leased.held.clone();
            match self.handed_out(leased).await {
                Ok(job) => {
                    bytes += job.input.len() + job.steps.iter().map(|(_, output)| output.len()).sum::<usize>();
                    if bytes > CLAIM_BYTES && !jobs.is_empty() {
                        break;
                    }
                    jobs.push(job);
                }
                Err(failure) => {
                    // What cannot be read for this one must not keep the others.
                    tracing::error!(job_id = %held.job, "a leased job could not be handed out");
                    untold.held.retain(|other| other.job != held.job);
                    self.give_up(held, failure).await;
                }
            }
        }
        untold.held.retain(|held| jobs.iter().all(|job| job.held.job != held.job));
        Ok(jobs)
    }

    /// Gives leases back that nobody will use.
    pub(crate) fn give_back(&self, leases: Vec<Held>) {
        if leases.is_empty() {
            return;
        }
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            for held in leases {
                // A lease that is lost needs no release.
                let _ = engine.finish(&held, Outcome::Released { ambiguous: false }).await;
            }
        });
    }

    async fn handed_out(&self, leased: Leased) -> Result<RemoteJob, Failure> {
        let Leased { view, held } = leased;
        let job = &view.job;
        let input = self.inner.payloads.read(&view.input).await?;
        let input = self.input_with_children(job, input).await?;
        let mut steps = Vec::new();
        if job.leases() > 1 {
            for step in self.inner.store.steps(&job.spec.tenant, job.spec.id).await? {
                steps.push((step.name, self.inner.payloads.read(&step.output).await?));
            }
        }
        Ok(RemoteJob { view, held, input, steps })
    }

    async fn give_up(&self, held: Held, failure: Failure) {
        let outcome = match failure {
            Failure::Job { error, plan, ambiguous } => Outcome::Failed { error: *error, plan, ambiguous },
            Failure::Waiting(_) | Failure::Interrupted => Outcome::Released { ambiguous: false },
        };
        if let Err(error) = self.inner.store.finish(held, outcome, Usage::default()).await {
            tracing::warn!(%error, "a job that could not be handed out could not be given back");
        }
    }

    /// Extends leases, and says how far the work is. One answer for each.
    pub async fn heartbeat(&self, beats: Vec<Beat>) -> Result<Vec<Result<BeatAnswer, StoreError>>, StoreError> {
        self.inner.store.heartbeat(beats).await
    }

    /// One sign of life.
    pub async fn beat(
        &self,
        held: Held,
        lease_for: Span,
        progress: Option<Progress>,
    ) -> Result<BeatAnswer, StoreError> {
        let mut answers = self.heartbeat(vec![Beat { held, lease_for, progress }]).await?;
        answers.pop().unwrap_or_else(|| Err(StoreError::Unavailable("a beat was not answered".into())))
    }

    /// Moves a held job between validating and executing.
    pub async fn enter(&self, held: Held, stage: Stage) -> Result<(), StoreError> {
        self.inner.store.enter(held, stage).await
    }

    /// Records pieces of the output. On return they are durable, and on their way to readers.
    pub async fn append(&self, held: Held, deltas: Vec<OutputData>) -> Result<(), StoreError> {
        self.inner.store.append(held, deltas).await
    }

    /// Stores a step's output, a JSON text, once, and counts what was `spent` on it.
    pub async fn checkpoint(&self, held: Held, step: StepName, output: Bytes, spent: Usage) -> Result<(), StoreError> {
        self.with_stored(
            output,
            move |store, payload| async move { store.checkpoint(held, step, payload, spent).await },
        )
        .await
    }

    /// Ends an attempt, which has `spent` so much that was not told before; a success has more of it in its report.
    pub async fn complete(&self, held: Held, completion: Completion, spent: Usage) -> Result<Status, StoreError> {
        let outcome = match completion {
            Completion::Succeeded(output, report) => {
                let finish = move |store: Arc<dyn JobStore>, output| async move {
                    store.finish(held, Outcome::Succeeded { output, report }, spent).await
                };
                return self.with_stored(output, finish).await;
            }
            Completion::Failed { error, plan, ambiguous } => Outcome::Failed { error, plan, ambiguous },
            Completion::Released { ambiguous } => Outcome::Released { ambiguous },
            Completion::Waiting(wait) => Outcome::Waiting(wait),
        };
        self.inner.store.finish(held, outcome, spent).await
    }

    /// Writes something that refers to `output`. A large one is pinned in the blob store until the write is committed,
    /// also when the caller does not wait for that: then the work is a task of the engine's.
    async fn with_stored<T, W, F>(&self, output: Bytes, write: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(Arc<dyn JobStore>, Payload) -> F + Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let (store, payloads) = (self.inner.store.clone(), self.inner.payloads.clone());
        if output.len() <= INLINE_LIMIT {
            return write(store, Payload::Inline(output)).await;
        }
        let writing = self.inner.tasks.spawn(async move {
            let stored = payloads.store(output).await?;
            let written = write(store, stored.payload.clone()).await;
            drop(stored);
            written
        });
        writing.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }
}
