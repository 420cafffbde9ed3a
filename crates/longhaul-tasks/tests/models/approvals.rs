//! A person's word before a call.

use longhaul_core::{EventKind, JobId, StatusReason, Wait};
use longhaul_testkit::script::{Answer, Asked};
use serde_json::{Value, json};

use crate::kit::{Stage, results};

async fn stage() -> Stage {
    let stage = Stage::new(refund).await;
    stage.register("refund", json!({"type": "object", "required": ["cents"]})).await;
    stage
}

fn refund(asked: &Asked, _: usize) -> Answer {
    match results(asked).into_values().next() {
        None => Answer::call("refund", &json!({"cents": 1900})),
        Some(result) => Answer::Text(format!("told: {result}")),
    }
}

async fn asks(stage: &Stage) -> JobId {
    let input = json!({"input": "Refund order 17.", "tools": [{"kind": "refund", "approval": true}]});
    let job = stage.agent(input).await;
    stage.waits(job, StatusReason::WaitingInput).await;
    job
}

fn prompt_of(stage: &longhaul_engine::store::JobView) -> String {
    match stage.job.wait() {
        Some(Wait::Input { prompt, .. }) => prompt.clone().unwrap_or_default(),
        other => panic!("it does not wait for input: {other:?}"),
    }
}

#[tokio::test]
async fn a_call_waits_for_a_person_without_a_worker_and_is_made_when_allowed() {
    let stage = stage().await;
    let job = asks(&stage).await;
    let view = stage.view(job).await;
    assert_eq!(prompt_of(&view), "May the agent call refund with {\"cents\":1900}?");
    assert!(view.job.lease().is_none());
    assert!(stage.engine.children(&stage.tenant, job, None, 10).await.unwrap().is_empty(), "nothing has begun");
    stage.answer(job, json!({"approve": true, "comment": "fine"})).await;
    assert_eq!(stage.serve("refund", json!("refunded")).await, json!({"cents": 1900}));
    let output = stage.output(job).await;
    assert_eq!((&output["output"], stage.provider.calls()), (&json!("told: refunded"), 2));
    assert_eq!(output["tool_calls"][0]["status"], "succeeded");
}

#[tokio::test]
async fn a_refusal_is_told_to_the_model_with_its_reason() {
    let stage = stage().await;
    let job = asks(&stage).await;
    stage.answer(job, json!({"approve": false, "comment": "too much"})).await;
    let output = stage.output(job).await;
    assert_eq!(output["output"], "told: a person did not allow this call: too much");
    assert_eq!(output["tool_calls"][0]["status"], "refused");
    let logged = stage.events(job).await.into_iter().find_map(|event| match event.kind {
        EventKind::Log { message, .. } => Some(message.to_string()),
        _ => None,
    });
    assert_eq!(logged.as_deref(), Some("turn:1:approval:0: a call of refund was not allowed: too much"));
    assert!(stage.engine.children(&stage.tenant, job, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_that_says_neither_yes_nor_no_is_asked_for_again() {
    let stage = stage().await;
    let job = asks(&stage).await;
    let before = stage.view(job).await.job.version;
    stage.answer(job, json!("ok")).await;
    let asks_again = |view: &longhaul_engine::store::JobView| view.job.version > before && view.job.wait().is_some();
    let view = stage.until(job, asks_again).await;
    let prompt = prompt_of(&view);
    assert!(prompt.starts_with("The last answer could not be used: it is no object"), "{prompt}");
    stage.answer(job, json!({"approve": true})).await;
    stage.serve("refund", json!("refunded")).await;
    assert_eq!(stage.output(job).await["tool_calls"][0]["status"], "succeeded");
}

#[tokio::test]
async fn an_approval_that_came_before_the_question_allows_nothing() {
    let stage = Stage::new(refund).await;
    stage.register("refund", json!({"type": "object", "required": ["cents"]})).await;
    let input = json!({"input": "x", "model": "smart", "tools": [{"kind": "refund", "approval": true}]});
    let request = longhaul_engine::JobRequest {
        run_at: Some(stage.engine.clock().now() + longhaul_core::Span::from_millis(300)),
        ..longhaul_engine::JobRequest::of("agent", input.to_string())
    };
    let job = stage.engine.submit(&stage.tenant, vec![request], None).await.unwrap().jobs[0];
    stage.answer(job, json!({"approve": true})).await;
    stage.waits(job, StatusReason::WaitingInput).await;
    let prompt = prompt_of(&*stage.view(job).await);
    assert!(prompt.starts_with("An approval came before this was asked"), "{prompt}");
    assert!(stage.engine.children(&stage.tenant, job, None, 10).await.unwrap().is_empty());
    stage.answer(job, json!({"approve": true})).await;
    stage.serve("refund", json!("refunded")).await;
    stage.output(job).await;
}

#[tokio::test]
async fn calls_that_need_nobodys_word_run_while_a_person_thinks() {
    let stage = Stage::new(|asked, _| match results(asked).len() {
        0 => Answer::Calls(vec![
            ("refund".to_owned(), json!({"cents": 1}).to_string()),
            ("weather_now".to_owned(), json!({"city": "Lisbon"}).to_string()),
            ("refund".to_owned(), json!({"cents": 2}).to_string()),
        ]),
        _ => Answer::text("done"),
    })
    .await;
    stage.register("refund", json!({"type": "object", "required": ["cents"]})).await;
    stage.register_weather().await;
    let tools = json!([{"kind": "refund", "approval": true}, {"kind": "weather.now"}]);
    let job = stage.agent(json!({"input": "x", "tools": tools})).await;
    stage.waits(job, StatusReason::WaitingInput).await;
    // The weather is served, and nobody has said a word.
    stage.serve("weather.now", json!("sunny")).await;
    stage.answer(job, json!({"approve": true})).await;
    let asks_second = |view: &longhaul_engine::store::JobView| match view.job.wait() {
        Some(Wait::Input { step, .. }) => step.as_str() == "turn:1:approval:2",
        _ => false,
    };
    stage.until(job, asks_second).await;
    // What was allowed runs while the second question stands.
    assert_eq!(stage.serve("refund", json!("refunded")).await, json!({"cents": 1}));
    stage.answer(job, json!({"approve": false})).await;
    let output = stage.output(job).await;
    let statuses: Vec<&Value> = output["tool_calls"].as_array().unwrap().iter().map(|call| &call["status"]).collect();
    assert_eq!(statuses, [&json!("succeeded"), &json!("succeeded"), &json!("refused")]);
    assert_eq!(stage.provider.calls(), 2);
    let waits = stage.events(job).await;
    let waits = waits.iter().filter(|event| matches!(event.kind, EventKind::Waiting { wait: Wait::Input { .. } }));
    assert_eq!(waits.count(), 2, "each is asked once");
}
