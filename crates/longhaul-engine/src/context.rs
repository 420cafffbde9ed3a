//! What an executor gets: the job, and the ways to write for it under its lease.

use std::{collections::HashMap, future::Future, sync::Arc};

use bytes::Bytes;
use longhaul_core::{
    Clock, DocumentId, Event, EventKind, JobId, KindSpec, LAYER_MOST, LogLevel, OutputData, Payload, Report, Stage,
    Status, StepName, Tenant, Timestamp, TraceContext, Usage, Wait,
};
use longhaul_store::{Child, Document, Held, JobStore, JobView, StoreError, StoredStep};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Check, Engine, Failure, FieldError, Flaw, JobRequest, Rejected, emit::Emitter, in_flight::InFlight};

/// A job under a lease, as its executor sees it.
pub struct JobContext {
    engine: Engine,
    view: Arc<JobView>,
    held: Held,
    input: Bytes,
    emitter: Emitter,
    /// Outputs of the steps that earlier attempts have stored.
    steps: HashMap<StepName, Payload>,
    in_flight: InFlight,
}

impl JobContext {
    pub(crate) fn new(
        engine: Engine,
        view: Arc<JobView>,
        held: Held,
        input: Bytes,
        steps: HashMap<StepName, Payload>,
        in_flight: InFlight,
    ) -> Self {
        let emitter = Emitter::new(engine.store().clone(), engine.clock().clone(), held.clone());
        Self { engine, view, held, input, emitter, steps, in_flight }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.view.job.spec.id
    }

    /// Whose job it is.
    pub fn tenant(&self) -> &Tenant {
        &self.view.job.spec.tenant
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.view.job.attempt
    }

    /// Whether a failure of this attempt is the job's: no further one follows it.
    pub fn is_last_attempt(&self) -> bool {
        let job = &self.view.job;
        job.attempt.saturating_sub(job.crashes) >= job.spec.max_attempts
    }

    /// How many attempts have failed before this one. Those that were cut off by a crash, put aside or given back have not.
    pub fn failures(&self) -> u32 {
        let job = &self.view.job;
        job.attempt.saturating_sub(job.crashes).saturating_sub(1)
    }

    /// The trace that what this attempt does belongs to.
    pub fn trace(&self) -> Option<TraceContext> {
        self.engine.trace_of_attempt(&self.view.job.spec, &self.held)
    }

    /// The pairs that its submitter gave it, as a JSON object.
    pub fn metadata(&self) -> Option<&str> {
        self.view.job.spec.metadata.as_deref()
    }

    /// When it has to be over, if it has to.
    pub fn deadline_at(&self) -> Option<Timestamp> {
        self.view.job.spec.deadline_at
    }

