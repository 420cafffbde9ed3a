//! A stage: an engine over a store in memory with a clock that is moved by hand, and a model that does as it is told.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use longhaul_core::{
    Clock, DocumentId, Ids, JobId, KindName, KindSpec, QueueName, Span, Status, StatusReason, Tenant, Timestamp,
};
use longhaul_engine::{Check, Engine, EngineOptions, Hub, JobRequest, RemoteClaim, SchemaCompiler, Waited};
use longhaul_gateway::{
    Analysis, AnalysisResult, Capabilities, Embeddings, ErrorClass, Model, ModelError, ModelFuture, Models, Operation,
};
use longhaul_resilience::Dice;
use longhaul_store::{Document, JobView, MemoryStore, StoreClock};
use longhaul_tasks::{BuiltIn, TaskSettings, built_in};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct ManualClock {
    micros: AtomicI64,
    moved: watch::Sender<()>,
}

impl ManualClock {
    pub(crate) fn shared() -> Arc<Self> {
        let start = AtomicI64::new(1_800_000_000_000_000);
        Arc::new(Self { micros: start, moved: watch::Sender::new(()) })
    }

    pub(crate) fn advance(&self, by: Span) {
        self.micros.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
        self.moved.send_replace(());
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut moved = self.moved.subscribe();
            while self.now() < at {
                moved.changed().await.unwrap();
            }
        })
    }
}

struct AnySchema;

impl SchemaCompiler for AnySchema {
    fn compile(&self, _: &Value) -> Result<Arc<dyn Check>, String> {
        Err("no kind is registered here".into())
    }
}

