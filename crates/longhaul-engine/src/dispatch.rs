//! From a claim to a finished attempt, for the kinds that this process runs itself.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use longhaul_core::{Clock, JobError, Refused, RetryPlan, Span, Status, TraceContext, Usage};
use longhaul_store::{Claim, Held, Leased, Outcome, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;

use crate::{Completed, Engine, Executor, Failure, JobContext, in_flight::InFlight};

/// How many jobs one claim takes at most: bounds the work of one commit.
const CLAIM_MOST: usize = 256;

/// How long to wait before asking a store again that could not answer.
const AFTER_ERROR: Span = Span::from_millis(500);

impl Engine {
    pub(crate) fn start_dispatch(&self) {
        let engine = self.clone();
        self.inner.dispatcher.spawn(async move { engine.dispatch().await });
    }

    async fn dispatch(&self) {
        let inner = &*self.inner;
        let places = Arc::new(Semaphore::new(inner.options.concurrency));
        let worker: Arc<str> = inner.options.worker.as_str().into();
        let kinds = inner.kinds.built_in();
        if kinds.is_empty() || inner.options.concurrency == 0 {
            return;
        }
        loop {
            let taken = tokio::select! {
                biased;
                () = inner.stop_claiming.cancelled() => return,
                taken = take_places(&places, inner.options.concurrency) => taken,
            };
            let Some(mut places) = taken else { return };
            let claim = Claim {
                worker: worker.clone(),
                in_process: true,
                tenant: None,
                kinds: kinds.clone(),
                queues: None,
                limit: places.num_permits(),
                lease_for: inner.options.lease_for,
            };
            // A claim that is dropped gives back what it was granted.
            let claimed = tokio::select! {
                biased;
                () = inner.stop_claiming.cancelled() => return,
                claimed = inner.store.claim(claim) => claimed,
            };
            match claimed {
                Ok(leased) => {
                    for leased in leased {
                        let place = places.split(1);
                        self.start_job(leased, place);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "no jobs could be claimed");
                    tokio::select! {
                        biased;
                        () = inner.clock.sleep(AFTER_ERROR) => {}
                        () = inner.stop_claiming.cancelled() => return,
                    }
                }
            }
        }
    }

    fn start_job(&self, leased: Leased, place: Option<OwnedSemaphorePermit>) {
        let engine = self.clone();
        let now = self.inner.clock.now();
        let interrupt = self.inner.hub.running().add(leased.held.clone(), now, now + self.inner.options.lease_for);
        let log = self.log_span(&leased);
        let running = async move {
            let held = leased.held.clone();
            let in_flight = InFlight::default();
            let result = tokio::select! {
                biased;
                result = engine.attempt(leased, in_flight.clone()) => result,
                () = interrupt.cancelled() => Err(Failure::Interrupted),
            };
            tracing::debug!(succeeded = result.is_ok(), "attempt ends");
            engine.end_attempt(&held, result, &in_flight).await;
            engine.inner.hub.running().remove(&held);
            drop(place);
        };
        self.inner.jobs.spawn(running.instrument(log));
    }

    /// The ids that every line of the log carries while the attempt runs.
    fn log_span(&self, leased: &Leased) -> tracing::Span {
        let job = leased.held.job;
        match self.trace_of_attempt(&leased.view.job.spec, &leased.held) {
            Some(TraceContext { trace_id, span_id, .. }) => tracing::error_span!(
                "attempt",
                job_id = %job,
                trace_id = %format_args!("{trace_id:032x}"),
                span_id = %format_args!("{span_id:016x}"),
            ),
            None => tracing::error_span!("attempt", job_id = %job),
        }
    }

    async fn attempt(&self, leased: Leased, in_flight: InFlight) -> Result<Completed, Failure> {
        let inner = &*self.inner;
        let spec = leased.view.job.spec.clone();
        let Some(executor) = inner.kinds.executor(&spec.kind) else {
            return Err(Failure::transient("kind_unknown", format!("this server does not run {}", spec.kind)));
        };
        let mut input = inner.payloads.read(&leased.view.input).await?;
        if executor.takes_child_outputs() {
            input = self.input_with_children(&leased.view.job, input).await?;
        }
        // A first attempt has no steps behind it.
        let mut steps = HashMap::new();
        if leased.view.job.leases() > 1 {
            let stored = inner.store.steps(&spec.tenant, spec.id).await?;
            steps.extend(stored.into_iter().map(|step| (step.name, step.output)));
        }
        let context = JobContext::new(self.clone(), leased.view, leased.held, input, steps, in_flight);
        let emitted = context.emitter().run();
        tokio::pin!(emitted);
        let result = tokio::select! {
            biased;
            result = run(&**executor, &context) => result,
            failure = &mut emitted => Err(failure),
            () = overtime(&*inner.clock, spec.attempt_timeout) => Err(Failure::transient(
                "attempt_timeout",
                format!("the attempt took longer than {} s", spec.attempt_timeout.unwrap_or_default().as_secs()),
            )),
        };
        // What it has given out is kept, however it ends.
        let kept = tokio::select! {
            biased;
            kept = context.emitter().flush() => kept,
            failure = &mut emitted => Err(failure),
        };
        result.and_then(|completed| kept.map(|()| completed))
    }

    async fn end_attempt(&self, held: &Held, result: Result<Completed, Failure>, in_flight: &InFlight) {
        let inner = &*self.inner;
        let mut _pinned = None;
        let outcome = match result {
            Ok(Completed { output, report }) => match inner.payloads.store(output).await {
                Ok(stored) => {
                    let output = stored.payload.clone();
                    _pinned = Some(stored);
                    Outcome::Succeeded { output, report: Box::new(report) }
                }
                Err(error) => failed(Failure::from(error), in_flight.any()),
            },
            Err(failure) => failed(failure, in_flight.any()),
        };
        match self.finish(held, outcome).await {
            Ok(_) | Err(StoreError::Refused(Refused::LeaseLost)) => {}
            Err(StoreError::Refused(Refused::Cancelling)) => {
                // It was cancelled while its result was on the way: giving the lease up makes it `cancelled`. What it had
                // begun outside has been answered.
                if let Err(error) =
                    inner.store.finish(held.clone(), Outcome::Released { ambiguous: false }, Usage::default()).await
                {
                    tracing::warn!(job_id = %held.job, %error, "a cancelled job could not be given up");
                }
            }
            // The lease runs out, and the job is tried again: its steps are not done twice.
            Err(error) => tracing::error!(job_id = %held.job, %error, "the end of an attempt could not be written"),
        }
    }
}

impl Engine {
    /// Writes the end of an attempt; what the store cannot take now is tried again, under a lease that goes on being
    /// kept, so that finished work is not done twice because a disk was full. A store that cannot be reached may have
    /// written it: repeating it is safe, because it is fenced; it is given up when the lease would be over by itself.
    pub(crate) async fn finish(&self, held: &Held, outcome: Outcome) -> Result<Status, StoreError> {
        let inner = &*self.inner;
        let give_up_at = inner.clock.now() + inner.options.lease_for;
        let mut may_be_written = false;
        loop {
            match inner.store.finish(held.clone(), outcome.clone(), Usage::default()).await {
                // What was written before is refused when it comes again, unless it was a success.
                Err(StoreError::Refused(Refused::LeaseLost | Refused::Terminal)) if may_be_written => {
                    return inner.store.job(&held.tenant, held.job).await.map(|view| view.job.status());
                }
                Err(error @ (StoreError::StorageFull | StoreError::Overloaded | StoreError::Unavailable(_))) => {
                    let is_away = matches!(error, StoreError::Unavailable(_));
                    may_be_written |= is_away;
                    // Who stops does not wait for a store that may never come back: the lease sees to the job.
                    if is_away && (self.is_stopping() || inner.clock.now() >= give_up_at) {
                        return Err(error);
                    }
                    tracing::warn!(job_id = %held.job, %error, "the end of an attempt is written again");
                    tokio::select! {
                        biased;
                        () = inner.clock.sleep(AFTER_ERROR) => {}
                        () = inner.stop.cancelled() => return Err(error),
                    }
                }
                other => return other,
            }
        }
    }
}

/// Ends when an attempt has taken longer than it may.
async fn overtime(clock: &dyn Clock, limit: Option<Span>) {
    match limit {
        Some(limit) => clock.sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Waits for a free place, and takes what else is free with it.
async fn take_places(places: &Arc<Semaphore>, all: usize) -> Option<OwnedSemaphorePermit> {
    let mut taken = places.clone().acquire_owned().await.ok()?;
    let more = places.available_permits().min(CLAIM_MOST.min(all) - 1);
    let more = u32::try_from(more).unwrap_or(0);
    if more > 0
        && let Ok(more) = places.clone().try_acquire_many_owned(more)
    {
        taken.merge(more);
    }
    Some(taken)
}

/// `in_flight`: something had begun outside that did not come to its end, whatever else is said of it.
fn failed(failure: Failure, in_flight: bool) -> Outcome {
    match failure {
        Failure::Job { error, plan, ambiguous } => {
            Outcome::Failed { error: *error, plan, ambiguous: ambiguous || in_flight }
        }
        Failure::Waiting(wait) => Outcome::Waiting(wait),
        Failure::Interrupted => Outcome::Released { ambiguous: in_flight },
    }
}

/// Runs the executor; a panic in it is its job's failure and nobody else's.
async fn run(executor: &dyn Executor, context: &JobContext) -> Result<Completed, Failure> {
    match AssertUnwindSafe(executor.run(context)).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => {
            let why = panic.downcast_ref::<&str>().map(ToString::to_string);
            let why = why.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(kind = %executor.kind().name, why, "an executor panicked");
            let error = JobError::transient("executor_panicked", "the code that runs this kind failed unexpectedly");
            Err(Failure::Job { error: Box::new(error), plan: RetryPlan::Backoff, ambiguous: true })
        }
    }
}
