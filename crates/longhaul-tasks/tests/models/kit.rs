//! A stage: engine, gateway, a scripted provider behind its models, and a hand that plays the worker.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use longhaul_core::{
    DocumentId, Event, EventKind, Ids, JobError, JobId, KindName, KindSpec, OutputData, RetryPlan, Span, Status,
    StatusReason, Tenant, Usage,
};
use longhaul_engine::{
    Check, Completion, Engine, EngineOptions, FieldError, Flaw, Hub, JobRequest, Rejected, RemoteClaim, RemoteJob,
    SchemaCompiler, SystemClock, Waited,
};
use longhaul_gateway::{
    Endpoint, Gateway, GatewayOptions, GatewaySettings, Models,
    settings::{
        Flavor, ModelSettings, Preset, Price, ProviderSettings, RetrySettings, Serves, TargetSettings, Trip, Wire,
    },
};
use longhaul_store::{Document, JobView, MemoryStore, StoreClock};
use longhaul_tasks::{BuiltIn, TaskSettings, built_in};
use longhaul_testkit::script::{Answer, Asked, Scripted};
use serde_json::{Value, json};

/// By the schema, with nothing around it.
pub(crate) struct Schemas;

struct Compiled(jsonschema::Validator);

impl SchemaCompiler for Schemas {
    fn compile(&self, schema: &Value) -> Result<Arc<dyn Check>, String> {
        let validator = jsonschema::options().offline().build(schema).map_err(|error| error.to_string())?;
        Ok(Arc::new(Compiled(validator)))
    }
}

impl Check for Compiled {
    fn check(&self, input: &str) -> Vec<FieldError> {
        let value: Value = serde_json::from_str(input).unwrap();
        let error = |error: jsonschema::ValidationError<'_>| FieldError {
            pointer: error.instance_path().as_str().to_owned(),
            message: error.to_string(),
        };
        self.0.iter_errors(&value).map(error).collect()
    }
}

pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) provider: Scripted,
    pub(crate) kinds: BuiltIn,
    pub(crate) tenant: Tenant,
    ids: Ids,
}

/// A provider's price that makes sums easy: 1 micro-dollar a token.
const PRICE: Price =
    Price { input_per_mtok: 1.0, output_per_mtok: 1.0, cached_input_per_mtok: None, cache_write_per_mtok: None };

fn provider(url: &str) -> ProviderSettings {
    ProviderSettings {
        base_url: Some(Endpoint::parse(url).unwrap()),
        flavor: Flavor::Compatible,
        ..ProviderSettings::new(Wire::OpenAi)
    }
}

fn model(provider: &str) -> ModelSettings {
    let retry = RetrySettings {
        max_retries: 3,
        initial: Duration::from_millis(1),
        max: Duration::from_millis(5),
        ..RetrySettings::default()
    };
    let mut target = TargetSettings::of(Preset::Standard, provider, "scripted");
    target.retry = retry;
    target.price = Some(PRICE);
    ModelSettings { cache: None, ..ModelSettings::of(Preset::Standard, vec![target]) }
}

impl Stage {
    /// Models `smart` and `vectors` stand behind the script.
    pub(crate) async fn new(script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(script, |_| {}).await
    }

    pub(crate) async fn with(
        script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
        change: impl FnOnce(&mut TaskSettings),
    ) -> Self {
        Self::set(script, change, |_| {}).await
    }

    /// Two targets stand behind `smart`, with the upstream models `scripted` and `second`.
    pub(crate) async fn with_two_targets(script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let second = |smart: &mut ModelSettings| {
            let mut target = smart.targets[0].clone();
            (target.name, target.model, target.rank) = ("second".into(), "second".into(), 1);
            smart.targets.push(target);
        };
        Self::set(script, |_| {}, second).await
    }

