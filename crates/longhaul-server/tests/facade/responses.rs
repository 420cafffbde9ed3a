//! Responses: at once, in the background, streamed, and what is kept of them.

use std::time::Duration;

use crate::kit::{Answer, Stage, post};
use http_body_util::BodyExt as _;
use longhaul_core::Tenant;
use serde_json::{Value, json};

fn hello(model: &str) -> Value {
    json!({"model": model, "input": "Say hello."})
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

async fn ended(stage: &Stage, id: &str) -> Value {
    let job = format!("job_{}", id.strip_prefix("resp_").unwrap());
    let waited = stage.get(&format!("/v1/jobs/{job}?wait=20")).await;
    assert_eq!(waited.status, 200, "{}", waited.text());
    stage.get(&format!("/v1/responses/{id}")).await.json()
}

/// The events as text, since they are to be the same bytes.
async fn stream(stage: &Stage, id: &str, after: Option<usize>) -> Vec<String> {
    let after = after.map(|after| format!("&starting_after={after}")).unwrap_or_default();
    let answer = stage.get(&format!("/v1/responses/{id}?stream=true{after}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn an_answer_given_at_once_can_be_read_again_and_deleted() {
    let stage = Stage::open().await;
    let body = with(hello("sim"), json!({"metadata": {"a": "b"}}));
    let answer = stage.post("/v1/responses", &body).await;
    let response = answer.json();
    assert_eq!((&response["status"], &response["metadata"]), (&json!("completed"), &json!({"a": "b"})), "{response}");
    let id = id(&answer);
    assert_eq!(stage.get(&format!("/v1/responses/{id}")).await.json(), response);
    let items = stage.get(&format!("/v1/responses/{id}/input_items")).await.json();
    assert_eq!(items["data"][0]["content"][0]["text"], "Say hello.", "{items}");
    let refused = stage.post(&format!("/v1/responses/{id}/cancel"), &json!({})).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("not_cancellable")));
    let deleted = stage.delete(&format!("/v1/responses/{id}")).await;
    assert_eq!((deleted.status, &deleted.json()["deleted"]), (200, &json!(true)));
    assert_eq!(stage.get(&format!("/v1/responses/{id}")).await.status, 404);
}

#[tokio::test]
async fn what_is_not_to_be_stored_leaves_nothing() {
    let stage = Stage::open().await;
    let answer = stage.post("/v1/responses", &with(hello("sim"), json!({"store": false}))).await;
    assert_eq!(stage.get(&format!("/v1/responses/{}", id(&answer))).await.status, 404);
    let jobs = stage.get("/v1/jobs").await.json();
    assert_eq!(jobs["data"], json!([]));
}

#[tokio::test]
async fn a_stream_is_kept_before_its_last_event_is_sent() {
    let stage = Stage::open().await;
    let answer = stage.post("/v1/responses", &with(hello("sim"), json!({"stream": true}))).await;
    let events = answer.events();
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed", "{}", answer.text());
    let id = last["response"]["id"].as_str().unwrap();
    assert_eq!(stage.get(&format!("/v1/responses/{id}")).await.json(), last["response"]);
}

#[tokio::test]
async fn a_background_response_is_queued_answered_and_a_job() {
    let stage = Stage::open().await;
    let answer = stage.post("/v1/responses", &with(hello("sim"), json!({"background": true}))).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("queued")), "{}", answer.text());
    let id = id(&answer);
    let response = ended(&stage, &id).await;
    assert_eq!((&response["status"], &response["background"]), (&json!("completed"), &json!(true)), "{response}");
    assert!(response["completed_at"].is_number(), "{response}");
    let job = answer.header("longhaul-job").to_owned();
    let events = stage.get(&format!("/v1/jobs/{job}/events")).await.json();
    let layer = events["data"].as_array().unwrap().iter().find(|event| event["type"] == "job.layer");
    let layer = layer.unwrap_or_else(|| panic!("the layers tell what they decided: {events}"));
    assert_eq!((&layer["data"]["provider"], &layer["data"]["attempts"]), (&json!("sim"), &json!(1)), "{layer}");
    let refused = stage.get(&format!("/v1/responses/{id}?stream=true")).await;
    assert_eq!(refused.status, 400, "it was not created with a stream");
}

