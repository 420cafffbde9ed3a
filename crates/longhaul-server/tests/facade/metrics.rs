//! `/metrics`: what every layer did, and what is left of the page when the store is away.

use std::collections::BTreeMap;

use serde_json::json;

use crate::kit::Stage;

async fn ask(stage: &Stage, model: &str, streamed: bool) -> u16 {
    let chat = json!({"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": streamed});
    stage.post("/v1/chat/completions", &chat).await.status
}

/// The samples of the page.
async fn page(stage: &Stage) -> BTreeMap<String, f64> {
    let answer = stage.get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

#[tokio::test]
async fn every_layer_tells_its_calls_their_errors_and_how_long_they_took() {
    let stage = Stage::open().await;
    for _ in 0..3 {
        assert_eq!(ask(&stage, "cached", false).await, 200);
    }
    assert_eq!(ask(&stage, "broken", false).await, 502);
    assert_eq!(ask(&stage, "sim", true).await, 200);
    let page = page(&stage).await;
    let calls = |labels: &str| page.get(&format!("longhaul_layer_calls_total{{{labels}}}")).copied();
    let around = |model: &str, mode: &str, layer: &str, outcome: &str| {
        calls(&format!(r#"model="{model}",target="",mode="{mode}",layer="{layer}",outcome="{outcome}""#))
    };
    // Two of the three were answered by the cache, and went no further.
    assert_eq!(around("cached", "whole", "cache", "answered"), Some(3.0));
    assert_eq!(around("cached", "whole", "deadline", "answered"), Some(1.0));
    assert_eq!(around("cached", "whole", "fallback", "answered"), Some(1.0));
    assert_eq!(around("broken", "whole", "fallback", "failed"), Some(1.0));
    assert_eq!(around("broken", "whole", "cache", "failed"), None, "it has none");
    assert_eq!(around("sim", "stream", "deadline", "answered"), Some(1.0));
    let target = |model: &str, mode: &str, layer: &str| {
        format!(r#"model="{model}",target="sim-small",mode="{mode}",layer="{layer}""#)
    };
    assert_eq!(calls(&format!(r#"{},outcome="failed""#, target("broken", "whole", "retry"))), Some(1.0));
    let took =
        |part: &str, labels: String| page.get(&format!("longhaul_layer_duration_seconds_{part}{{{labels}}}")).copied();
    assert_eq!(took("count", target("broken", "whole", "retry")), Some(1.0));
    assert!(took("count", target("broken", "whole", "breaker")) > Some(1.0), "once for each attempt");
    assert_eq!(took("count", target("sim", "stream", "retry")), Some(1.0));
    assert!(took("sum", target("broken", "whole", "retry")) > Some(0.0));
    let all = format!(r#"{},le="+Inf""#, target("broken", "whole", "retry"));
    assert_eq!(took("bucket", all), Some(1.0));
    assert_eq!(took("count", target("slow", "whole", "retry")), None, "of what nobody asked nothing is told");
}

#[tokio::test]
async fn a_store_that_is_away_takes_its_queues_from_the_page_and_no_more() {
    let stage = Stage::open().await;
    assert_eq!(ask(&stage, "broken", false).await, 502);
    let before = page(&stage).await;
    assert_eq!(before["longhaul_store_up"], 1.0);
    stage.engine.close().await;
    let after = page(&stage).await;
    assert_eq!(after["longhaul_store_up"], 0.0);
    let missing: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    assert!(missing.iter().all(|name| name.starts_with("longhaul_queue_")), "{missing:?}");
    assert_eq!(after[r#"longhaul_model_calls_total{model="broken",outcome="failed"}"#], 1.0);
}
