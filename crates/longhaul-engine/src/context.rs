//! What an executor gets: the job, and the ways to write for it under its lease.

use std::{collections::HashMap, future::Future, sync::Arc};

use bytes::Bytes;
use longhaul_core::{
    Clock, DocumentId, EventKind, JobId, LogLevel, Payload, Stage, Status, StepName, Tenant, Timestamp,
};
use longhaul_store::{Document, Held, JobStore, JobView, StoreError};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, admission::Payloads};

/// A job under a lease, as its executor sees it.
pub struct JobContext {
    view: Arc<JobView>,
    held: Held,
    input: Bytes,
    store: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    payloads: Payloads,
    /// Outputs of the steps that earlier attempts have stored.
    steps: HashMap<StepName, Payload>,
}

impl JobContext {
    pub(crate) fn new(
        view: Arc<JobView>,
        held: Held,
        input: Bytes,
        store: Arc<dyn JobStore>,
        clock: Arc<dyn Clock>,
        payloads: Payloads,
        steps: HashMap<StepName, Payload>,
    ) -> Self {
        Self { view, held, input, store, clock, payloads, steps }
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

    /// When it has to be over, if it has to.
    pub fn deadline_at(&self) -> Option<Timestamp> {
        self.view.job.spec.deadline_at
    }

    /// The time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The store, for what belongs to the job's tenant.
    pub fn store(&self) -> &Arc<dyn JobStore> {
        &self.store
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
        Ok(self.store.enter(self.held.clone(), stage).await?)
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

    async fn tell(&self, event: EventKind) -> Result<(), Failure> {
        Ok(self.store.tell(self.held.clone(), vec![event]).await?)
    }

    /// Does a step once: what it gave is stored under `name`, and a later attempt gets that instead of doing it again.
    pub async fn step<T, F>(&self, name: StepName, work: F) -> Result<T, Failure>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, Failure>>,
    {
        if let Some(stored) = self.steps.get(&name) {
            let json = self.payloads.read(stored).await?;
            return serde_json::from_slice(&json).map_err(|error| {
                Failure::permanent("step_unreadable", format!("the stored output of step {name} does not fit: {error}"))
            });
        }
        let output = work.await?;
        let json = serde_json::to_vec(&output)
            .map_err(|error| Failure::permanent("step_unserialisable", format!("step {name}: {error}")))?;
        let stored = self.payloads.store(json.into()).await?;
        self.store.checkpoint(self.held.clone(), name, stored.payload.clone()).await?;
        Ok(output)
    }

    /// Whether an earlier attempt has stored the step.
    pub fn has_step(&self, name: &StepName) -> bool {
        self.steps.contains_key(name)
    }

    // ── documents ──

    /// A document of the job's tenant; none when there is no such document.
    pub async fn document(&self, document: DocumentId) -> Result<Option<Document>, Failure> {
        found(self.store.document(self.tenant(), document).await)
    }

    /// The bytes of a payload.
    pub async fn read(&self, payload: &Payload) -> Result<Bytes, Failure> {
        Ok(self.payloads.read(payload).await?)
    }

    /// Stores a derived part of a document, or replaces it. A large one goes to the blob store.
    pub async fn put_document_part(
        &self,
        document: DocumentId,
        part: &'static str,
        content: Bytes,
    ) -> Result<(), Failure> {
        // Holds the blob until the row that refers to it is committed.
        let stored = self.payloads.store(content).await?;
        Ok(self.store.put_document_part(self.tenant(), document, part, stored.payload.clone()).await?)
    }

    /// A derived part of a document; none when it has not been stored.
    pub async fn document_part(&self, document: DocumentId, part: &'static str) -> Result<Option<Bytes>, Failure> {
        let stored = found(self.store.document_part(self.tenant(), document, part).await)?;
        match stored.flatten() {
            Some(payload) => self.read(&payload).await.map(Some),
            None => Ok(None),
        }
    }

    /// Where another job of the tenant stands; none when it is unknown or its data is gone.
    pub async fn status_of(&self, job: JobId) -> Result<Option<Status>, Failure> {
        let view = self.store.job(self.tenant(), job).await;
        Ok(found(view)?.map(|view| view.job.status()))
    }
}

/// What is not there is an answer and no failure.
fn found<T>(looked: Result<T, StoreError>) -> Result<Option<T>, Failure> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound(_) | StoreError::Gone(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