#[tokio::test]
async fn a_background_stream_is_the_same_bytes_from_every_number_on() {
    let stage = Stage::open().await;
    let body = with(hello("slow"), json!({"background": true, "stream": true}));
    let first = stage.post("/v1/responses", &body).await;
    let whole: Vec<String> =
        first.text().lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect();
    let created: Value = serde_json::from_str(&whole[0]).unwrap();
    let id = created["response"]["id"].as_str().unwrap();
    assert!(whole.last().unwrap().contains("response.completed"), "{whole:?}");
    assert_eq!(stream(&stage, id, None).await, whole);
    for after in 0..whole.len() {
        assert_eq!(stream(&stage, id, Some(after)).await, whole[after + 1..], "after {after}");
    }
}

#[tokio::test]
async fn leaving_a_background_stream_does_not_end_it() {
    let stage = Stage::open().await;
    let body = with(hello("slow"), json!({"background": true, "stream": true}));
    let mut response = stage.open_stream(post("/v1/responses", &body, &[])).await;
    let job = response.headers()["longhaul-job"].to_str().unwrap().to_owned();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let waited = stage.get(&format!("/v1/jobs/{job}?wait=20")).await.json();
    assert_eq!(waited["status"], "succeeded", "{waited}");
}

#[tokio::test]
async fn a_failed_stream_closes_what_is_open_and_says_why() {
    let stage = Stage::open().await;
    for model in ["cut", "broken"] {
        let body = with(hello(model), json!({"background": true, "stream": true}));
        let answer = stage.post("/v1/responses", &body).await;
        let events = answer.events();
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.failed", "{}", answer.text());
        assert_eq!(last["response"]["error"]["code"], "server_error", "{last}");
        let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        let opened = events.iter().filter(|event| event["type"] == "response.output_item.added").count();
        let closed = events.iter().filter(|event| event["type"] == "response.output_item.done").count();
        assert_eq!(opened, closed, "{}", answer.text());
        let id = last["response"]["id"].as_str().unwrap();
        let read = stage.get(&format!("/v1/responses/{id}")).await.json();
        assert_eq!((&read["status"], &read["error"]), (&json!("failed"), &last["response"]["error"]));
    }
}

#[tokio::test]
async fn cancel_is_quick_final_and_ends_the_stream() {
    let stage = Stage::open().await;
    let body = with(hello("hang"), json!({"background": true, "stream": true}));
    let mut response = stage.open_stream(post("/v1/responses", &body, &[])).await;
    let job = response.headers()["longhaul-job"].to_str().unwrap().to_owned();
    let id = format!("resp_{}", job.strip_prefix("job_").unwrap());
    response.body_mut().frame().await.unwrap().unwrap();
    let cancelled = tokio::time::timeout(Duration::from_secs(1), async {
        stage.post(&format!("/v1/responses/{id}/cancel"), &json!({})).await
    });
    assert_eq!(cancelled.await.unwrap().json()["status"], "cancelled");
    let rest = tokio::time::timeout(Duration::from_secs(2), response.into_body().collect()).await;
    assert!(rest.is_ok(), "the stream of a cancelled response ends");
    assert_eq!(stage.get(&format!("/v1/responses/{id}")).await.json()["status"], "cancelled");
    assert_eq!(stage.post(&format!("/v1/responses/{id}/cancel"), &json!({})).await.json()["status"], "cancelled");
}

