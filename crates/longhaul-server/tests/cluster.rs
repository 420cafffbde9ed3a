//! Two servers on one PostgreSQL database: a key is made or revoked for both.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![cfg(unix)]

#[path = "../../longhaul-store/tests/postgres/server.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod server;

use std::sync::Arc;

use axum::{Router, body::Body};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use longhaul_core::{DocumentId, Ids, Span, Tenant, testing::ManualClock};
use longhaul_engine::{Engine, EngineOptions, Hub, store::StoreError};
use longhaul_gateway::{Gateway, GatewayOptions, GatewaySettings};
use longhaul_server::{App, Limits, Schemas, ServeOptions, Tasks, application, auth};
use longhaul_store::{PostgresOptions, PostgresStore, StoreClock};
use serde_json::{Value, json};
use server::Database;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

const ADMIN: &str = "lh_admin_Zm9yLXRlc3RzLW9ubHktMzItYnl0ZXMtb2Ytc2VjcmV0";

struct NoTasks;

#[async_trait::async_trait]
impl Tasks for NoTasks {
    fn processed(&self, _: &Tenant, _: &[u8]) -> Option<Bytes> {
        None
    }

    async fn search(&self, _: &Tenant, _: DocumentId, _: &str, _: usize) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
}

struct Server {
    router: Router,
    engine: Engine,
    stop: CancellationToken,
    tasks: TaskTracker,
}

async fn open(database: &Database, clock: &ManualClock, seed: u64) -> Server {
    let (ids, hub) = (Arc::new(Ids::seeded(seed)), Arc::new(Hub::default()));
    let time = StoreClock { clock: Arc::new(clock.clone()), ids: ids.clone() };
    let options = PostgresOptions { own_time: true, ..PostgresOptions::at(database.url()) };
    let store = PostgresStore::open(&options, time, hub.clone()).await.unwrap();
    let key = auth::bootstrap(ADMIN, longhaul_core::Clock::now(clock)).unwrap();
    store.put_key(key).await.unwrap();
    let keys = auth::KeyRing::of(store.keys().await.unwrap());
    let (options, clock) = (EngineOptions::default(), Arc::new(clock.clone()));
    let engine = Engine::start(options, store, hub, Vec::new(), Arc::new(Schemas), clock, ids).await.unwrap();
    let gateway = Gateway::new(GatewaySettings::default(), GatewayOptions::default()).unwrap();
    let app = App::new(engine.clone(), gateway, keys, Limits::default(), Arc::new(NoTasks), Vec::new());
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(app.clone().keep_keys(stop.clone()));
    let router = application(app, &ServeOptions { open_documents: true, ..ServeOptions::default() }).unwrap();
    Server { router, engine, stop, tasks }
}

impl Server {
    async fn ask(&self, method: &str, path: &str, key: &str, body: Option<Value>) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header("host", "localhost").header("x-api-key", key);
        let request = request.header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let (parts, body) = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// A fresh key: its id and itself.
    async fn make_key(&self) -> (String, String) {
        let body = json!({"name": "ci", "scopes": ["jobs:read"]});
        let (status, made) = self.ask("POST", "/v1/api_keys", ADMIN, Some(body)).await;
        assert_eq!(status, 201, "{made}");
        (made["key_id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
    }

    /// What a key opens here.
    async fn shows(&self, key: &str) -> u16 {
        self.ask("GET", "/v1/jobs", key, None).await.0
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.engine.drain(Span::ZERO).await;
        self.engine.close().await;
    }
}

#[tokio::test]
async fn a_key_that_one_server_makes_opens_the_other_at_once_and_nothing_once_it_is_revoked() {
    let (database, clock) = (Database::new().await, ManualClock::default());
    let (here, there) = (open(&database, &clock, 1).await, open(&database, &clock, 2).await);
    let (id, key) = here.make_key().await;
    assert_eq!(there.shows(&key).await, 200);
    let (status, answer) = here.ask("DELETE", &format!("/v1/api_keys/{id}"), ADMIN, None).await;
    assert_eq!(status, 204, "{answer}");
    assert_eq!(here.shows(&key).await, 401);
    // Each question takes a round trip to the database, and the other server is being told meanwhile.
    while there.shows(&key).await != 401 {}
    assert_eq!(there.shows(ADMIN).await, 200);
    here.close().await;
    there.close().await;
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_seconds_later_even_if_nobody_told_of_it() {
    let (database, clock) = (Database::new().await, ManualClock::default());
    let server = open(&database, &clock, 1).await;
    let (_, key) = server.make_key().await;
    database.run("UPDATE api_key SET revoked_at = created_at WHERE name = 'ci'").await;
    let mut asked = 0;
    while server.shows(&key).await == 200 {
        clock.advance(Span::from_millis(100));
        asked += 1;
        assert!(asked < 1_000, "it goes on to open the server");
    }
    server.close().await;
}

#[tokio::test]
async fn a_session_that_one_server_began_holds_at_the_other() {
    let (database, clock) = (Database::new().await, ManualClock::default());
    let (here, there) = (open(&database, &clock, 1).await, open(&database, &clock, 2).await);
    let (_, key) = here.make_key().await;
    // The other server has never seen the key.
    let (status, _) = there.ask("POST", "/v1/session", "", Some(json!({"key": key}))).await;
    assert_eq!(status, 204);
    let (status, _) = there.ask("POST", "/v1/session", "", Some(json!({"key": key.replace("lh_", "lh_0")}))).await;
    assert_eq!(status, 401);
    here.close().await;
    there.close().await;
}