    /// The time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.engine.clock()
    }

    /// The store, for what belongs to the job's tenant.
    pub fn store(&self) -> &Arc<dyn JobStore> {
        self.engine.store()
    }

    /// The input: a JSON text.
    pub fn input(&self) -> &Bytes {
        &self.input
    }

    /// The input as a value. It was checked at the submit; what was accepted then and does not fit now is an error of
    /// ours, not of the client.
    pub fn parse_input<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.input)
            .map_err(|error| Failure::permanent("input_unreadable", format!("the input does not fit: {error}")))
    }

    /// The key that a side effect outside carries so that it happens once: the same on every attempt.
    pub fn effect_key(&self, step: &StepName) -> String {
        format!("{}:{step}", self.id())
    }

    /// Says that what could not be checked before the job was accepted is checked now; or that the work has begun.
    pub async fn enter(&self, stage: Stage) -> Result<(), Failure> {
        Ok(self.store().enter(self.held.clone(), stage).await?)
    }

    /// Says how far it is: `fraction` from 0 to 1.
    pub async fn progress(&self, fraction: f64, message: impl Into<String>) -> Result<(), Failure> {
        let fraction = Some(fraction.clamp(0.0, 1.0)).filter(|fraction| fraction.is_finite());
        self.tell(EventKind::Progress { fraction, message: Some(message.into()) }).await
    }

    /// Writes a line into the job's history.
    pub async fn log(&self, level: LogLevel, message: impl Into<String>) -> Result<(), Failure> {
        self.tell(EventKind::Log { level, message: message.into() }).await
    }

    /// Tells what the layers of a call have decided, a retry, a fallback, and what the call has taken ([`JobContext::spend`]).
    /// `data` is an object; one that is larger than [`LAYER_MOST`] bytes is left out: it is a note for people, and no reason
    /// to fail.
    pub async fn layer(&self, data: &impl Serialize, spent: Usage) -> Result<(), Failure> {
        let json = serde_json::to_string(data).unwrap_or_default();
        if !json.starts_with('{') || json.len() > LAYER_MOST {
            tracing::warn!(job_id = %self.id(), bytes = json.len(), "what a layer told is no object or too large");
            return self.spend(spent).await;
        }
        self.write(vec![EventKind::Layer { data: json.into_boxed_str() }], spent).await
    }

    /// Counts what calls of models have taken. It stands in the job's usage from now on, however the attempt and the job
    /// end, so it is counted once: when the call has been made, and not when a later attempt reads back what it gave.
    pub async fn spend(&self, usage: Usage) -> Result<(), Failure> {
        if usage.is_nothing() { Ok(()) } else { self.write(Vec::new(), usage).await }
    }

    async fn tell(&self, event: EventKind) -> Result<(), Failure> {
        self.write(vec![event], Usage::default()).await
    }

    async fn write(&self, events: Vec<EventKind>, spent: Usage) -> Result<(), Failure> {
        // What was emitted before stands before it.
        self.emitter.flush().await?;
        Ok(self.store().tell(self.held.clone(), events, spent).await?)
    }

    // ── output while it comes into being ──

    /// Gives out the next characters of the output. They are collected for some 50 ms, or until there are 4 KiB, and
    /// shown to readers once they are on disk. A call may wait for the disk.
    ///
    /// What is emitted outside of a [`JobContext::step`] is void when the job goes on under another lease, and is to be
    /// emitted again then; what is emitted within a step that finishes stands.
    pub async fn emit_text(&self, text: &str) -> Result<(), Failure> {
        self.emitter.emit_text(text).await
    }

    /// Gives out the next item of the output; as [`JobContext::emit_text`].
    pub async fn emit_item(&self, item: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(item)
            .map_err(|error| Failure::permanent("output_unserialisable", format!("an item is no JSON: {error}")))?;
        self.emitter.emit(OutputData::Items(vec![json.into_boxed_str()])).await
    }

    // ── kinds ──

    /// A kind that the job's tenant can submit; none when there is no such kind.
    pub fn kind(&self, name: &str) -> Option<Arc<KindSpec>> {
        self.engine.kind(self.tenant(), name)
    }

    /// What is wrong with an input of a kind; nothing, when a child with it would be taken in.
    pub fn examine(&self, kind: &str, input: &Bytes) -> Vec<FieldError> {
        let findings = self.engine.examine(self.tenant(), &[JobRequest::of(kind, input.clone())]);
        let errors = findings.into_iter().flat_map(|finding| match finding.flaw {
            Flaw::Input(errors) => errors,
            Flaw::Field(error) => vec![error],
            Flaw::UnknownKind { kind, .. } => {
                vec![FieldError { pointer: String::new(), message: format!("is for {kind:?}, which is no known kind") }]
            }
        });
        errors.collect()
    }

    /// A check by a JSON Schema, or why it is no schema.
    pub fn compile_schema(&self, schema: &serde_json::Value) -> Result<Arc<dyn Check>, String> {
        self.engine.compile_schema(schema)
    }

    // ── children and answers ──

    /// Takes jobs in as children of this one, once: a later attempt gets the ids of those. They are run by whoever runs
    /// their kinds, and cancelled when this job fails or is cancelled.
    pub async fn spawn(&self, step: StepName, children: Vec<JobRequest>) -> Result<Vec<JobId>, Failure> {
        if let Some(stored) = self.steps.get(&step) {
            return self.stored(&step, stored).await;
        }
        self.emitter.flush().await?;
        self.engine.spawn(self.held.clone(), step, children).await.map_err(|error| match error {
            Rejected::Invalid(findings) => Failure::permanent("child_invalid", told(&findings)),
            Rejected::Store(error) => error.into(),
            Rejected::ShuttingDown => Failure::Interrupted,
        })
    }

    /// All children, once each has ended. Until then the attempt ends here without a worker waiting: return the failure
    /// as it is, and the job comes back when they have.
    pub async fn wait_for_children(&self) -> Result<Vec<Child>, Failure> {
        let children = self.engine.all_children(&self.view.job).await?;
        let have_ended = children.iter().all(|child| child.status.is_terminal());
        if have_ended { Ok(children) } else { Err(Failure::Waiting(Wait::Children)) }
    }

    /// Somebody's answer, as it was given to `step`. Until there is one the attempt ends here without a worker waiting:
    /// return the failure as it is, and the job comes back with the answer.
    pub async fn ask<T: DeserializeOwned>(&self, step: StepName, prompt: Option<String>) -> Result<T, Failure> {
        match self.steps.get(&step) {
            Some(stored) => self.stored(&step, stored).await,
            None => Err(Failure::Waiting(Wait::Input { step, prompt })),
        }
    }

    async fn stored<T: DeserializeOwned>(&self, name: &StepName, stored: &Payload) -> Result<T, Failure> {
        let json = self.read(stored).await?;
        serde_json::from_slice(&json).map_err(|error| {
            Failure::permanent("step_unreadable", format!("the stored output of step {name} does not fit: {error}"))
        })
    }

    /// Does a step once: what it gave is stored under `name`, and a later attempt gets that instead of doing it again.
    ///
    /// A step that is cut off in the middle, or whose output cannot be stored, is done again. The attempt that it was cut
    /// off in is then kept as `ambiguous`: what the step does outside may have been done.
    pub async fn step<T, F>(&self, name: StepName, work: F) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, Failure>>,
    {
        if let Some(stored) = self.steps.get(&name) {
            return self.stored(&name, stored).await;
        }
        let output = self.outside(work).await?;
        let json = serde_json::to_vec(&output)
            .map_err(|error| Failure::permanent("step_unserialisable", format!("step {name}: {error}")))?;
        let stored = self.engine.payloads().store(json.into()).await?;
        // What the step has emitted is a part of it.
        self.emitter.flush().await?;
        // What it has spent was told when it was spent.
        self.store().checkpoint(self.held.clone(), name, stored.payload.clone(), Usage::default()).await?;
        self.in_flight.settle();
        Ok(output)
    }

    /// Does something outside that is no step, because the end of the attempt keeps what it gave. An attempt that is cut
    /// off from here on is kept as `ambiguous`; work that fails says in its [`Failure::Job`] itself what is known.
    pub async fn outside<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.in_flight.begin();
        let done = work.await;
        if matches!(done, Err(Failure::Job { .. } | Failure::Waiting(_))) {
            self.in_flight.settle();
        }
        done
    }

    /// The job's newest events, at most `most` of them, oldest first, as far as they had been recorded when this attempt
    /// began.
    pub async fn last_events(&self, most: usize) -> Result<Vec<Event>, Failure> {
        let after = self.view.job.last_seq.saturating_sub(most as u64);
        Ok(self.store().events(self.tenant(), self.id(), after, most).await?)
    }

    /// What the answer of an ended job says of itself; none when the job is unknown or its data is gone.
    pub async fn report_of(&self, job: JobId) -> Result<Option<Report>, Failure> {
        let view = self.store().job(self.tenant(), job).await;
        Ok(found(view)?.map(|view| view.job.report.clone()))
    }

    /// The steps that another job of the tenant has stored, in their order; none when it is unknown or its data is gone.
    pub async fn steps_of(&self, job: JobId) -> Result<Vec<StoredStep>, Failure> {
        let steps = self.store().steps(self.tenant(), job).await;
        Ok(found(steps)?.unwrap_or_default())
    }

    /// Whether an earlier attempt has stored the step.
    pub fn has_step(&self, name: &StepName) -> bool {
        self.steps.contains_key(name)
    }

    // ── documents ──

    /// A document of the job's tenant; none when there is no such document.
    pub async fn document(&self, document: DocumentId) -> Result<Option<Document>, Failure> {
        found(self.store().document(self.tenant(), document).await)
    }

    /// The bytes of a payload.
    pub async fn read(&self, payload: &Payload) -> Result<Bytes, Failure> {
        Ok(self.engine.payloads().read(payload).await?)
    }

    /// Stores a derived part of a document, or replaces it, under the attempt's lease. A large one goes to the blob store.
    pub async fn put_document_part(
        &self,
        document: DocumentId,
        part: &'static str,
        content: Bytes,
    ) -> Result<(), Failure> {
        // Holds the blob until the row that refers to it is committed.
        let stored = self.engine.payloads().store(content).await?;
        let put = self.store().put_document_part(self.held.clone(), document, part, stored.payload.clone());
        put.await.map_err(|error| match error {
            // Removed while it was worked on: another attempt would find nothing either.
            StoreError::NotFound("document") => {
                Failure::permanent("document_not_found", format!("there is no document {document} any more"))
            }
            other => other.into(),
        })
    }

    /// A derived part of a document; none when it has not been stored.
    pub async fn document_part(&self, document: DocumentId, part: &'static str) -> Result<Option<Bytes>, Failure> {
        let stored = found(self.store().document_part(self.tenant(), document, part).await)?;
        match stored.flatten() {
            Some(payload) => self.read(&payload).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether a derived part of a document is stored.
    pub async fn has_document_part(&self, document: DocumentId, part: &'static str) -> Result<bool, Failure> {
        Ok(found(self.store().document_part(self.tenant(), document, part).await)?.flatten().is_some())
    }

    /// Where another job of the tenant stands; none when it is unknown or its data is gone.
    pub async fn status_of(&self, job: JobId) -> Result<Option<Status>, Failure> {
        let view = self.store().job(self.tenant(), job).await;
        Ok(found(view)?.map(|view| view.job.status()))
    }
}

/// What is wrong with children, in one sentence each.
fn told(findings: &[crate::Finding]) -> String {
    let said = findings.iter().flat_map(|finding| {
        let at = |pointer: &str| format!("/{}{}{pointer}", finding.index, finding.below);
        match &finding.flaw {
            Flaw::UnknownKind { kind, .. } => vec![format!("{} is {kind:?}, which is no known kind", at("/kind"))],
            Flaw::Field(error) => vec![format!("{} {}", at(&error.pointer), error.message)],
            Flaw::Input(errors) => {
                (errors.iter()).map(|error| format!("{}{} {}", at("/input"), error.pointer, error.message)).collect()
            }
        }
    });
    said.collect::<Vec<_>>().join("; ")
}

/// What is not there is an answer and no failure.
fn found<T>(looked: Result<T, StoreError>) -> Result<Option<T>, Failure> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound(_) | StoreError::Gone(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
