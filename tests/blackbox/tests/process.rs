//! `POST /process` through a model: cache, company, failures, and what takes longer than its caller has.

mod many;

use std::time::Duration;

use crate::stage::{Stage, field_errors, problem, succeeded};
use longhaul_testkit::script::{Answer, Asked, Scripted};
use serde_json::{Value, json};

pub(crate) async fn open(provider: &Scripted, more: &str) -> Stage {
    let text = format!(
        "[telemetry]\nlevel = \"error\"\n[providers.scripted]\nprotocol = \"openai\"\nbase_url = \"{}\"\n\
         max_connections = 8_000\n[models.smart]\n[[models.smart.targets]]\nprovider = \"scripted\"\nmodel = \"scripted\"\n\
         retry = {{ max_retries = 5, initial = \"10ms\", max = \"20ms\" }}\nlimit = {{ concurrency = 12_000 }}\n{more}",
        provider.base_url()
    );
    Stage::with(|launch| launch.config(&text).unwrap()).await
}

fn said(asked: &Asked) -> Answer {
    Answer::Text(format!("you said: {}", asked.last_text()))
}

fn query(text: &str) -> Value {
    json!({"query": text, "model": "smart"})
}

#[tokio::test]
async fn a_question_is_a_miss_then_a_hit_and_asked_together_it_is_asked_once() {
    let provider = Scripted::start(|asked, _| match asked.last_text() {
        "slow" => Answer::Late(Duration::from_secs(2), "you said: slow".into()),
        _ => said(asked),
    });
    let provider = provider.await.unwrap();
    let stage = open(&provider, "").await;
    let client = stage.client();
    for expected in ["miss", "hit"] {
        let reply = client.post("/process").json(&query("What is a lantern?")).send().await.unwrap();
        assert_eq!((reply.status, reply.header("longhaul-cache")), (200, expected), "{reply}");
        let result = &reply.json()["results"][0];
        assert_eq!(result["output"], "you said: What is a lantern?", "{reply}");
        assert_eq!(result["cached"], expected == "hit");
    }
    let fresh = client.post("/process").header("cache-control", "no-cache").json(&query("What is a lantern?"));
    assert_eq!(fresh.send().await.unwrap().header("longhaul-cache"), "miss");
    assert_eq!(provider.calls(), 2);

    let body = query("slow");
    let ask =
        || async { client.post("/process").json(&body).send().await.unwrap().header("longhaul-cache").to_owned() };
    let (one, other) = tokio::join!(ask(), ask());
    let mut ways = [one, other];
    ways.sort();
    assert_eq!((ways, provider.calls()), (["coalesced".to_owned(), "miss".to_owned()], 3));
}

#[tokio::test]
async fn some_failed_is_a_200_with_an_error_each_and_all_failed_a_502() {
    let provider = Scripted::start(|asked, _| match asked.last_text() {
        "bad" => Answer::Json(500, json!({"error": {"message": "on fire"}})),
        _ => said(asked),
    });
    let provider = provider.await.unwrap();
    let stage = open(&provider, "").await;
    let client = stage.client();
    let item = |id: &str, text: &str| json!({"id": id, "task": "chat", "input": text});
    let some = json!({"items": [item("a", "good"), item("b", "bad")], "model": "smart"});
    let reply = client.post("/v1/process").json(&some).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    let body = reply.json();
    assert_eq!((&body["succeeded"], &body["failed"]), (&json!(1), &json!(1)), "{reply}");
    assert!(body["results"][1]["error"]["message"].as_str().unwrap().contains("on fire"), "{reply}");
    assert_eq!(provider.calls(), 4, "three attempts at the bad one, although the model may be retried five times");

    let all = json!({"items": [item("a", "bad")], "model": "smart"});
    let reply = client.post("/process").json(&all).send().await.unwrap();
    let problem = problem(&reply, 502, "upstream_failed");
    assert!(problem["detail"].as_str().unwrap().contains("on fire"), "{problem}");
}

#[tokio::test]
async fn what_takes_longer_goes_on_as_a_job() {
    let provider = Scripted::start(|_, _| Answer::Late(Duration::from_millis(1_500), "at last".into())).await.unwrap();
    let stage = open(&provider, "").await;
    let client = stage.client();
    let mut body = query("patience?");
    body["timeout_s"] = 1.into();
    let reply = client.post("/process").json(&body).send().await.unwrap();
    assert_eq!(reply.status, 202, "{reply}");
    let location = reply.header("location").to_owned();
    let id = reply.json()["job_id"].as_str().unwrap().to_owned();
    assert_eq!(location, format!("/v1/jobs/{id}"), "{reply}");
    let job = succeeded(&client, &id).await;
    assert_eq!(job["output"]["results"][0]["output"], "at last", "{job}");
    let again = client.post("/process").json(&body).send().await.unwrap();
    assert_eq!((again.status, again.header("longhaul-cache")), (200, "hit"), "what was paid for is kept: {again}");
}

#[tokio::test]
async fn without_a_model_that_can_the_answer_says_how_to_get_one() {
    let stage = Stage::open().await;
    let client = stage.client();
    for (body, pointer) in [
        (json!({"query": "What is a lantern?"}), "/query"),
        (json!({"items": [{"task": "language", "input": "x"}, {"task": "chat", "input": "x"}]}), "/items/1/task"),
        (
            json!({"items": [{"task": "extract", "input": {"text": "x", "schema": {"type": "object"}}}]}),
            "/items/0/task",
        ),
    ] {
        let reply = client.post("/process").json(&body).send().await.unwrap();
        let problem = problem(&reply, 422, "invalid_request");
        let errors = field_errors(&problem);
        assert_eq!(errors.len(), 1, "{problem}");
        let (at, said) = &errors[0];
        assert!(at.ends_with(pointer), "{problem}");
        assert!(said.contains("[providers]") && said.contains("\"model\": \"sim\""), "{problem}");
    }
    let reply =
        client.post("/process").json(&json!({"query": "What is a lantern?", "model": "sim"})).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    assert!(reply.json()["results"][0]["output"].as_str().unwrap().starts_with("[simulated"), "{reply}");
}
