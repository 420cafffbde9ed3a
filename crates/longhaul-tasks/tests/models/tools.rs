//! What becomes of calls that go wrong, and of tools that are requests over HTTP.

use std::{collections::BTreeMap, sync::Arc};

use longhaul_core::Span;
use longhaul_gateway::{HttpCaller, PoolSettings};
use longhaul_tasks::{HttpTools, TaskSettings, agent::http::HttpToolSettings};
use longhaul_testkit::script::{Answer, Asked, Scripted};
use serde_json::json;

use crate::kit::{Schemas, Stage, results};

/// Calls a tool with these arguments, then tells what came of it.
fn once(name: &'static str, arguments: &'static str) -> impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static {
    move |asked, _| match results(asked).into_values().next() {
        None => Answer::Calls(vec![(name.to_owned(), arguments.to_owned())]),
        Some(result) => Answer::Text(format!("told: {result}")),
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_told_to_the_model_and_nothing_is_run() {
    for (arguments, complaint) in [
        (r#"{"town": "Lisbon"}"#, "city"),
        (r#"{"city": ""}"#, "/city"),
        ("not json", "not a JSON object"),
        ("[1]", "not a JSON object"),
    ] {
        let stage = Stage::new(once("weather_now", arguments)).await;
        stage.register_weather().await;
        let job = stage.agent(json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]})).await;
        let output = stage.output(job).await;
        assert!(output["output"].as_str().unwrap().contains(complaint), "{arguments}: {output}");
        assert_eq!(output["tool_calls"][0]["status"], "invalid");
        assert!(output["tool_calls"][0].get("job_id").is_none());
        assert!(stage.engine.children(&stage.tenant, job, None, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_told_with_those_that_are() {
    let stage = Stage::new(once("wether_now", "{}")).await;
    stage.register_weather().await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]})).await;
    let output = stage.output(job).await;
    let told = output["output"].as_str().unwrap();
    assert!(told.contains("no such tool; did you mean weather_now?"), "{told}");
    assert_eq!(output["tool_calls"][0]["kind"], "wether_now");
}

#[tokio::test]
async fn a_tool_that_fails_is_told_to_the_model_and_does_not_fail_the_run() {
    let stage = Stage::new(once("weather_now", r#"{"city": "Lisbon"}"#)).await;
    stage.register_weather().await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]})).await;
    let claimed = stage.claim("weather.now", 1).await;
    stage.fail(&claimed[0], "no_station", "nobody measures there").await;
    let output = stage.output(job).await;
    assert_eq!(output["output"], "told: no_station: nobody measures there");
    assert_eq!(output["tool_calls"][0]["status"], "failed");
}

