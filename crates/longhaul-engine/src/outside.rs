//! Jobs that run outside of this process: what a worker's calls come to.
//!
//! Every write names the lease it is made under, and the store alone judges whether that still holds. What was leased
//! for an answer that never left this process is given back at no cost to the jobs ([`Granted`]), so that a client
//! which hangs up in the wrong moment leaves nobody waiting for a lease to run out.

use std::sync::Arc;

use bytes::Bytes;
use longhaul_core::{
    INLINE_LIMIT, JobError, KindName, Payload, Progress, QueueName, RetryPlan, Span, Status, StepName, Tenant,
};
use longhaul_store::{Beat, BeatAnswer, Claim, Held, JobStore, JobView, Leased, Outcome, StoreError};

use crate::{Engine, FieldError};

/// The least time that a claim is given to be answered in: one that would not wait has to pass through a commit, too.
const CLAIM_LEAST: Span = Span::from_millis(100);

/// How many bytes of inputs and steps one claim brings at most, its first job apart: bounds the memory of an answer.
const CLAIM_BYTES: u64 = 32 << 20;

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct WorkerClaim {
    /// Whose jobs.
    pub tenant: Tenant,
    /// Names the worker in the history of attempts.
    pub worker: Arc<str>,
    /// Only of these kinds.
    pub kinds: Arc<[KindName]>,
    /// Only of these queues; none: of any.
    pub queues: Option<Arc<[QueueName]>>,
    /// At most so many.
    pub limit: usize,
    /// How long the leases hold.
    pub lease_for: Span,
}

/// A job that was leased to a worker, with all it needs to begin.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The job as it stood when it was leased.
    pub view: Arc<JobView>,
    /// The right to write for it.
    pub held: Held,
    /// Its input: a JSON text.
    pub input: Bytes,
    /// What earlier attempts have stored, each a JSON text.
    pub steps: Vec<(StepName, Bytes)>,
}

/// Jobs that were leased for an answer. Unless [`Granted::delivered`] is called they are given back.
#[must_use = "what is dropped is given back"]
pub struct Granted {
    /// The jobs.
    pub jobs: Vec<Assignment>,
    engine: Engine,
    is_delivered: bool,
}

impl Granted {
    /// The answer is on its way: from now on only the worker or the end of the leases gives the jobs back.
    pub fn delivered(&mut self) {
        self.is_delivered = true;
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.is_delivered && !self.jobs.is_empty() {
            self.engine.give_back(self.jobs.drain(..).map(|job| job.held).collect());
        }
    }
}

impl Engine {
    /// Whether this process runs built-in kinds itself.
    pub fn runs_built_in(&self) -> bool {
        self.inner.options.concurrency > 0
    }

    /// Leases jobs to a worker; waits at most `at_most` until there is one. None when it is over, or when the server
    /// stops.
    pub async fn claim(&self, claim: WorkerClaim, at_most: Span) -> Result<Granted, StoreError> {
        let inner = &*self.inner;
        let WorkerClaim { tenant, worker, kinds, queues, limit, lease_for } = claim;
        let claim = Claim { worker, in_process: false, tenant: Some(tenant), kinds, queues, limit, lease_for };
        let leased = tokio::select! {
            biased;
            () = inner.stop_claiming.cancelled() => Vec::new(),
            leased = inner.store.claim(claim) => leased?,
            () = inner.clock.sleep(at_most.max(CLAIM_LEAST)) => Vec::new(),
        };
        self.equip(leased).await
    }

    /// Reads what the leased jobs need. What would make the answer too large, or cannot be read, is given back.
    async fn equip(&self, leased: Vec<Leased>) -> Result<Granted, StoreError> {
        let mut granted = Granted { jobs: Vec::new(), engine: self.clone(), is_delivered: false };
        let mut rest = Returning { engine: self, leases: leased.iter().map(|job| job.held.clone()).rev().collect() };
        let mut bytes = 0;
        for leased in leased {
            let equipped = self.equipped(leased).await;
            let job = match equipped {
                Ok(job) => job,
                Err(error) if granted.jobs.is_empty() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a claim is served in part");
                    break;
                }
            };
            bytes += job.input.len() as u64 + job.steps.iter().map(|(_, output)| output.len() as u64).sum::<u64>();
            if bytes > CLAIM_BYTES && !granted.jobs.is_empty() {
                break;
            }
            rest.leases.pop();
            granted.jobs.push(job);
        }
        Ok(granted)
    }

    async fn equipped(&self, leased: Leased) -> Result<Assignment, StoreError> {
        let inner = &*self.inner;
        let Leased { view, held } = leased;
        let input = inner.payloads.read(&view.input).await?;
        let mut steps = Vec::new();
        // A first attempt has no steps behind it.
        if view.job.leases() > 1 {
            for step in inner.store.steps(&held.tenant, held.job).await? {
                steps.push((step.name, inner.payloads.read(&step.output).await?));
            }
        }
        Ok(Assignment { view, held, input, steps })
    }

    fn give_back(&self, leases: Vec<Held>) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            for held in leases {
                if let Err(error) = engine.inner.store.finish(held.clone(), Outcome::Released).await {
                    tracing::warn!(job = %held.job, %error, "a job that was not delivered could not be given back");
                }
            }
        });
    }

    /// A worker's sign of life.
    pub async fn worker_beat(
        &self,
        held: Held,
        lease_for: Span,
        progress: Option<Progress>,
    ) -> Result<BeatAnswer, StoreError> {
        let answers = self.inner.store.heartbeat(vec![Beat { held, lease_for, progress }]).await?;
        answers.into_iter().next().unwrap_or(Err(StoreError::NotFound("job")))
    }

    /// Stores what a step of a worker gave, once.
    pub async fn worker_checkpoint(&self, held: Held, step: StepName, output: Bytes) -> Result<(), StoreError> {
        self.with_stored(output, |store, payload| async move { store.checkpoint(held, step, payload).await }).await
    }

    /// What is wrong with an output, by the schema that its job's kind was registered with; nothing, when it fits.
    pub async fn examine_output(&self, held: &Held, output: &str) -> Result<Vec<FieldError>, StoreError> {
        if !self.inner.kinds.checks_outputs(&held.tenant) {
            return Ok(Vec::new());
        }
        let view = self.inner.store.job(&held.tenant, held.job).await?;
        let known = self.inner.kinds.find(&held.tenant, &view.job.spec.kind);
        Ok(known.map(|known| known.check_output(output)).unwrap_or_default())
    }

    /// Takes a worker's result. Repeating it under the same lease is Ok.
    pub async fn worker_complete(&self, held: Held, output: Bytes) -> Result<Status, StoreError> {
        let finish = |store: Arc<dyn JobStore>, output| async move {
            store.finish(held, Outcome::Succeeded { output, report: Box::default() }).await
        };
        self.with_stored(output, finish).await
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

    /// Takes a worker's failure.
    pub async fn worker_fail(&self, held: Held, error: JobError, plan: RetryPlan) -> Result<Status, StoreError> {
        self.inner.store.finish(held, Outcome::Failed { error, plan, ambiguous: false }).await
    }

    /// Takes a job back unfinished, at no cost to it.
    pub async fn worker_release(&self, held: Held) -> Result<Status, StoreError> {
        self.inner.store.finish(held, Outcome::Released).await
    }
}

/// Leases that go back when this is dropped: what was not taken from it, also when whoever waited has gone.
struct Returning<'a> {
    engine: &'a Engine,
    leases: Vec<Held>,
}

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            self.engine.give_back(std::mem::take(&mut self.leases));
        }
    }
}
