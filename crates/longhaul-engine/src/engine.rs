//! The engine's handle: what the rest of the house calls.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use longhaul_core::{
    ApiKey, Attempt, Clock, Event, IdSource, Job, JobId, KeyId, KindName, KindSpec, Limit, Payload, QueueName, Span,
    Status, StatusReason, StepName, Tenant, Usage,
};
use longhaul_store::{
    Blocker, Child, Idempotency, JobPage, JobQuery, JobStore, JobView, Outcome, Partial, QueueGate, QueueState,
    StoreError, StoredStep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Accepted, Check, Executor, Hub, JobRequest, KindInfo, Present, Rejected, SchemaCompiler,
    admission::{Payloads, WaitingBytes},
    chunks::Streams,
    elsewhere::Lookout,
    family::Flow,
    kinds::Kinds,
};

/// How an engine runs.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How many jobs run in this process at once, over all queues. None at all: it takes jobs in, and others run them.
    pub concurrency: usize,
    /// How long a lease holds unless it is extended.
    pub lease_for: Span,
    /// How often leases are extended.
    pub beat_every: Span,
    /// How long payloads and events are kept after a job's end.
    pub retention: Span,
    /// How many attempts may fail unless kind or submit say otherwise.
    pub max_attempts: u32,
    /// How many jobs of a queue may run at once, by queue.
    pub queues: BTreeMap<QueueName, u32>,
    /// Tenants' shares of each queue, where they are not 1.
    pub tenants: BTreeMap<Tenant, u32>,
    /// What is different for some kinds.
    pub kinds: BTreeMap<KindName, KindOverride>,
    /// Names this process in the history of attempts.
    pub worker: String,
    /// Whether somebody tells jobs and attempts as spans of their traces. Then what an attempt does belongs to the attempt's
    /// span; else to what the submitter said.
    pub records_traces: bool,
}

impl Default for EngineOptions {
    /// 256 at once, leases of 30 s kept by a beat every 10 s, seven days of retention, five attempts.
    fn default() -> Self {
        Self {
            concurrency: 256,
            lease_for: Span::from_secs(30),
            beat_every: Span::from_secs(10),
            retention: Span::from_secs(7 * 86_400),
            max_attempts: 5,
            queues: BTreeMap::new(),
            tenants: BTreeMap::new(),
            kinds: BTreeMap::new(),
            worker: "built-in".into(),
            records_traces: false,
        }
    }
}

/// What is different for one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindOverride {
    /// Where its jobs wait.
    pub queue: Option<QueueName>,
    /// How long one attempt may take.
    pub timeout: Option<Span>,
    /// How many attempts may fail.
    pub max_attempts: Option<u32>,
    /// How many of its jobs run at once and start in a time; none: as the kind itself says. Of a limit over all jobs and one
    /// by key, that which is not given here stays as the kind itself says.
    pub limits: Option<Vec<Limit>>,
}

/// A running engine. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) kinds: Kinds,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) options: EngineOptions,
    pub(crate) default_queue: QueueName,
    pub(crate) payloads: Payloads,
    pub(crate) waiting: WaitingBytes,
    pub(crate) unknown_kinds: Lookout,
    pub(crate) streams: Streams,
    pub(crate) tasks: TaskTracker,
    pub(crate) jobs: TaskTracker,
    /// The one task that starts jobs: when it has ended, none is started any more.
    pub(crate) dispatcher: TaskTracker,
    pub(crate) stop_claiming: CancellationToken,
    pub(crate) stop: CancellationToken,
    stopping: AtomicBool,
}

/// What waiting for a job came to.
#[derive(Debug, Clone)]
pub enum Waited {
    /// The job, as it stands: ended, changed, or as it was when the time was up.
    Now(Arc<JobView>),
    /// The time was up and the version is still the one that was known.
    Unchanged,
}