#[tokio::test]
async fn a_kind_whose_input_is_no_object_is_called_through_a_field() {
    let stage = Stage::new(once("upper", r#"{"input": "lisbon"}"#)).await;
    stage.register("upper", json!({"type": "string", "minLength": 1})).await;
    let job = stage.agent(json!({"input": "x", "tools": [{"kind": "upper"}]})).await;
    assert_eq!(stage.serve("upper", json!("LISBON")).await, json!("lisbon"));
    assert_eq!(stage.output(job).await["output"], "told: LISBON");
    let shown = &stage.provider.ledger()[0].body["tools"][0]["function"]["parameters"];
    assert_eq!(shown["properties"]["input"]["type"], "string", "{shown}");
}

#[tokio::test]
async fn built_in_kinds_are_tools_as_well() {
    let stage =
        Stage::new(once("analysis", r#"{"text": "A wonderful day.", "analyses": ["sentiment"], "model": "local"}"#));
    let stage = stage.await;
    let job = stage.agent(json!({"input": "x", "tools": [{"kind": "analysis"}]})).await;
    let output = stage.output(job).await;
    assert!(output["output"].as_str().unwrap().contains("positive"), "{output}");
    let shown = &stage.provider.ledger()[0].body["tools"][0]["function"]["parameters"];
    assert!(shown.get("oneOf").is_none() && shown["type"] == "object", "{shown}");
}

fn with_tool(server: &Scripted, method: &str, path: &str, timeout: Span) -> impl FnOnce(&mut TaskSettings) + use<> {
    let headers = [("authorization", "Bearer tool-secret")].into_iter();
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let caller = HttpCaller::new(
        method.parse().unwrap(),
        &format!("{}{path}", server.url()),
        headers,
        PoolSettings { max_answer_bytes: 4_096, ..PoolSettings::default() },
        tokio_util::task::TaskTracker::new(),
    );
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let settings = HttpToolSettings {
        caller: caller.unwrap(),
        description: Some("The weather of a city.".into()),
        input_schema: Some(schema),
        timeout,
    };
    let tools = HttpTools::new(BTreeMap::from([("weather".to_owned(), settings)]), &Schemas).unwrap();
    move |settings| settings.http_tools = Arc::new(tools)
}

#[tokio::test]
async fn an_http_tool_gets_its_arguments_its_secret_and_a_key_against_doing_it_twice() {
    let server = Scripted::start(|_, _| Answer::Json(200, json!({"sky": "sunny"}))).await.unwrap();
    let change = with_tool(&server, "POST", "/v1/weather?units=metric", Span::from_secs(10));
    let stage = Stage::with(once("weather", r#"{"city": "Lisbon"}"#), change).await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"http": "weather"}]})).await;
    let output = stage.output(job).await;
    assert_eq!(output["output"], "told: {\"sky\":\"sunny\"}");
    assert_eq!(
        output["tool_calls"],
        json!([{"turn": 1, "call_id": "call_0_0", "http": "weather", "status": "succeeded"}])
    );
    let ledger = server.ledger();
    assert_eq!(ledger.len(), 1);
    assert_eq!((ledger[0].method.as_str(), ledger[0].path.as_str()), ("POST", "/v1/weather?units=metric"));
    assert_eq!(ledger[0].body, json!({"city": "Lisbon"}));
    assert_eq!(ledger[0].header("authorization"), "Bearer tool-secret");
    assert_eq!(ledger[0].header("idempotency-key"), format!("{job}:turn:1:result:0"));
    assert_eq!(stage.steps(job).await, ["turn:1", "turn:1:result:0", "turn:2"]);
    let told = format!("{:?}{:?}", stage.events(job).await, stage.provider.ledger());
    assert!(!told.contains("tool-secret"), "a secret is told to nobody");
}

#[tokio::test]
async fn what_a_model_writes_stays_within_the_query_of_a_tool_that_is_read() {
    let server = Scripted::start(|_, _| Answer::Json(200, json!("ok"))).await.unwrap();
    let change = with_tool(&server, "GET", "/weather", Span::from_secs(10));
    let stage = Stage::with(once("weather", r#"{"city": "x/../../admin?y=1&z#@evil"}"#), change).await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"http": "weather"}]})).await;
    stage.output(job).await;
    assert_eq!(server.ledger()[0].path, "/weather?city=x%2F..%2F..%2Fadmin%3Fy%3D1%26z%23%40evil");
}

#[tokio::test]
async fn an_http_tool_that_fails_is_told_with_its_status_or_what_broke() {
    let cases: [(Answer, &str); 4] = [
        (Answer::Json(404, json!({"error": "no such city"})), "HTTP 404: {\"error\":\"no such city\"}"),
        (Answer::Json(302, json!("elsewhere")), "HTTP 302"),
        (Answer::Json(200, json!("x".repeat(10_000))), "longer than 4096 bytes"),
        (Answer::Stall("x".into()), "no answer within 0.2 s; it is not known whether the call has taken effect"),
    ];
    for (answer, complaint) in cases {
        let server = Scripted::start(move |_, _| answer.clone()).await.unwrap();
        let change = with_tool(&server, "POST", "/weather", Span::from_millis(200));
        let stage = Stage::with(once("weather", r#"{"city": "Lisbon"}"#), change).await;
        let job = stage.agent(json!({"input": "Weather?", "tools": [{"http": "weather"}]})).await;
        let output = stage.output(job).await;
        assert!(output["output"].as_str().unwrap().contains(complaint), "{complaint}: {output}");
        assert_eq!((&output["tool_calls"][0]["status"], server.calls()), (&json!("failed"), 1));
    }
}

#[tokio::test]
async fn arguments_of_an_http_tool_are_held_to_its_schema_before_anything_is_sent() {
    let server = Scripted::start(|_, _| Answer::Json(200, json!("ok"))).await.unwrap();
    let change = with_tool(&server, "POST", "/weather", Span::from_secs(10));
    let stage = Stage::with(once("weather", "{}"), change).await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"http": "weather"}]})).await;
    let output = stage.output(job).await;
    assert!(output["output"].as_str().unwrap().contains("city"), "{output}");
    assert_eq!((&output["tool_calls"][0]["status"], server.calls()), (&json!("invalid"), 0));
}