/// What the stage is made of.
pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) kinds: BuiltIn,
    pub(crate) tenant: Tenant,
    ids: Ids,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Models::default(), |_| {}).await
    }

    pub(crate) async fn with_model(model: Arc<FakeModel>) -> Self {
        let mut models = Models::default();
        models.insert(model);
        Self::with(models, |_| {}).await
    }

    /// Leases outlast every test, however the clock is moved.
    pub(crate) async fn with(models: Models, change: impl FnOnce(&mut TaskSettings)) -> Self {
        Self::start(models, Span::from_secs(1_000_000), change).await
    }

    /// Leases last 30 s and are never extended: moving the clock past that is the death of a worker.
    pub(crate) async fn mortal(change: impl FnOnce(&mut TaskSettings)) -> Self {
        Self::start(Models::default(), Span::from_secs(30), change).await
    }

    async fn start(models: Models, lease_for: Span, change: impl FnOnce(&mut TaskSettings)) -> Self {
        let clock = ManualClock::shared();
        let mut settings = TaskSettings {
            clock: clock.clone(),
            dice: Arc::new(Dice::seeded(1)),
            cpu_concurrency: 4,
            ..TaskSettings::default()
        };
        change(&mut settings);
        let kinds = built_in(Arc::new(models), settings);
        let hub = Arc::new(Hub::default());
        let time = StoreClock { clock: clock.clone(), ids: Arc::new(Ids::seeded(2)) };
        let store = MemoryStore::open(time, hub.clone()).unwrap();
        let options = EngineOptions { lease_for, beat_every: Span::from_secs(100_000_000), ..EngineOptions::default() };
        let (executors, schemas) = (kinds.executors.clone(), Arc::new(AnySchema));
        let started =
            Engine::start(options, store, hub, executors, schemas, clock.clone(), Arc::new(Ids::seeded(3))).await;
        Self { engine: started.unwrap(), clock, kinds, tenant: Tenant::default_tenant(), ids: Ids::seeded(4) }
    }

    pub(crate) async fn submit(&self, kind: &str, input: &Value) -> JobId {
        let request = JobRequest::of(kind, input.to_string());
        self.engine.submit(&self.tenant, vec![request], None).await.unwrap().jobs[0]
    }

    /// Takes in a document and its job.
    pub(crate) async fn upload(&self, name: &str, content: &[u8], options: Value) -> (DocumentId, JobId) {
        self.upload_to(&QueueName::default_queue(), name, content, options).await
    }

    pub(crate) async fn upload_to(
        &self,
        queue: &QueueName,
        name: &str,
        content: &[u8],
        mut options: Value,
    ) -> (DocumentId, JobId) {
        let id = DocumentId::fresh(&self.ids, self.clock.now());
        options["document_id"] = id.to_string().into();
        let pin = self.engine.store().blobs().put(content).unwrap();
        let document = |job| Document {
            id,
            tenant: self.tenant.clone(),
            file_name: name.into(),
            content_type: None,
            content: pin.blob(),
            job,
            created_at: self.clock.now(),
        };
        let request =
            JobRequest { queue: Some(queue.clone()), ..JobRequest::of("document.ingest", options.to_string()) };
        let accepted =
            self.engine.submit_with(&self.tenant, vec![request], None, None, |job| Some(document(job))).await.unwrap();
        (id, accepted.jobs[0])
    }

    /// The job at its end, without moving the clock. One that waits for another attempt will never end here.
    pub(crate) async fn ended(&self, job: JobId) -> Arc<JobView> {
        let mut view = self.engine.job(&self.tenant, job).await.unwrap();
        while !view.job.status().is_terminal() {
            let is_put_back = matches!(view.job.status_reason(self.clock.now()), Some(StatusReason::RetryWait));
            assert!(!is_put_back, "waits for another attempt: {:?}", view.job.error);
            let known = Some(view.job.version);
            match self.engine.wait(&self.tenant, job, Span::from_secs(3_600), known).await.unwrap() {
                Waited::Now(now) => view = now,
                Waited::Unchanged => panic!("the clock was moved while {job} was waited for"),
            }
        }
        view
    }

    /// The job at its end, with the clock moving on in small steps.
    pub(crate) async fn ended_in_time(&self, job: JobId) -> Arc<JobView> {
        loop {
            let view = self.engine.job(&self.tenant, job).await.unwrap();
            if view.job.status().is_terminal() {
                return view;
            }
            self.clock.advance(Span::from_millis(20));
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn output(&self, job: JobId) -> Value {
        let view = self.ended(job).await;
        assert_eq!(view.job.status(), Status::Succeeded, "{:?}", view.job.error);
        self.output_of(&view).await
    }

    pub(crate) async fn output_of(&self, view: &JobView) -> Value {
        let output = self.engine.payload(view.output.as_ref().unwrap()).await.unwrap();
        let output = serde_json::from_slice(&output).unwrap();
        // Every output of every test is held to the schema that its kind publishes.
        let kind = self.kinds.executors.iter().find(|executor| executor.kind().name == view.job.spec.kind).unwrap();
        let schema = jsonschema::validator_for(kind.kind().output_schema.as_ref().unwrap()).unwrap();
        schema.validate(&output).unwrap_or_else(|error| panic!("{error} in {output}"));
        output
    }

    /// Code and message of a job that must have failed, and whether it could be tried again.
    pub(crate) async fn failure(&self, job: JobId) -> (String, String, bool) {
        let view = self.ended(job).await;
        assert_eq!(view.job.status(), Status::Failed);
        let error = view.job.error.clone().unwrap();
        (error.code, error.message, error.retryable)
    }

    /// Why a job that has not ended stands where it stands.
    pub(crate) async fn reason(&self, job: JobId) -> StatusReason {
        let view = self.engine.job(&self.tenant, job).await.unwrap();
        view.job.status_reason(self.clock.now()).unwrap()
    }

    pub(crate) async fn steps(&self, job: JobId) -> Vec<String> {
        let steps = self.engine.steps(&self.tenant, job).await.unwrap();
        steps.into_iter().map(|step| step.name.to_string()).collect()
    }

    pub(crate) async fn part(&self, document: DocumentId, part: &'static str) -> Option<bytes::Bytes> {
        let stored = self.engine.store().document_part(&self.tenant, document, part).await.unwrap()?;
        Some(self.engine.payload(&stored).await.unwrap())
    }

    /// Stores a part by hand, under the lease of a job that is made for it.
    pub(crate) async fn put_part(&self, document: DocumentId, part: &'static str, content: &'static [u8]) {
        let kind = KindName::new("by.hand").unwrap();
        let spec = KindSpec::named(kind.clone());
        self.engine.register_kind(&self.tenant, spec).await.unwrap().unwrap();
        self.submit("by.hand", &Value::Null).await;
        let claim = RemoteClaim {
            tenant: self.tenant.clone(),
            worker: "by-hand".into(),
            kinds: Arc::new([kind]),
            queues: None,
            limit: 1,
            lease_for: Span::from_secs(30),
        };
        let held = self.engine.claim(claim, Span::from_secs(20)).await.unwrap().pop().unwrap().held;
        let content = longhaul_core::Payload::inline(content);
        self.engine.store().put_document_part(held, document, part, content).await.unwrap();
    }

    /// Waits, without any time passing on the clock, until something is so.
    pub(crate) async fn until(&self, mut is_so: impl FnMut() -> bool) {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }
}

/// A model `fake` that waits to be let go, fails as often as it is told, and counts.
pub(crate) struct FakeModel {
    capabilities: Capabilities,
    pub(crate) calls: AtomicUsize,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
    errors: Mutex<VecDeque<ModelError>>,
    gate: Option<Semaphore>,
}

impl fmt::Debug for FakeModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeModel")
    }
}