impl Engine {
    /// Starts running what the store holds. `hub` is the observer that the store was opened with.
    pub async fn start(
        options: EngineOptions,
        store: Arc<dyn JobStore>,
        hub: Arc<Hub>,
        executors: Vec<Arc<dyn Executor>>,
        schemas: Arc<dyn SchemaCompiler>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self, StoreError> {
        let flow = Flow::new().map(|flow| Arc::new(flow) as Arc<dyn Executor>);
        let mut kinds = Kinds::new(flow.into_iter().chain(executors).collect(), schemas);
        for (kind, change) in &options.kinds {
            let known = kinds.override_spec(kind, |spec| {
                spec.queue = change.queue.clone().or(spec.queue.take());
                spec.max_attempts = change.max_attempts.or(spec.max_attempts);
                if let Some(limits) = &change.limits {
                    // A limit by key says nothing of how many run in all, and the other way round.
                    let is_said = |own: &Limit| limits.iter().any(|limit| limit.key.is_some() == own.key.is_some());
                    spec.limits.retain(|own| !is_said(own));
                    spec.limits.extend(limits.iter().cloned());
                }
                // Whole seconds, rounded up: a time-out of none would end every attempt.
                spec.timeout_s = change.timeout.map(|span| span.as_millis().div_ceil(1_000).max(1)).or(spec.timeout_s);
            });
            if !known {
                tracing::warn!(%kind, "the configuration names a kind that is not built in");
            }
        }
        kinds.replace(store.kinds().await?, kinds.changes());
        for (queue, concurrency) in &options.queues {
            store.limit_queue(queue.clone(), Some(*concurrency)).await?;
        }
        for (kind, limits) in kinds.built_in_limits() {
            store.limit_kind(kind, limits).await?;
        }
        for (tenant, weight) in &options.tenants {
            store.weigh_tenant(tenant.clone(), *weight).await?;
        }
        let engine = Self {
            inner: Arc::new(Inner {
                payloads: Payloads(store.clone()),
                store,
                hub,
                kinds,
                clock,
                ids,
                options,
                default_queue: QueueName::default_queue(),
                waiting: WaitingBytes::default(),
                unknown_kinds: Lookout::default(),
                streams: Streams::default(),
                tasks: TaskTracker::new(),
                jobs: TaskTracker::new(),
                dispatcher: TaskTracker::new(),
                stop_claiming: CancellationToken::new(),
                stop: CancellationToken::new(),
                stopping: AtomicBool::new(false),
            }),
        };
        engine.start_dispatch();
        engine.start_maintenance();
        Ok(engine)
    }

    /// Ends all work here: no more claims, what runs may end within `at_most`, the rest is released at no cost to the
    /// jobs. Reading goes on until [`Engine::close`].
    pub async fn drain(&self, at_most: Span) {
        self.begin_shutdown();
        let inner = &*self.inner;
        inner.stop_claiming.cancel();
        inner.dispatcher.close();
        inner.dispatcher.wait().await;
        inner.jobs.close();
        let drained = tokio::select! {
            biased;
            () = inner.jobs.wait() => true,
            () = inner.clock.sleep(at_most) => false,
        };
        if !drained {
            // An interrupted job releases its lease; whatever cannot even do that is released for it.
            inner.hub.running().cancel_all();
            tokio::select! {
                biased;
                () = inner.jobs.wait() => {}
                () = inner.clock.sleep(Span::from_secs(2)) => {
                    for held in inner.hub.running().all() {
                        // A lease that is lost needs no release. What it was at, nobody can say any more.
                        let outcome = Outcome::Released { ambiguous: true };
                        let _ = inner.store.finish(held, outcome, Usage::default()).await;
                    }
                }
            }
        }
    }

    /// Stops what is left and closes the store. Comes after [`Engine::drain`].
    pub async fn close(&self) {
        let inner = &*self.inner;
        inner.stop.cancel();
        inner.tasks.close();
        inner.tasks.wait().await;
        inner.store.close().await;
    }

    /// From now on nothing new is taken in.
    pub fn begin_shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether a shutdown has begun.
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::Relaxed)
    }

    /// The time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Where ids come from.
    pub fn ids(&self) -> &Arc<dyn IdSource> {
        &self.inner.ids
    }

    /// Who is here at this moment: what runs, who follows, who waits.
    pub fn present(&self) -> Present {
        self.inner.hub.present()
    }

    /// The store, for what the engine has no part in: keys, documents, blobs.
    pub fn store(&self) -> &Arc<dyn JobStore> {
        &self.inner.store
    }

    pub(crate) fn payloads(&self) -> &Payloads {
        &self.inner.payloads
    }

    /// How long payloads are kept unless a submit says otherwise.
    pub fn retention(&self) -> Span {
        self.inner.options.retention
    }

    // ── jobs ──

    /// A job with its payloads.
    pub async fn job(&self, tenant: &Tenant, job: JobId) -> Result<Arc<JobView>, StoreError> {
        self.inner.store.job(tenant, job).await
    }

    /// Waits until a job has ended, at most `at_most`; or, when `known` is given, until its version is another.
    pub async fn wait(
        &self,
        tenant: &Tenant,
        job: JobId,
        at_most: Span,
        known: Option<u64>,
    ) -> Result<Waited, StoreError> {
        let inner = &*self.inner;
        let until = inner.clock.now() + at_most;
        let watch = inner.hub.watch(job);
        loop {
            let changed = if known.is_some() { watch.changed() } else { watch.over() };
            tokio::pin!(changed);
            changed.as_mut().enable();
            // A job that still runs here, now that its changes are heard, has not ended: the look can be spared.
            if known.is_some() || !inner.hub.running().holds(tenant, job) {
                let view = inner.store.job(tenant, job).await?;
                let is_news = known.is_some_and(|known| known != view.job.version);
                if view.job.status().is_terminal() || is_news {
                    return Ok(Waited::Now(view));
                }
            }
            let is_woken = tokio::select! {
                biased;
                () = changed => true,
                () = inner.clock.sleep_until(until) => false,
                () = inner.stop_claiming.cancelled() => false,
            };
            if let Some(view) = watch.ended() {
                return Ok(Waited::Now(view));
            }
            if !is_woken {
                let view = inner.store.job(tenant, job).await?;
                return Ok(match known {
                    Some(known) if known == view.job.version => Waited::Unchanged,
                    _ => Waited::Now(view),
                });
            }
        }
    }

    /// The bytes of a payload.
    pub async fn payload(&self, payload: &Payload) -> Result<Bytes, StoreError> {
        self.inner.payloads.read(payload).await
    }

    /// A page of jobs.
    pub async fn jobs(&self, query: JobQuery) -> Result<JobPage, StoreError> {
        self.inner.store.jobs(query).await
    }

    /// A page of a job's events.
    pub async fn events(
        &self,
        tenant: &Tenant,
        job: JobId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.inner.store.events(tenant, job, after, limit).await
    }

    /// All attempts of a job.
    pub async fn attempts(&self, tenant: &Tenant, job: JobId) -> Result<Vec<Attempt>, StoreError> {
        self.inner.store.attempts(tenant, job).await
    }

    /// The steps that a job has stored.
    pub async fn steps(&self, tenant: &Tenant, job: JobId) -> Result<Vec<StoredStep>, StoreError> {
        self.inner.store.steps(tenant, job).await
    }

    /// What a job has given out of its output, and still keeps.
    pub async fn partial(&self, tenant: &Tenant, job: JobId) -> Result<Option<Partial>, StoreError> {
        self.inner.store.partial(tenant, job).await
    }

    /// A page of a job's children, those after place `after`.
    pub async fn children(
        &self,
        tenant: &Tenant,
        parent: JobId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError> {
        self.inner.store.children(tenant, parent, after, limit).await
    }

    /// Why a job is not running; none when it runs or has ended.
    pub async fn explain(&self, tenant: &Tenant, job: JobId) -> Result<Option<Blocker>, StoreError> {
        self.inner.store.explain(tenant, job).await
    }

    /// Answers a job with a JSON text: the one that waits for input goes on, any other keeps it until it asks. One that is
    /// `to` a step is taken while the job waits with that, or not at all.
    pub async fn answer(
        &self,
        tenant: &Tenant,
        job: JobId,
        to: Option<StepName>,
        answer: Bytes,
    ) -> Result<Status, StoreError> {
        let stored = self.inner.payloads.store(answer).await?;
        self.inner.store.answer(tenant, job, to, stored.payload.clone()).await
    }

    /// Asks a job to stop.
    pub async fn cancel(&self, tenant: &Tenant, job: JobId) -> Result<Status, StoreError> {
        self.inner.store.cancel(tenant, job).await
    }

    /// Erases an ended job's data.
    pub async fn erase(&self, tenant: &Tenant, job: JobId) -> Result<(), StoreError> {
        self.inner.store.erase(tenant, job).await
    }

    /// Submits an ended job again, as a new one; with `idempotency`, once. None: it has not ended.
    pub async fn retry(
        &self,
        tenant: &Tenant,
        job: JobId,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<Accepted>, Rejected> {
        let view = self.job(tenant, job).await?;
        if !view.job.status().is_terminal() {
            return Ok(None);
        }
        let spec = &view.job.spec;
        let request = JobRequest {
            kind: spec.kind.to_string(),
            input: self.payload(&view.input).await?,
            queue: Some(spec.queue.clone()),
            priority: spec.priority,
            run_at: None,
            // What was left between submit and deadline is given again.
            deadline_at: spec.deadline_at.map(|at| self.inner.clock.now() + at.since(spec.created_at)),
            max_attempts: Some(spec.max_attempts),
            metadata: spec.metadata.clone(),
            retention: Some(spec.retention),
            retry_of: Some(spec.id),
            id: None,
            children: self.requests_below(&view.job).await?,
            on_child_failure: Some(spec.on_child_failure),
            // Another try belongs to the same story.
            trace: self.trace_below(spec),
        };
        self.submit(tenant, vec![request], idempotency).await.map(Some)
    }

    /// Why a job stands where it stands, its queue's pause and limit included, and its place in the queue.
    pub async fn standing(&self, job: &Job) -> Result<(Option<StatusReason>, Option<u32>), StoreError> {
        let reason = job.status_reason(self.inner.clock.now());
        if reason != Some(StatusReason::Ready) {
            return Ok((reason, None));
        }
        let reason = match self.inner.store.queue_gate(&job.spec.queue).await? {
            QueueGate::Paused => StatusReason::Paused,
            QueueGate::Full => StatusReason::Blocked,
            QueueGate::Open => StatusReason::Ready,
        };
        let position = self.inner.store.queue_position(&job.spec.tenant, job.spec.id).await?;
        Ok((Some(reason), position))
    }

    // ── queues and kinds ──

    /// How every queue stands.
    pub async fn queues(&self) -> Result<Vec<QueueState>, StoreError> {
        self.inner.store.queues().await
    }

    /// Pauses or resumes a queue.
    pub async fn pause_queue(&self, queue: QueueName, paused: bool) -> Result<(), StoreError> {
        self.inner.store.pause_queue(queue, paused).await
    }

    /// What a tenant can submit.
    pub fn kinds(&self, tenant: &Tenant) -> Vec<KindInfo> {
        self.inner.kinds.list(tenant)
    }

    /// A kind that a tenant can submit.
    pub fn kind(&self, tenant: &Tenant, name: &str) -> Option<Arc<KindSpec>> {
        self.inner.kinds.find(tenant, name).map(|known| known.spec)
    }

    /// A check by a JSON Schema, or why it is no schema.
    pub fn compile_schema(&self, schema: &serde_json::Value) -> Result<Arc<dyn Check>, String> {
        self.inner.kinds.compile(schema)
    }

    /// Registers a kind that workers serve. The inner error says what is wrong with it.
    pub async fn register_kind(&self, tenant: &Tenant, spec: KindSpec) -> Result<Result<(), String>, StoreError> {
        let (engine, owner, wanted) = (self.clone(), tenant.clone(), spec.clone());
        // Compiling a schema that somebody sends may take a while.
        let prepared = tokio::task::spawn_blocking(move || engine.inner.kinds.prepare(&owner, wanted)).await;
        let known = match prepared.map_err(|error| StoreError::Unavailable(error.to_string()))? {
            Ok(known) => known,
            Err(why) => return Ok(Err(why)),
        };
        let (engine, owner) = (self.clone(), tenant.clone());
        // Carried to its end whether or not the client stays: what is on disk is known here.
        let stored = self.inner.tasks.spawn(async move {
            engine.inner.store.put_kind(&owner, spec).await?;
            engine.inner.kinds.register(&owner, known);
            Ok(())
        });
        stored.await.map_err(|error| StoreError::Unavailable(error.to_string()))?.map(Ok)
    }

    // ── keys ──

    /// Stores a key.
    pub async fn put_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.inner.store.put_key(key).await
    }

    /// All keys.
    pub async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.inner.store.keys().await
    }

    /// Revokes a tenant's key.
    pub async fn revoke_key(&self, tenant: &Tenant, key: KeyId) -> Result<ApiKey, StoreError> {
        self.inner.store.revoke_key(tenant, key).await
    }
}
