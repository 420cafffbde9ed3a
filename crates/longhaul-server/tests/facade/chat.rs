//! Chat completions and embeddings.

use crate::kit::{Stage, post};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

fn hello(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say hello."}]})
}

#[tokio::test]
async fn a_whole_answer_says_where_it_came_from() {
    let stage = Stage::open().await;
    let answer = stage.post("/v1/chat/completions", &hello("sim")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"), "{body}");
    assert_eq!((&body["object"], &body["choices"][0]["finish_reason"]), (&json!("chat.completion"), &json!("stop")));
    assert_eq!(answer.header("longhaul-provider"), "sim");
    assert_eq!((answer.header("longhaul-attempts"), answer.header("longhaul-cache")), ("1", "off"));
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn a_stream_tells_its_usage_and_ends_as_openais_does() {
    let stage = Stage::open().await;
    let mut body = hello("sim");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let answer = stage.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let chunks = answer.events();
    let usage = chunks.last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{usage}");
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
}

#[tokio::test]
async fn leaving_a_stream_gives_the_call_up() {
    let stage = Stage::open().await;
    let mut body = hello("slow");
    body["stream"] = json!(true);
    let mut response = stage.open_stream(post("/v1/chat/completions", &body, &[])).await;
    response.body_mut().frame().await.unwrap().unwrap();
    let in_use = |stage: &Stage| stage.gateway.stack("slow").unwrap().targets[0].stats.in_flight;
    assert_eq!(in_use(&stage), 1);
    drop(response);
    assert_eq!(in_use(&stage), 0, "nothing is held for somebody who has left");
    assert_eq!(stage.gateway.stack("slow").unwrap().stats.cancelled, 1);
}

#[tokio::test]
async fn no_cache_asks_anew() {
    let stage = Stage::open().await;
    let mut seen = Vec::new();
    for headers in [&[][..], &[], &[("cache-control", "no-cache")]] {
        let answer = stage.post_with("/v1/chat/completions", &hello("cached"), headers).await;
        seen.push(answer.header("longhaul-cache").to_owned());
    }
    assert_eq!(seen, ["miss", "hit", "bypass"]);
    let purged = stage.delete("/v1/models/cached/cache").await;
    assert_eq!((purged.status, purged.json()), (200, json!({"purged": 1})));
    let again = stage.post("/v1/chat/completions", &hello("cached")).await;
    assert_eq!(again.header("longhaul-cache"), "miss");
}

#[tokio::test]
async fn refusals_have_openais_shape_and_say_whether_to_try_again() {
    let stage = Stage::open().await;
    let refused = |path: &'static str, body: Value| {
        let stage = stage.clone();
        async move {
            let answer = stage.post(path, &body).await;
            let error = answer.json()["error"].clone();
            assert_eq!(error.as_object().unwrap().len(), 4, "every key is there: {error}");
            (answer, error)
        }
    };
    let (answer, error) = refused("/v1/chat/completions", hello("smi")).await;
    assert_eq!((answer.status, &error["code"], &error["param"]), (404, &json!("model_not_found"), &json!("model")));
    assert_eq!(answer.header("x-should-retry"), "false");

    let (answer, error) = refused("/v1/chat/completions", json!({"model": "sim", "messages": [{"role": "x"}]})).await;
    assert_eq!((answer.status, &error["param"]), (400, &json!("messages[0].role")));

    let (answer, error) = refused("/v1/chat/completions", hello("broken")).await;
    assert_eq!((answer.status, &error["type"]), (502, &json!("server_error")), "{error}");
    assert_eq!(answer.header("x-should-retry"), "false", "it has been tried again already");
    assert!(answer.header("longhaul-attempts").parse::<u32>().unwrap() > 1);

    let (answer, _) = refused("/v1/chat/completions", hello("throttled")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "3600"));
    assert_eq!(answer.header("retry-after-ms").parse::<u64>().unwrap().div_ceil(1_000), 3_600);
    assert_eq!(answer.header("x-should-retry"), "false", "no SDK waits for an hour");

    let (answer, error) = refused("/v1/chat/completions", hello("hang")).await;
    assert_eq!((answer.status, &error["code"]), (504, &json!("timeout")));

    let (answer, error) =
        refused("/v1/chat/completions", json!({"model": "sim", "messages": "x".repeat(70_000)})).await;
    assert_eq!((answer.status, &error["code"]), (413, &json!("payload_too_large")));
    assert_eq!(answer.header("connection"), "close");

    let (answer, error) = refused("/v1/embeddings", json!({"model": "sim", "input": "x"})).await;
    assert_eq!((answer.status, &error["code"]), (400, &json!("unsupported_operation")));
}

