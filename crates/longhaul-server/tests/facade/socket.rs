//! The WebSocket: what ends a subscription, what ends a connection, and what is said then.

use std::{sync::Arc, time::Duration};

use axum::http::HeaderValue;
use futures::{SinkExt as _, StreamExt as _};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use longhaul_core::{Span, testing::ManualClock};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};
use tokio_util::task::TaskTracker;

use crate::kit::{Answer, Stage, post};

/// How much a connection holds that nobody reads: less than what makes a reader lag.
const PIPE_BYTES: usize = 8 * 1024;

/// A page's end of a connection.
struct Page(WebSocketStream<DuplexStream>);

impl Page {
    /// Connects with these headers besides.
    async fn open(stage: &Stage, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let service = TowerToHyperService::new(stage.router.clone());
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service).with_upgrades();
        TaskTracker::new().spawn(connection);
        let mut request = "ws://localhost/v1/events/ws".into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        Ok(Self(client_async(request, ours).await?.0))
    }

    async fn say(&mut self, word: &Value) {
        self.0.send(Message::text(word.to_string())).await.unwrap();
    }

    /// The next word.
    async fn hear(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no word: {other:?}"),
        }
    }

    async fn next(&mut self) -> Message {
        tokio::time::timeout(Duration::from_secs(60), self.0.next()).await.unwrap().unwrap().unwrap()
    }

    /// Why it was closed; words before that do not count.
    async fn closed(&mut self) -> CloseCode {
        loop {
            if let Message::Close(frame) = self.next().await {
                return frame.unwrap().code;
            }
        }
    }
}

/// A job that a worker of the test's holds; its id and the lease.
async fn held_job(stage: &Stage) -> (String, String) {
    let put = stage.put("/v1/kinds/told", &json!({"description": "does as it is told"})).await;
    assert_eq!(put.status, 200, "{}", put.text());
    stage.post("/v1/jobs", &json!({"kind": "told", "input": {}})).await;
    let claim = json!({"worker_id": "w1", "kinds": ["told"], "max": 1, "wait_s": 10, "lease_s": 60});
    let job = stage.post("/v1/worker/claims", &claim).await.json()["jobs"][0].clone();
    (job["job_id"].as_str().unwrap().to_owned(), job["lease_token"].as_str().unwrap().to_owned())
}