#[tokio::test]
async fn a_conversation_goes_on_over_several_responses() {
    let stage = Stage::open().await;
    let first = id(&stage.post("/v1/responses", &json!({"model": "sim", "input": "One."})).await);
    let go_on = |text: &str, from: &str| json!({"model": "sim", "input": text, "previous_response_id": from});
    let second = stage.post("/v1/responses", &with(go_on("Two.", &first), json!({"background": true}))).await;
    let second = id(&second);
    assert_eq!(ended(&stage, &second).await["status"], "completed");
    let third = stage.post("/v1/responses", &go_on("Three.", &second)).await;
    let items = stage.get(&format!("/v1/responses/{}/input_items?order=asc", id(&third))).await.json();
    let said: Vec<&str> = items["data"].as_array().unwrap().iter().map(|item| item["role"].as_str().unwrap()).collect();
    assert_eq!(said, ["user", "assistant", "user", "assistant", "user"], "{items}");
    let lost = stage.post("/v1/responses", &go_on("Four.", "resp_00000000000000000000000000000000")).await;
    assert_eq!((lost.status, &lost.json()["error"]["code"]), (400, &json!("previous_response_not_found")));
}

#[tokio::test]
async fn a_retried_create_is_the_same_response() {
    let stage = Stage::open().await;
    let body = with(hello("slow"), json!({"background": true}));
    let first = id(&stage.post("/v1/responses", &body).await);
    let retried = stage.post_with("/v1/responses", &body, &[("x-stainless-retry-count", "1")]).await;
    assert_eq!(id(&retried), first);
    assert_eq!(retried.header("idempotency-replayed"), "true");
    assert_ne!(id(&stage.post("/v1/responses", &body).await), first, "one that is no retry is a call of its own");
    let other = with(body.clone(), json!({"input": "Something else."}));
    let other = stage.post_with("/v1/responses", &other, &[("x-stainless-retry-count", "1")]).await;
    assert_ne!(id(&other), first);
    let keyed = [("idempotency-key", "k-1")];
    let one = id(&stage.post_with("/v1/responses", &body, &keyed).await);
    assert_eq!(id(&stage.post_with("/v1/responses", &body, &keyed).await), one);
}

#[tokio::test]
async fn a_retried_create_is_found_after_a_restart_too() {
    let stage = Stage::open().await;
    let body = with(hello("slow"), json!({"background": true}));
    let count = |count: &'static str| [("x-stainless-retry-count", count)];
    let first = id(&stage.post_with("/v1/responses", &body, &count("0")).await);
    let unmarked = with(body.clone(), json!({"input": "Whose client does not count."}));
    let unmarked_id = id(&stage.post("/v1/responses", &unmarked).await);
    let later = stage.restarted();
    let retried = later.post_with("/v1/responses", &body, &count("1")).await;
    assert_eq!((id(&retried), retried.header("idempotency-replayed")), (first, "true"));
    let other = with(body, json!({"input": "Something else."}));
    let other = later.post_with("/v1/responses", &other, &count("1")).await;
    assert_eq!(other.header("idempotency-replayed"), "");
    assert_ne!(id(&later.post_with("/v1/responses", &unmarked, &count("1")).await), unmarked_id);
}

#[tokio::test]
async fn a_background_response_that_is_to_be_fresh_is() {
    let stage = Stage::open().await;
    for (headers, cached) in [(&[][..], false), (&[], true), (&[("cache-control", "no-cache")], false)] {
        let body = with(hello("cached"), json!({"background": true}));
        let made = stage.post_with("/v1/responses", &body, headers).await;
        assert_eq!(ended(&stage, &id(&made)).await["status"], "completed");
        let job = stage.get(&format!("/v1/jobs/{}", made.header("longhaul-job"))).await.json();
        assert_eq!(job["cached"], cached, "{job}");
    }
}

#[tokio::test]
async fn another_tenants_response_is_not_there() {
    let stage = Stage::open().await;
    let own = id(&stage.post("/v1/responses", &hello("sim")).await);
    let job: longhaul_core::JobId = format!("job_{}", own.strip_prefix("resp_").unwrap()).parse().unwrap();
    let stranger = Tenant::new("stranger").unwrap();
    assert!(stage.engine.job(&stranger, job).await.is_err());
    for id in [own.replace("resp_", "job_"), "resp_nonsense".to_owned(), "resp_0".to_owned()] {
        let answer = stage.get(&format!("/v1/responses/{id}")).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("response_not_found")), "{id}");
    }
}