#[tokio::test]
async fn a_cut_stream_ends_with_an_error_in_its_data() {
    let stage = Stage::open().await;
    let mut body = hello("cut");
    body["stream"] = json!(true);
    let answer = stage.post("/v1/chat/completions", &body).await;
    if answer.status == 200 {
        let events = answer.events();
        assert!(events.last().unwrap()["error"]["message"].is_string(), "{}", answer.text());
        assert!(!answer.text().contains("[DONE]"), "what broke off is not done");
    } else {
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
}

#[tokio::test]
async fn respond_async_answers_with_a_receipt_whose_job_holds_the_answer() {
    let stage = Stage::open().await;
    for (path, body) in
        [("/v1/chat/completions", hello("sim")), ("/v1/embeddings", json!({"model": "vectors", "input": ["a", "b"]}))]
    {
        let receipt = stage.post_with(path, &body, &[("prefer", "respond-async")]).await;
        assert_eq!(receipt.status, 202, "{}", receipt.text());
        let id = receipt.json()["job_id"].as_str().unwrap().to_owned();
        assert_eq!(receipt.header("location"), format!("/v1/jobs/{id}"));
        let job = stage.get(&format!("/v1/jobs/{id}?wait=10")).await.json();
        assert_eq!(job["status"], "succeeded", "{job}");
        assert!(job["usage"]["input_tokens"].as_u64().unwrap() > 0, "{job}");
        assert!(job["output"]["object"].is_string(), "{job}");
    }
    let bad = json!({"kind": "llm.chat", "input": {"model": "sim", "messages": [{"role": "user", "content": 5}]}});
    let refused = stage.post("/v1/jobs", &bad).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &json!("/input/messages/0/content")));
}

#[tokio::test]
async fn a_call_that_becomes_a_job_is_as_fresh_as_it_was_to_be() {
    let stage = Stage::open().await;
    let call = async |headers: &[(&str, &str)]| {
        let headers = [&[("prefer", "respond-async")], headers].concat();
        let receipt = stage.post_with("/v1/chat/completions", &hello("cached"), &headers).await.json();
        stage.get(&format!("/v1/jobs/{}?wait=10", receipt["job_id"].as_str().unwrap())).await.json()
    };
    assert_eq!(call(&[]).await["cached"], false);
    assert_eq!(call(&[]).await["cached"], true);
    let fresh = call(&[("cache-control", "no-cache")]).await;
    assert_eq!((&fresh["cached"], &fresh["metadata"]), (&json!(false), &json!({"cache_control": "no-cache"})));
}

#[tokio::test]
async fn a_call_of_a_model_that_is_not_there_becomes_no_job() {
    let stage = Stage::open().await;
    let embed = |model: &str| json!({"model": model, "input": "a"});
    for (path, body, status, code) in [
        ("/v1/chat/completions", hello("simm"), 404, "model_not_found"),
        ("/v1/chat/completions", hello("vectors"), 400, "unsupported_operation"),
        ("/v1/embeddings", embed("vectorz"), 404, "model_not_found"),
        ("/v1/embeddings", embed("sim"), 400, "unsupported_operation"),
    ] {
        let refused = stage.post_with(path, &body, &[("prefer", "respond-async")]).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (status, &json!(code)), "{path}");
        assert_eq!(refused.json()["error"]["param"], "model");
    }
    assert_eq!(stage.get("/v1/jobs").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_provider_that_wants_an_hour_parks_the_job_without_a_worker() {
    let stage = Stage::open().await;
    let receipt = stage.post("/v1/jobs", &json!({"kind": "llm.chat", "input": hello("throttled")})).await;
    let id = receipt.json()["job_id"].as_str().unwrap().to_owned();
    let mut job = Value::Null;
    for _ in 0..100 {
        let known = job["version"].as_u64().unwrap_or(0);
        let request = http::Request::get(format!("/v1/jobs/{id}?wait=1")).header("host", "localhost");
        let request = request.header("if-none-match", format!("\"{known}\""));
        let answer = stage.send(request.body(axum::body::Body::empty()).unwrap()).await;
        if answer.status == 200 {
            job = answer.json();
        }
        if job["status_reason"] == "parked" {
            break;
        }
    }
    assert_eq!((&job["status"], &job["status_reason"]), (&json!("queued"), &json!("parked")), "{job}");
    assert_eq!((&job["max_attempts"], &job["error"]["provider"]["http_status"]), (&json!(1), &json!(429)), "{job}");
}

#[tokio::test]
async fn vectors_come_as_numbers_and_in_base64() {
    let stage = Stage::open().await;
    let ask = |format: &str| json!({"model": "vectors", "input": ["a", "b"], "encoding_format": format});
    let plain = stage.post("/v1/embeddings", &ask("float")).await.json();
    let packed = stage.post("/v1/embeddings", &ask("base64")).await.json();
    assert_eq!(plain["data"].as_array().unwrap().len(), 2);
    assert!(plain["data"][1]["embedding"][0].is_number(), "{plain}");
    assert!(packed["data"][1]["embedding"].is_string(), "{packed}");
}