impl FakeModel {
    pub(crate) fn new() -> Self {
        let operations = vec![Operation::Embed, Operation::Summary, Operation::Keywords, Operation::Extract];
        let capabilities =
            Capabilities { operations, embedding_dimensions: Some(2), max_embed_texts: 3, cpu_bound: false };
        Self {
            capabilities,
            calls: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            errors: Mutex::default(),
            gate: None,
        }
    }

    /// Answers nobody before [`FakeModel::let_go`].
    pub(crate) fn held() -> Self {
        Self { gate: Some(Semaphore::new(0)), ..Self::new() }
    }

    pub(crate) fn failing(self, errors: impl IntoIterator<Item = ErrorClass>) -> Self {
        self.fail_next(errors);
        self
    }

    pub(crate) fn fail_next(&self, errors: impl IntoIterator<Item = ErrorClass>) {
        let error = |class| ModelError { code: "told_to", class, message: "as it was told".into() };
        self.errors.lock().unwrap().extend(errors.into_iter().map(error));
    }

    pub(crate) fn let_go(&self, calls: usize) {
        self.gate.as_ref().unwrap().add_permits(calls);
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Calls that were under way at once, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }

    async fn answer<T>(&self, answer: T) -> Result<T, ModelError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.most_at_once.fetch_max(self.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let answer = self.answer_when_let_go(answer).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    async fn answer_when_let_go<T>(&self, answer: T) -> Result<T, ModelError> {
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        match self.errors.lock().unwrap().pop_front() {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }
}

impl Model for FakeModel {
    fn name(&self) -> &str {
        "fake"
    }

    fn provider(&self) -> &str {
        "test"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> ModelFuture<'a, Embeddings> {
        let vectors = texts.iter().map(|text| vec![text.len() as f32, 1.0]).collect();
        Box::pin(self.answer(Embeddings { model: "fake-vectors".into(), dimensions: 2, vectors }))
    }

    fn analyse<'a>(&'a self, text: &'a str, analysis: &'a Analysis) -> ModelFuture<'a, AnalysisResult> {
        Box::pin(self.answer(match analysis {
            Analysis::Extract { .. } => AnalysisResult::Extract(serde_json::json!({"chars": text.len()})),
            Analysis::Keywords => AnalysisResult::Keywords(Vec::new()),
            _ => AnalysisResult::Summary(format!("in short: {text}")),
        }))
    }
}
