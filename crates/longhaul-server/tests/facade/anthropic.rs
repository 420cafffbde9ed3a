//! Anthropic's messages.

use crate::kit::Stage;
use serde_json::{Value, json};

fn hello(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}]})
}

#[tokio::test]
async fn a_message_is_answered_whole_and_streamed() {
    let stage = Stage::open().await;
    let answer = stage.post("/v1/messages", &hello("sim")).await;
    let body = answer.json();
    assert_eq!((&body["type"], &body["stop_reason"]), (&json!("message"), &json!("end_turn")), "{body}");
    assert!(body["id"].as_str().unwrap().starts_with("msg_"), "{body}");
    assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
    let mut streamed = hello("sim");
    streamed["stream"] = json!(true);
    let events = stage.post("/v1/messages", &streamed).await.events();
    assert_eq!(events[0]["type"], "message_start");
    assert_eq!(events.last().unwrap()["type"], "message_stop");
}

#[tokio::test]
async fn refusals_have_anthropics_shape() {
    let stage = Stage::open().await;
    for (body, status, kind) in [
        (hello("smi"), 404, "not_found_error"),
        (json!({"model": "sim", "messages": []}), 400, "invalid_request_error"),
        (hello("throttled"), 429, "rate_limit_error"),
    ] {
        let answer = stage.post("/v1/messages", &body).await;
        let error = answer.json();
        assert_eq!((answer.status, &error["type"], &error["error"]["type"]), (status, &json!("error"), &json!(kind)));
        assert_eq!(error["request_id"], answer.header("request-id"), "{error}");
    }
}
