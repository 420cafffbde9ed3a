//! Taking jobs in: what they are checked for, and what bounds how many wait to be written.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use longhaul_core::{
    INLINE_LIMIT, JobId, JobSpec, KindSpec, LimitKey, OnChildFailure, Payload, QueueName, Span, Tenant, Timestamp,
    TraceContext,
};
use longhaul_store::{Document, Idempotency, JobStore, NewJob, StoreError, Submit, Submitted, blob::Pin};

use crate::{
    Engine, FieldError, NamedKind,
    family::{Member, flatten},
};

/// How many bytes of input may wait to be written at once. Above it callers are told to come back: memory is bounded
/// by this number and not by the load.
const WAITING_BYTES: usize = 256 * 1024 * 1024;

/// How many jobs of a request are told what is wrong with them: whoever reads more than a hundred such sentences fixes
/// the program that wrote the request.
const FINDINGS_MOST: usize = 100;

/// How many kinds a sentence about one that is not known lists, and how much of its name it repeats.
const KINDS_SHOWN: usize = 30;
const KIND_CHARS_SHOWN: usize = 100;

/// A job as it is asked for, its fields checked one by one.
#[derive(Debug, Clone)]
pub struct JobRequest {
    /// What to do.
    pub kind: String,
    /// With what: a JSON text.
    pub input: Bytes,
    /// Where to wait; none: where the kind says.
    pub queue: Option<QueueName>,
    /// −100 to 100, higher first.
    pub priority: i8,
    /// Not before.
    pub run_at: Option<Timestamp>,
    /// Over by then.
    pub deadline_at: Option<Timestamp>,
    /// How many attempts may fail; none: as the kind says, in the end 5.
    pub max_attempts: Option<u32>,
    /// The user's pairs, as a JSON object.
    pub metadata: Option<Box<str>>,
    /// How long to keep it after its end; none: as configured.
    pub retention: Option<Span>,
    /// The job that this is another try of.
    pub retry_of: Option<JobId>,
    /// The job's id, when it has been given out already, to somebody who will ask for it; none: a fresh one.
    pub id: Option<JobId>,
    /// Jobs that come first: it waits for them, and gets their outputs in its input as `children`.
    pub children: Vec<JobRequest>,
    /// What a child that does not succeed means for it; none: it fails when children come with it, and judges for itself
    /// when it takes children in as it runs.
    pub on_child_failure: Option<OnChildFailure>,
    /// The trace of whoever asks for it.
    pub trace: Option<TraceContext>,
}

impl JobRequest {
    /// A job of `kind` with nothing special about it.
    pub fn of(kind: impl Into<String>, input: impl Into<Bytes>) -> Self {
        Self {
            kind: kind.into(),
            input: input.into(),
            queue: None,
            priority: 0,
            run_at: None,
            deadline_at: None,
            max_attempts: None,
            metadata: None,
            retention: None,
            retry_of: None,
            id: None,
            children: Vec::new(),
            on_child_failure: None,
            trace: None,
        }
    }
}

/// Jobs that have been taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Their ids, in the order of the request.
    pub jobs: Vec<JobId>,
    /// They are those of an earlier call with the same idempotency key.
    pub replayed: bool,
}

/// Why jobs were not taken in. None of them was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Rejected {
    /// Some cannot be run: all that is wrong with any of them.
    #[error("the request names kinds or inputs that cannot be used")]
    Invalid(Vec<Finding>),
    /// The store did not take them.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// What is wrong with one job of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which job of the request, from 0.
    pub index: usize,
    /// Which job below that one, as a JSON Pointer from there: `/children/3`; empty: that one itself.
    pub below: String,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What can be wrong with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// There is no such kind.
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A field of the job itself; its pointer begins at the job.
    Field(FieldError),
    /// The input is not what the kind takes: each field that is wrong; pointers begin at the input.
    Input(Vec<FieldError>),
}

/// A payload, and what keeps its blob until the row that refers to it is committed.
#[derive(Debug)]
pub(crate) struct StoredPayload {
    pub(crate) payload: Payload,
    _pin: Option<Pin>,
}

/// Moves large payloads to and from the blob store.
#[derive(Clone)]
pub(crate) struct Payloads(pub(crate) Arc<dyn JobStore>);

impl Payloads {
    pub(crate) async fn store(&self, json: Bytes) -> Result<StoredPayload, StoreError> {
        if json.len() <= INLINE_LIMIT {
            return Ok(StoredPayload { payload: Payload::Inline(json), _pin: None });
        }
        let store = self.0.clone();
        let pin = blocking(move || store.blobs().put(&json)).await?;
        Ok(StoredPayload { payload: Payload::Blob(pin.blob()), _pin: Some(pin) })
    }

