//! The whole router over an engine in memory and a gateway of simulated providers, without sockets.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use longhaul_core::{Clock, Ids, Tenant};
use longhaul_engine::{Engine, EngineOptions, Hub, SystemClock, store::StoreError};
use longhaul_gateway::{
    Gateway, GatewayOptions, GatewaySettings, Observer,
    settings::{
        CacheSettings, Canned, ModelSettings, OnInterrupt, Preset, ProviderSettings, Serves, SimSettings,
        TargetSettings, Wire,
    },
};
use longhaul_providers::sim::{Fault, Latency};
use longhaul_resilience::Scenario;
use longhaul_server::{App, Limits, Schemas, ServeOptions, Tasks, application, auth::KeyRing, metrics::Telemetry};
use longhaul_store::{MemoryStore, StoreClock};
use serde_json::Value;
use tower::ServiceExt as _;

/// A server.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) router: Router,
    pub(crate) app: App,
    pub(crate) engine: Engine,
    pub(crate) gateway: Gateway,
    telemetry: Arc<Telemetry>,
}

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The data of every event.
    pub(crate) fn events(&self) -> Vec<Value> {
        let data = self.text();
        let data = data.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

struct NoTasks;

#[async_trait::async_trait]
impl Tasks for NoTasks {
    fn processed(&self, _: &Tenant, _: &[u8]) -> Option<Bytes> {
        None
    }

    async fn search(
        &self,
        _: &Tenant,
        _: longhaul_core::DocumentId,
        _: &str,
        _: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
}

/// Answers at once.
fn quick() -> SimSettings {
    SimSettings { first_token: Latency::NONE, tokens_per_second: f64::INFINITY, ..SimSettings::default() }
}

fn gateway(telemetry: &Arc<Telemetry>) -> Gateway {
    let mut settings = GatewaySettings::default();
    let faulty = |fault| SimSettings { faults: BTreeMap::from([(fault, 1.0)]), ..quick() };
    let slow = SimSettings { tokens_per_second: 50.0, min_tokens: 40, max_tokens: 60, ..quick() };
    let providers = [
        ("sim", quick()),
        ("slow", slow),
        ("broken", faulty(Fault::ServerError)),
        ("throttled", SimSettings { retry_after_ms: 3_600_000, ..faulty(Fault::RateLimited) }),
        ("cut", faulty(Fault::Cut)),
        ("hang", faulty(Fault::Hang)),
    ];
    for (name, sim) in providers {
        let provider = ProviderSettings { sim, ..ProviderSettings::new(Wire::Sim) };
        settings.providers.insert(name.to_owned(), provider);
        let mut target = TargetSettings::of(Preset::Standard, name, "sim-small");
        target.retry.initial = Duration::from_millis(1);
        target.retry.max = Duration::from_millis(5);
        target.attempt_timeout = Duration::from_millis(500);
        settings.models.insert(name.to_owned(), ModelSettings::of(Preset::Standard, vec![target]));
    }
    let model = |of: &str| settings.models[of].clone();
    let cached = ModelSettings { cache: Some(CacheSettings::of(Scenario::UserQuery)), ..model("sim") };
    let canned = Canned { otherwise: Some("I am out of order.".to_owned()), ..Canned::default() };
    let canned = ModelSettings { canned: Some(canned), ..model("broken") };
    let vectors = ModelSettings { serves: Serves::Embeddings, ..model("sim") };
    let continued = ModelSettings { on_interrupt: OnInterrupt::Continue, ..model("slow") };
    for (name, model) in [("cached", cached), ("canned", canned), ("vectors", vectors), ("slow-continue", continued)] {
        settings.models.insert(name.to_owned(), model);
    }
    let told = telemetry.clone();
    let observer: Observer = Arc::new(move |record| told.called(record));
    let options = GatewayOptions { seed: Some(1), observer: Some(observer), ..GatewayOptions::default() };
    Gateway::new(settings, options).unwrap()
}

impl Stage {
    /// A fresh one, without keys.
    pub(crate) async fn open() -> Self {
        Self::open_at(Arc::new(SystemClock::start())).await
    }

    /// A fresh one, without keys, that goes by this clock.
    pub(crate) async fn open_at(clock: Arc<dyn Clock>) -> Self {
        let telemetry = Arc::new(Telemetry::default());
        let gateway = gateway(&telemetry);
        let hub = Arc::new(Hub::default());
        let ids = Arc::new(Ids::seeded(7));
        let store = MemoryStore::open(StoreClock { clock: clock.clone(), ids: ids.clone() }, hub.clone()).unwrap();
        let executors = longhaul_tasks::llm::executors(&gateway);
        let schemas = Arc::new(Schemas);
        let options = EngineOptions::default();
        let engine = Engine::start(options, store, hub, executors, schemas, clock, ids).await.unwrap();
        Self::over(engine, gateway, telemetry)
    }

    /// A server that has just started over the same jobs.
    pub(crate) fn restarted(&self) -> Self {
        Self::over(self.engine.clone(), self.gateway.clone(), self.telemetry.clone())
    }

    fn over(engine: Engine, gateway: Gateway, telemetry: Arc<Telemetry>) -> Self {
        let limits = Limits { facade_body: 64 * 1024, ..Limits::default() };
        let app = App::new(engine.clone(), gateway.clone(), KeyRing::default(), limits, Arc::new(NoTasks), Vec::new())
            .observed(telemetry.clone());
        let options = ServeOptions { open_documents: true, ..ServeOptions::default() };
        let router = application(app.clone(), &options).unwrap();
        Self { router, app, engine, gateway, telemetry }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// The answer as it comes.
    pub(crate) async fn open_stream(&self, request: Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, body, &[]).await
    }

    pub(crate) async fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.send(post(path, body, headers)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        let request = Request::put(path).header("host", "localhost").header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Request::delete(path).header("host", "localhost").body(Body::empty()).unwrap()).await
    }
}

/// A request with a JSON body.
pub(crate) fn post(path: &str, body: &Value, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post(path).header("host", "localhost").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_string())).unwrap()
}