async fn as_worker(stage: &Stage, job: &str, lease: &str, what: &str, body: &Value) -> Answer {
    let path = format!("/v1/worker/jobs/{job}/{what}");
    let answer = stage.post_with(&path, body, &[("longhaul-lease", lease)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

#[tokio::test]
async fn a_reader_that_lags_is_told_so_and_reads_on_to_the_end_without_a_gap() {
    let stage = Stage::open().await;
    let (job, lease) = held_job(&stage).await;
    let mut page = Page::open(&stage, &[]).await.unwrap();
    page.say(&json!({"op": "subscribe", "job_id": job})).await;
    assert_eq!(page.hear().await["type"], "subscribed");
    let mut seen = 0;
    // It has caught up before the burst comes, of which the pipe holds little.
    while seen < 2 {
        seen = page.hear().await["seq"].as_u64().unwrap();
    }
    for chunk_seq in 1..=16 {
        let piece = json!({"chunk_seq": chunk_seq, "data": "night train ".repeat(5_000)});
        as_worker(&stage, &job, &lease, "output", &piece).await;
    }
    as_worker(&stage, &job, &lease, "complete", &json!({"output": "there"})).await;
    let mut lags = 0;
    loop {
        let word = page.hear().await;
        if let Some(seq) = word["seq"].as_u64() {
            assert_eq!(seq, seen + 1);
            seen = seq;
            continue;
        }
        match word["type"].as_str().unwrap() {
            "stream.lagged" => {
                lags += 1;
                assert_eq!(word["after"], seen);
                // Nothing else is said of it: the next word answers the next question.
                page.say(&json!({"op": "ping"})).await;
                assert_eq!(page.hear().await, json!({"type": "pong"}));
                page.say(&json!({"op": "subscribe", "job_id": job, "after": seen})).await;
                assert_eq!(page.hear().await["type"], "subscribed");
            }
            "stream.end" => break,
            _ => panic!("not expected: {word}"),
        }
    }
    assert!(lags > 0, "the pipe was read too fast");
    let stored = stage.get(&format!("/v1/jobs/{job}")).await.json();
    assert_eq!((&stored["last_event_seq"], &stored["status"]), (&json!(seen), &json!("succeeded")));
}

/// A stage whose only key is an administrator's, and that key.
async fn keyed(clock: &ManualClock) -> (Stage, String) {
    let stage = Stage::open_at(Arc::new(clock.clone())).await;
    let made = stage.post("/v1/api_keys", &json!({"name": "first", "scopes": ["admin"]})).await.json();
    let key = made["key"].as_str().unwrap().to_owned();
    (stage, format!("Bearer {key}"))
}

/// Another key, as `Authorization` and as its id.
async fn another(stage: &Stage, admin: &str) -> (String, String) {
    let body = json!({"name": "page", "scopes": ["jobs:read", "jobs:write"]});
    let made = stage.post_with("/v1/api_keys", &body, &[("authorization", admin)]).await.json();
    (format!("Bearer {}", made["key"].as_str().unwrap()), made["key_id"].as_str().unwrap().to_owned())
}

async fn revoke(stage: &Stage, admin: &str, id: &str) {
    let request = axum::http::Request::delete(format!("/v1/api_keys/{id}"))
        .header("host", "localhost")
        .header("authorization", admin)
        .body(axum::body::Body::empty());
    assert_eq!(stage.send(request.unwrap()).await.status, 204);
}

#[tokio::test]
async fn a_key_that_is_revoked_cancels_nothing_over_a_connection_that_is_open() {
    let clock = ManualClock::default();
    let (stage, admin) = keyed(&clock).await;
    let (key, id) = another(&stage, &admin).await;
    let job = queued(&stage, &admin, &key).await;
    let mut page = Page::open(&stage, &[("authorization", &key)]).await.unwrap();
    page.say(&json!({"op": "ping"})).await;
    assert_eq!(page.hear().await["type"], "pong");
    revoke(&stage, &admin, &id).await;
    page.say(&json!({"op": "cancel", "job_id": job})).await;
    assert_eq!(page.closed().await, CloseCode::Policy);
    let request = axum::http::Request::get(format!("/v1/jobs/{job}"))
        .header("authorization", &admin)
        .body(axum::body::Body::empty());
    assert_eq!(stage.send(request.unwrap()).await.json()["status"], "queued");
}

/// A job of `key`'s that waits for somebody to run it.
async fn queued(stage: &Stage, admin: &str, key: &str) -> String {
    let kind = json!({"description": "served by nobody here"}).to_string();
    let put = axum::http::Request::put("/v1/kinds/told").header("authorization", admin).body(kind.into());
    assert_eq!(stage.send(with_json(put.unwrap())).await.status, 200);
    let submit = json!({"kind": "told", "input": {}});
    let job = stage.post_with("/v1/jobs", &submit, &[("authorization", key)]).await.json();
    job["job_id"].as_str().unwrap().to_owned()
}

fn with_json(mut request: axum::http::Request<axum::body::Body>) -> axum::http::Request<axum::body::Body> {
    request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    request
}

#[tokio::test]
async fn a_key_that_is_revoked_is_told_to_go_though_it_says_nothing() {
    let clock = ManualClock::default();
    let (stage, admin) = keyed(&clock).await;
    let (key, id) = another(&stage, &admin).await;
    let mut page = Page::open(&stage, &[("authorization", &key)]).await.unwrap();
    page.say(&json!({"op": "ping"})).await;
    assert_eq!(page.hear().await["type"], "pong");
    revoke(&stage, &admin, &id).await;
    tokio::time::pause();
    assert_eq!(page.closed().await, CloseCode::Policy);
}

#[tokio::test]
async fn a_stream_of_events_ends_with_the_key_that_it_was_asked_for_with() {
    let clock = ManualClock::default();
    let (stage, admin) = keyed(&clock).await;
    let (key, id) = another(&stage, &admin).await;
    let path = format!("/v1/jobs/{}", queued(&stage, &admin, &key).await);
    let stream = |key: &str| {
        let request = axum::http::Request::get(format!("{path}/events")).header("host", "localhost");
        let request = request.header("authorization", key).header("accept", "text/event-stream");
        stage.open_stream(request.body(axum::body::Body::empty()).unwrap())
    };
    let mut kept = stream(&admin).await.into_body().into_data_stream();
    let mut lost = stream(&key).await.into_body().into_data_stream();
    for stream in [&mut kept, &mut lost] {
        assert!(stream.next().await.unwrap().unwrap().starts_with(b"retry: "));
        assert!(String::from_utf8_lossy(&stream.next().await.unwrap().unwrap()).contains("job.queued"));
    }
    revoke(&stage, &admin, &id).await;
    // What happens to the job is told to whom it still may be.
    let cancel = [("authorization", admin.as_str())];
    assert_eq!(stage.post_with(&format!("{path}/cancel"), &json!({}), &cancel).await.status, 200);
    assert!(String::from_utf8_lossy(&kept.next().await.unwrap().unwrap()).contains("job.cancelled"));
    assert!(lost.next().await.is_none());
}

#[tokio::test]
async fn a_background_stream_ends_with_the_key_that_it_was_asked_for_with() {
    let clock = ManualClock::default();
    let (stage, admin) = keyed(&clock).await;
    let new = json!({"name": "page", "scopes": ["llm"]});
    let made = stage.post_with("/v1/api_keys", &new, &[("authorization", &admin)]).await.json();
    let key = format!("Bearer {}", made["key"].as_str().unwrap());
    let body = json!({"model": "hang", "input": "hi", "background": true, "stream": true});
    let stream = |key: &str| stage.open_stream(post("/v1/responses", &body, &[("authorization", key)]));
    let mut kept = stream(&admin).await.into_body().into_data_stream();
    let mut lost = stream(&key).await.into_body().into_data_stream();
    for stream in [&mut kept, &mut lost] {
        assert!(String::from_utf8_lossy(&stream.next().await.unwrap().unwrap()).contains("response.created"));
    }
    revoke(&stage, &admin, made["key_id"].as_str().unwrap()).await;
    // Who still may is told, in time, that there is nothing to be told.
    let mut heard = String::new();
    while !heard.contains("still there") {
        heard += &String::from_utf8_lossy(&as_time_passes(&clock, kept.next()).await.unwrap().unwrap());
    }
    while let Some(told) = as_time_passes(&clock, lost.next()).await {
        assert!(!told.unwrap().starts_with(b": still there"));
    }
}

/// Lets a second pass each time there is nothing else to be done.
async fn as_time_passes<F: Future>(clock: &ManualClock, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            biased;
            output = &mut future => return output,
            () = tokio::task::yield_now() => clock.advance(Span::from_secs(1)),
        }
    }
}

#[tokio::test]
async fn a_connection_of_a_session_ends_with_the_session() {
    let clock = ManualClock::default();
    let (stage, admin) = keyed(&clock).await;
    let begun = stage.post("/v1/session", &json!({"key": admin.trim_start_matches("Bearer ")})).await;
    let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
    let headers = [("cookie", cookie.as_str()), ("origin", "http://localhost")];
    let mut page = Page::open(&stage, &headers).await.unwrap();
    clock.advance(Span::from_secs(12 * 3_600 - 1));
    page.say(&json!({"op": "subscribe", "topic": "stats"})).await;
    assert_eq!(page.hear().await["type"], "subscribed");
    clock.advance(Span::from_secs(1));
    page.say(&json!({"op": "ping"})).await;
    assert_eq!(page.closed().await, CloseCode::Policy);
}

#[tokio::test]
async fn who_came_in_without_a_key_goes_when_there_is_one() {
    let stage = Stage::open_at(Arc::new(ManualClock::default())).await;
    let mut page = Page::open(&stage, &[]).await.unwrap();
    page.say(&json!({"op": "ping"})).await;
    assert_eq!(page.hear().await["type"], "pong");
    let made = stage.post("/v1/api_keys", &json!({"name": "first", "scopes": ["admin"]})).await;
    assert_eq!(made.status, 201);
    page.say(&json!({"op": "subscribe", "topic": "stats"})).await;
    assert_eq!(page.closed().await, CloseCode::Policy);
}

#[tokio::test]
async fn a_server_that_stops_opens_no_connection_any_more() {
    let stage = Stage::open().await;
    let mut page = Page::open(&stage, &[]).await.unwrap();
    stage.app.stopping().cancel();
    assert_eq!(page.closed().await, CloseCode::Restart);
    let Err(Error::Http(refused)) = Page::open(&stage, &[]).await else { panic!("it was let in") };
    assert_eq!(refused.status(), 503);
    let body: Value = serde_json::from_slice(refused.body().as_deref().unwrap_or_default()).unwrap_or_default();
    assert!(body.is_null() || body["code"] == "shutting_down", "{body}");
}
