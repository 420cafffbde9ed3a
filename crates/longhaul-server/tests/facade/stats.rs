//! The figures: what models and queues did lately, and what of it needs a person.

use std::sync::Arc;

use longhaul_core::{Span, testing::ManualClock};
use serde_json::{Value, json};

use crate::kit::Stage;

async fn ask(stage: &Stage, model: &str, words: &str) -> u16 {
    let chat = json!({"model": model, "messages": [{"role": "user", "content": words}]});
    stage.post("/v1/chat/completions", &chat).await.status
}

/// The element of `list` whose `name` is this.
fn named<'a>(list: &'a Value, name: &str, is: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|one| one[name] == is).unwrap_or_else(|| panic!("no {is} in {list}"))
}

#[tokio::test]
async fn a_models_rates_are_of_its_own_calls() {
    let stage = Stage::open().await;
    for words in ["one", "one", "one", "two"] {
        assert_eq!(ask(&stage, "cached", words).await, 200);
    }
    assert_eq!(ask(&stage, "canned", "hello").await, 200);
    let stats = stage.get("/v1/stats").await.json();
    let cached = named(&stats["models"], "model", "cached");
    assert_eq!((&cached["calls"], &cached["cache_lookups"], &cached["hit_rate"]), (&json!(4), &json!(4), &json!(0.5)));
    assert_eq!((&cached["error_rate"], &cached["fallback_rate"]), (&json!(0.0), &json!(0.0)));
    assert_eq!(cached["latency_ms"]["count"], 4);
    let decisions = cached["layers"].as_array().unwrap();
    assert!(decisions.contains(&json!({"layer": "cache", "decision": "cache.hit", "count": 2})), "{cached}");
    let canned = named(&stats["models"], "model", "canned");
    assert_eq!((&canned["fallback_rate"], &canned["hit_rate"]), (&json!(1.0), &Value::Null), "{canned}");
    assert!(canned["retries"].as_u64().unwrap() > 0);
    let quiet = named(&stats["models"], "model", "slow");
    assert_eq!((&quiet["calls"], &quiet["error_rate"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn conditions_are_judged_by_the_worst_and_name_it() {
    let stage = Stage::open().await;
    let alert = |stats: &Value, name: &str| named(&stats["alerts"], "name", name).clone();
    let at_first = stage.get("/v1/stats").await.json();
    let names: Vec<&str> =
        at_first["alerts"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["error_rate", "p95", "fallback_rate", "hit_rate", "breaker_open", "oldest_job"]);
    assert_eq!(alert(&at_first, "error_rate")["state"], "no_data");
    assert_eq!(alert(&at_first, "breaker_open")["state"], "ok");
    for _ in 0..20 {
        ask(&stage, "broken", "hello").await;
        ask(&stage, "sim", "hello").await;
    }
    let stats = stage.get("/v1/stats").await.json();
    let errors = alert(&stats, "error_rate");
    assert_eq!(
        (&errors["state"], &errors["subject"], &errors["value"]),
        (&json!("firing"), &json!("model broken"), &json!(1.0))
    );
    let breaker = alert(&stats, "breaker_open");
    assert_eq!(
        (&breaker["state"], &breaker["unit"]),
        (&json!("pending"), &json!("ms")),
        "open, not yet for five minutes"
    );
    assert_eq!(breaker["subject"], "breaker broken/sim-small");
    let standing = &named(&stats["models"], "model", "broken")["breakers"][0];
    assert_eq!(standing["state"], "open");
    assert!(standing["for_ms"].is_u64(), "{standing}");
    let stack = stage.get("/v1/models/broken/stack").await.json();
    assert!(stack["targets"][0]["breaker_for_ms"].is_u64(), "{stack}");
    let sound = stage.get("/v1/models/sim/stack").await.json();
    assert_eq!(sound["targets"][0]["breaker_for_ms"], Value::Null, "it has never moved");
}

#[tokio::test]
async fn a_queue_tells_how_long_its_next_job_has_been_ready() {
    let stage = Stage::open().await;
    assert_eq!(stage.post("/v1/queues/held/pause", &json!({})).await.status, 200);
    for _ in 0..3 {
        let job = json!({"kind": "llm.chat", "queue": "held", "input": {"model": "sim", "messages": [{"role": "user", "content": "hi"}]}});
        assert_eq!(stage.post("/v1/jobs", &job).await.status, 202);
    }
    let stats = stage.get("/v1/stats?window_s=30").await.json();
    let held = named(&stats["queues"], "name", "held");
    assert_eq!((&held["queued"], &held["paused"]), (&json!(3), &json!(true)));
    assert!(held["oldest_age_ms"].is_u64() && held["submitted_per_s"].as_f64().unwrap() > 0.0, "{held}");
    assert_eq!(stage.post("/v1/queues/held/resume", &json!({})).await.json()["paused"], false);
    let found = stage.get("/v1/queues").await.json();
    assert!(named(&found["data"], "name", "held").get("oldest_age_ms").is_some());
}

#[tokio::test]
async fn a_queue_that_is_held_back_on_purpose_brings_nobody() {
    let clock = ManualClock::default();
    let stage = Stage::open_at(Arc::new(clock.clone())).await;
    let put = json!({"description": "served by nobody here"});
    assert_eq!(stage.put("/v1/kinds/elsewhere", &put).await.status, 200);
    assert_eq!(stage.post("/v1/queues/held/pause", &json!({})).await.status, 200);
    let submit = async |queue: &str| {
        let job = json!({"kind": "elsewhere", "queue": queue, "input": {}});
        assert_eq!(stage.post("/v1/jobs", &job).await.status, 202);
    };
    let oldest = async || named(&stage.get("/v1/stats").await.json()["alerts"], "name", "oldest_job").clone();
    submit("held").await;
    clock.advance(Span::from_secs(16 * 60));
    let alert = oldest().await;
    assert_ne!(alert["state"], "firing", "{alert}");
    submit("open").await;
    clock.advance(Span::from_secs(16 * 60));
    let alert = oldest().await;
    assert_eq!((&alert["state"], &alert["subject"]), (&json!("firing"), &json!("queue open")), "{alert}");
}