    pub(crate) async fn read(&self, payload: &Payload) -> Result<Bytes, StoreError> {
        match payload {
            Payload::Inline(json) => Ok(json.clone()),
            Payload::Blob(blob) => {
                let (store, blob) = (self.0.clone(), *blob);
                blocking(move || store.blobs().get(&blob)).await
            }
        }
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::StorageFull => Err(StoreError::StorageFull),
        Ok(Err(error)) if is_damage(error.kind()) => Err(StoreError::Corrupt(error.to_string())),
        Ok(Err(error)) => Err(StoreError::Unavailable(error.to_string())),
        Err(error) => Err(StoreError::Unavailable(error.to_string())),
    }
}

/// Whether what was stored is not there any more, or is another.
fn is_damage(kind: std::io::ErrorKind) -> bool {
    matches!(kind, std::io::ErrorKind::InvalidData | std::io::ErrorKind::NotFound)
}

/// Counts bytes that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct WaitingBytes(Arc<AtomicUsize>);

pub(crate) struct Waiting(Arc<AtomicUsize>, usize);

impl WaitingBytes {
    fn add(&self, bytes: usize) -> Result<Waiting, StoreError> {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let waiting = Waiting(self.0.clone(), bytes);
        // A single request is never too large for an idle server: its own limit has let it pass.
        if before > 0 && before + bytes > WAITING_BYTES { Err(StoreError::Overloaded) } else { Ok(waiting) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// With which other jobs of its kind a job is limited. Inputs of kinds without such a limit are not looked into.
fn limit_key(tenant: &Tenant, kind: &KindSpec, input: &[u8]) -> Option<LimitKey> {
    let pointer = kind.limits.iter().find_map(|limit| limit.key.as_deref())?;
    Some(LimitKey::of(tenant, &kind.name, pointer, input))
}

impl Engine {
    /// Takes jobs of one tenant in, all or none. On return they are on disk.
    pub async fn submit(
        &self,
        tenant: &Tenant,
        requests: Vec<JobRequest>,
        idempotency: Option<Idempotency>,
    ) -> Result<Accepted, Rejected> {
        self.submit_with(tenant, requests, idempotency, None, |_| None).await
    }

    /// As [`Engine::submit`], together with a document that is made for the first job's id; `keep` holds the
    /// document's bytes until the store has answered.
    pub async fn submit_with(
        &self,
        tenant: &Tenant,
        requests: Vec<JobRequest>,
        idempotency: Option<Idempotency>,
        keep: Option<Arc<Pin>>,
        document: impl FnOnce(JobId) -> Option<Document>,
    ) -> Result<Accepted, Rejected> {
        if self.is_stopping() {
            return Err(Rejected::ShuttingDown);
        }
        let members = flatten(requests).map_err(|finding| Rejected::Invalid(vec![finding]))?;
        let kinds = self.kinds_known_anywhere(tenant, &members).await?;
        let bytes: usize = members.iter().map(|member| member.request.input.len()).sum();
        let waiting = self.inner.waiting.add(bytes)?;
        let specified = self.specify_all(tenant, members, &kinds);
        let document = specified.first().and_then(|(spec, _)| document(spec.id));
        if bytes <= INLINE_LIMIT && keep.is_none() {
            return self.take_in(specified, idempotency, document).await;
        }
        // Large inputs and uploads hold pins and count as waiting until the store has answered. A caller that goes away
        // must not let go of them before, so the work is a task of the engine's and not the caller's.
        let engine = self.clone();
        let submitting = self.inner.tasks.spawn(async move {
            let accepted = engine.take_in(specified, idempotency, document).await;
            drop((waiting, keep));
            accepted
        });
        submitting.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    async fn take_in(
        &self,
        specified: Vec<(JobSpec, Bytes)>,
        idempotency: Option<Idempotency>,
        document: Option<Document>,
    ) -> Result<Accepted, Rejected> {
        let mut jobs = Vec::with_capacity(specified.len());
        let mut pins = Vec::new();
        for (spec, input) in specified {
            let stored = self.inner.payloads.store(input).await?;
            jobs.push(NewJob { spec: Arc::new(spec), input: stored.payload.clone() });
            pins.push(stored);
        }
        let roots = jobs.iter().filter(|job| job.spec.parent.is_none());
        let ids: Vec<JobId> = roots.map(|job| job.spec.id).collect();
        match self.inner.store.submit(Submit { jobs, idempotency, document }).await? {
            Submitted::Created => Ok(Accepted { jobs: ids, replayed: false }),
            Submitted::Replayed(jobs) => Ok(Accepted { jobs, replayed: true }),
        }
    }

    /// All that is wrong with the kinds and inputs of a request; nothing, when they can be submitted.
    pub fn examine(&self, tenant: &Tenant, requests: &[JobRequest]) -> Vec<Finding> {
        match flatten(requests.to_vec()) {
            Ok(members) => self.known_kinds(tenant, &members).err().unwrap_or_default(),
            Err(finding) => vec![finding],
        }
    }

    /// As [`Engine::known_kinds`]. What is wrong by the kinds that are known here may be right by those that another server
    /// has registered a moment ago.
    pub(crate) async fn kinds_known_anywhere(
        &self,
        tenant: &Tenant,
        members: &[Member],
    ) -> Result<Vec<Arc<KindSpec>>, Rejected> {
        let mut known = self.known_kinds(tenant, members);
        if known.is_err() && self.look_for_kinds().await {
            known = self.known_kinds(tenant, members);
        }
        known.map_err(Rejected::Invalid)
    }

    fn known_kinds(&self, tenant: &Tenant, members: &[Member]) -> Result<Vec<Arc<KindSpec>>, Vec<Finding>> {
        let mut kinds = Vec::with_capacity(members.len());
        let mut findings = Vec::new();
        for member in members {
            match self.known_kind(tenant, &member.request).and_then(|kind| member.check().map(|()| kind)) {
                Ok(kind) => kinds.push(kind),
                Err(flaw) => findings.push(Finding { index: member.root, below: member.below.clone(), flaw }),
            }
            if findings.len() >= FINDINGS_MOST {
                break;
            }
        }
        if findings.is_empty() { Ok(kinds) } else { Err(findings) }
    }

    fn known_kind(&self, tenant: &Tenant, request: &JobRequest) -> Result<Arc<KindSpec>, Flaw> {
        let Some(known) = self.inner.kinds.find(tenant, &request.kind) else {
            let known = self.inner.kinds.list(tenant).into_iter().map(|kind| kind.spec.name.to_string()).collect();
            return Err(Flaw::UnknownKind { kind: request.kind.clone(), known });
        };
        let input = std::str::from_utf8(&request.input).unwrap_or_default();
        let mut errors = known.check(input);
        for NamedKind { pointer, kind } in known.kinds_named(input) {
            if self.inner.kinds.find(tenant, &kind).is_none() {
                errors.push(FieldError { pointer, message: self.unknown_kind(tenant, &kind) });
            }
        }
        if errors.is_empty() { Ok(known.spec) } else { Err(Flaw::Input(errors)) }
    }

    fn unknown_kind(&self, tenant: &Tenant, kind: &str) -> String {
        let shown: String = kind.chars().take(KIND_CHARS_SHOWN).collect();
        let mut known: Vec<String> =
            self.inner.kinds.list(tenant).into_iter().map(|kind| kind.spec.name.to_string()).collect();
        let more = known.len().saturating_sub(KINDS_SHOWN);
        known.truncate(KINDS_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("is {shown:?}, which is no known kind; known are {}{more}", known.join(", "))
    }

    /// Makes specifications of a whole request, as of one moment.
    fn specify_all(&self, tenant: &Tenant, members: Vec<Member>, kinds: &[Arc<KindSpec>]) -> Vec<(JobSpec, Bytes)> {
        let now = self.inner.clock.now();
        let mut specified: Vec<(JobSpec, Bytes)> = Vec::with_capacity(members.len());
        for (member, kind) in members.into_iter().zip(kinds) {
            let mut spec = self.specify(tenant, &member.request, kind, now);
            if let Some((parent, _)) = member.parent.and_then(|parent| specified.get(parent)) {
                self.place_below(&mut spec, parent);
                spec.child_index = member.index;
            }
            specified.push((spec, member.request.input));
        }
        specified
    }

    /// A child has to be over when its parent has.
    pub(crate) fn place_below(&self, spec: &mut JobSpec, parent: &JobSpec) {
        spec.parent = Some(parent.id);
        spec.depth = parent.depth + 1;
        spec.trace = self.trace_below(parent).or(spec.trace);
        spec.deadline_at = match (spec.deadline_at, parent.deadline_at) {
            (Some(own), Some(above)) => Some(own.min(above)),
            (own, above) => own.or(above),
        };
    }

    /// The trace that what a job brings about belongs to.
    pub(crate) fn trace_below(&self, spec: &JobSpec) -> Option<TraceContext> {
        let trace = spec.trace?;
        Some(if self.inner.options.records_traces { trace.within_job(spec.id) } else { trace })
    }

    pub(crate) fn specify(&self, tenant: &Tenant, request: &JobRequest, kind: &KindSpec, now: Timestamp) -> JobSpec {
        let inner = &*self.inner;
        JobSpec {
            id: request.id.unwrap_or_else(|| JobId::fresh(&*inner.ids, now)),
            tenant: tenant.clone(),
            kind: kind.name.clone(),
            queue: match request.queue.as_ref().or(kind.queue.as_ref()) {
                Some(queue) => queue.clone(),
                None => inner.default_queue.clone(),
            },
            priority: request.priority,
            max_attempts: request.max_attempts.or(kind.max_attempts).unwrap_or(inner.options.max_attempts),
            backoff: kind.backoff.unwrap_or_default(),
            retention: request.retention.unwrap_or(inner.options.retention),
            run_at: request.run_at,
            deadline_at: request.deadline_at,
            attempt_timeout: kind.timeout_s.map(Span::from_secs),
            metadata: request.metadata.clone(),
            retry_of: request.retry_of,
            created_at: now,
            parent: None,
            child_index: 0,
            depth: 0,
            on_child_failure: request.on_child_failure.unwrap_or_default(),
            limit_key: limit_key(tenant, kind, &request.input),
            trace: request.trace,
        }
    }
}