    async fn set(
        script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
        change: impl FnOnce(&mut TaskSettings),
        smart: impl FnOnce(&mut ModelSettings),
    ) -> Self {
        let scripted = Scripted::start(script).await.unwrap();
        let mut settings = GatewaySettings::default();
        settings.providers.insert("scripted".into(), provider(&scripted.base_url()));
        let mut model_settings = model("scripted");
        smart(&mut model_settings);
        settings.models.insert("smart".into(), model_settings);
        settings.models.insert("vectors".into(), ModelSettings { serves: Serves::Embeddings, ..model("scripted") });
        // Two upstream models that answer in turn, and a model that no breaker guards.
        let mut two = model("scripted");
        two.targets.push(TargetSettings { rank: 1, ..TargetSettings::of(Preset::Standard, "scripted", "second") });
        two.targets[0].retry.max_retries = 0;
        two.targets[0].breaker.trip = Trip::Consecutive(1_000);
        settings.models.insert("two".into(), ModelSettings { serves: Serves::Embeddings, ..two });
        let mut frail = model("scripted");
        frail.targets[0].breaker.trip = Trip::Consecutive(1_000);
        settings.models.insert("frail".into(), ModelSettings { serves: Serves::Embeddings, ..frail });
        let gateway = Gateway::new(settings, GatewayOptions { seed: Some(7), ..GatewayOptions::default() }).unwrap();
        let clock = Arc::new(SystemClock::start());
        let mut settings = TaskSettings { clock: clock.clone(), schemas: Arc::new(Schemas), ..TaskSettings::default() };
        change(&mut settings);
        let kinds = built_in(Arc::new(Models::over(gateway)), settings);
        let hub = Arc::new(Hub::default());
        let time = StoreClock { clock: clock.clone(), ids: Arc::new(Ids::seeded(2)) };
        let store = MemoryStore::open(time, hub.clone()).unwrap();
        let executors = kinds.executors.clone();
        let options = EngineOptions::default();
        let ids = Arc::new(Ids::seeded(3));
        let engine = Engine::start(options, store, hub, executors, Arc::new(Schemas), clock, ids).await.unwrap();
        Self { engine, provider: scripted, kinds, tenant: Tenant::default_tenant(), ids: Ids::seeded(4) }
    }

    pub(crate) async fn submit(&self, kind: &str, input: &Value) -> JobId {
        self.try_submit(kind, input).await.unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// Takes in a document and its job.
    pub(crate) async fn upload(&self, content: &str, options: Value) -> (DocumentId, JobId) {
        self.upload_with(content, options, |request| request).await
    }

    pub(crate) async fn upload_with(
        &self,
        content: &str,
        mut options: Value,
        change: impl FnOnce(JobRequest) -> JobRequest,
    ) -> (DocumentId, JobId) {
        let now = self.engine.clock().now();
        let id = DocumentId::fresh(&self.ids, now);
        options["document_id"] = id.to_string().into();
        let pin = self.engine.store().blobs().put(content.as_bytes()).unwrap();
        let document = |job| Document {
            id,
            tenant: self.tenant.clone(),
            file_name: "story.txt".into(),
            content_type: None,
            content: pin.blob(),
            job,
            created_at: now,
        };
        let request = change(JobRequest::of("document.ingest", options.to_string()));
        let accepted =
            self.engine.submit_with(&self.tenant, vec![request], None, None, |job| Some(document(job))).await.unwrap();
        (id, accepted.jobs[0])
    }

    /// The job, or what is wrong with its input, as `pointer message`.
    pub(crate) async fn try_submit(&self, kind: &str, input: &Value) -> Result<JobId, Vec<String>> {
        let request = JobRequest::of(kind, input.to_string());
        match self.engine.submit(&self.tenant, vec![request], None).await {
            Ok(accepted) => Ok(accepted.jobs[0]),
            Err(Rejected::Invalid(findings)) => {
                let Flaw::Input(errors) = &findings[0].flaw else { panic!("{findings:?}") };
                Err(errors.iter().map(|error| format!("{} {}", error.pointer, error.message)).collect())
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// An agent with the model `smart`.
    pub(crate) async fn agent(&self, mut input: Value) -> JobId {
        input["model"] = "smart".into();
        self.submit("agent", &input).await
    }

    pub(crate) async fn view(&self, job: JobId) -> Arc<JobView> {
        self.engine.job(&self.tenant, job).await.unwrap()
    }

    pub(crate) async fn ended(&self, job: JobId) -> Arc<JobView> {
        self.until(job, |view| view.job.status().is_terminal()).await
    }

    /// The job, once it stands as is wanted.
    pub(crate) async fn until(&self, job: JobId, is_so: impl Fn(&JobView) -> bool) -> Arc<JobView> {
        let mut view = self.view(job).await;
        while !is_so(&view) {
            assert!(!view.job.status().is_terminal(), "it has ended otherwise: {:?}", view.job);
            let known = Some(view.job.version);
            if let Waited::Now(now) = self.engine.wait(&self.tenant, job, Span::from_secs(30), known).await.unwrap() {
                view = now;
            }
        }
        view
    }

    pub(crate) async fn waits(&self, job: JobId, reason: StatusReason) {
        let clock = self.engine.clock().clone();
        self.until(job, |view| view.job.status_reason(clock.now()) == Some(reason)).await;
    }

    pub(crate) async fn output(&self, job: JobId) -> Value {
        let view = self.ended(job).await;
        assert_eq!(view.job.status(), Status::Succeeded, "{:?}", view.job.error);
        let output = self.engine.payload(view.output.as_ref().unwrap()).await.unwrap();
        let output: Value = serde_json::from_slice(&output).unwrap();
        // Every output of every test is held to the schema that its kind publishes.
        let kind = self.engine.kind(&self.tenant, &view.job.spec.kind).unwrap();
        let schema = jsonschema::validator_for(kind.output_schema.as_ref().unwrap()).unwrap();
        schema.validate(&output).unwrap_or_else(|error| panic!("{error} in {output}"));
        output
    }

    pub(crate) async fn error(&self, job: JobId) -> JobError {
        let view = self.ended(job).await;
        assert_eq!(view.job.status(), Status::Failed);
        view.job.error.clone().unwrap()
    }

    pub(crate) async fn steps(&self, job: JobId) -> Vec<String> {
        let steps = self.engine.steps(&self.tenant, job).await.unwrap();
        let mut names: Vec<String> = steps.into_iter().map(|step| step.name.to_string()).collect();
        names.sort();
        names
    }

    pub(crate) async fn events(&self, job: JobId) -> Vec<Event> {
        self.engine.events(&self.tenant, job, 0, 1_000).await.unwrap()
    }

    /// The items that the job has given out, resets applied or not.
    pub(crate) async fn items(&self, job: JobId) -> Vec<Value> {
        let events = self.events(job).await;
        let items = events.into_iter().filter_map(|event| match event.kind {
            EventKind::OutputDelta { data: OutputData::Items(items) } => Some(items),
            _ => None,
        });
        items.flatten().map(|item| serde_json::from_str(&item).unwrap()).collect()
    }

    pub(crate) async fn answer(&self, job: JobId, answer: Value) {
        self.engine.answer(&self.tenant, job, None, Bytes::from(answer.to_string())).await.unwrap();
    }

    // ── the worker ──

    /// A kind that the test serves by hand.
    pub(crate) async fn register(&self, kind: &str, schema: Value) {
        let spec = KindSpec {
            description: Some(format!("What {kind} does.")),
            input_schema: Some(schema),
            max_attempts: Some(1),
            ..KindSpec::named(KindName::new(kind).unwrap())
        };
        self.engine.register_kind(&self.tenant, spec).await.unwrap().unwrap();
    }

    /// A kind that takes `{"city": "…"}`.
    pub(crate) async fn register_weather(&self) {
        let city = json!({"type": "string", "minLength": 1});
        let schema = json!({
            "type": "object", "properties": {"city": city}, "required": ["city"], "additionalProperties": false
        });
        self.register("weather.now", schema).await;
    }

    pub(crate) async fn claim(&self, kind: &str, count: usize) -> Vec<RemoteJob> {
        let mut claimed = Vec::new();
        while claimed.len() < count {
            let claim = RemoteClaim {
                tenant: self.tenant.clone(),
                worker: "by-hand".into(),
                kinds: Arc::new([KindName::new(kind).unwrap()]),
                queues: None,
                limit: count - claimed.len(),
                lease_for: Span::from_secs(300),
            };
            let jobs = self.engine.claim(claim, Span::from_secs(20)).await.unwrap();
            assert!(!jobs.is_empty(), "nobody called {kind}");
            claimed.extend(jobs);
        }
        claimed
    }

    pub(crate) async fn complete(&self, job: &RemoteJob, output: Value) {
        let completion = Completion::Succeeded(Bytes::from(output.to_string()), Box::default());
        self.engine.complete(job.held.clone(), completion, Usage::default()).await.unwrap();
    }

    pub(crate) async fn fail(&self, job: &RemoteJob, code: &str, message: &str) {
        let completion = Completion::Failed {
            error: JobError::permanent(code, message),
            plan: RetryPlan::Backoff,
            ambiguous: false,
        };
        self.engine.complete(job.held.clone(), completion, Usage::default()).await.unwrap();
    }

    /// Serves one call of a kind; its input.
    pub(crate) async fn serve(&self, kind: &str, output: Value) -> Value {
        let jobs = self.claim(kind, 1).await;
        self.complete(&jobs[0], output).await;
        serde_json::from_slice(&jobs[0].input).unwrap()
    }
}

/// The results of tools that a request tells its model, by the id of their call.
pub(crate) fn results(asked: &Asked) -> BTreeMap<String, String> {
    let results = asked.messages().iter().filter(|message| message["role"] == "tool");
    results
        .map(|message| {
            let content = message["content"].as_str().unwrap_or_default().to_owned();
            (message["tool_call_id"].as_str().unwrap().to_owned(), content)
        })
        .collect()
}
