//! `process` through configured models: conversations, vectors, analyses; three attempts; what is kept and what is not.

use longhaul_testkit::script::{Answer, Asked, INPUT_TOKENS, OUTPUT_TOKENS};
use serde_json::{Value, json};

use crate::kit::Stage;

const TOKENS: u64 = INPUT_TOKENS + OUTPUT_TOKENS;

fn said(asked: &Asked, _: usize) -> Answer {
    Answer::Text(format!("you said: {}", asked.last_text()))
}

fn chat(input: Value) -> Value {
    json!({"items": [{"task": "chat", "input": input}], "model": "smart"})
}

async fn output(stage: &Stage, input: &Value) -> Value {
    stage.output(stage.submit("process", input).await).await
}

#[tokio::test]
async fn a_query_is_one_question_to_a_model_that_chats() {
    let stage = Stage::new(said).await;
    let job = stage.submit("process", &json!({"query": "What is a lantern?", "model": "smart"})).await;
    let output = stage.output(job).await;
    assert_eq!(output["results"][0]["output"], "you said: What is a lantern?");
    assert_eq!((&output["succeeded"], &output["model"]), (&json!(1), &json!("smart")));
    assert_eq!(stage.view(job).await.job.report.usage.cost_microusd, TOKENS);
}

#[tokio::test]
async fn a_conversation_goes_to_the_model_as_it_came_and_a_bad_message_is_named() {
    let stage = Stage::new(said).await;
    let messages = json!([
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "What now?"}
    ]);
    let result = output(&stage, &chat(messages.clone())).await;
    assert_eq!(result["results"][0]["output"], "you said: What now?");
    assert_eq!(stage.provider.ledger()[0].body["messages"], messages);
    let found = stage.try_submit("process", &chat(json!([{"role": "nobody", "content": "x"}]))).await.unwrap_err();
    assert!(found.len() == 1 && found[0].starts_with("/items/0/input/0/role "), "{found:?}");
}

#[tokio::test]
async fn the_same_question_is_answered_from_the_cache_without_a_job_and_costs_nothing() {
    let stage = Stage::new(said).await;
    output(&stage, &chat(json!("What is a lantern?"))).await;
    let again = chat(json!("  What is a lantern?\n"));
    let read = stage.kinds.process.read(&again.to_string()).unwrap();
    let hit = stage.kinds.process.try_cached(&stage.tenant, &read).unwrap();
    assert!(hit.results[0].cached);
    let job = stage.submit("process", &again).await;
    let result = stage.output(job).await;
    assert_eq!((&result["results"][0]["cache"], stage.provider.calls()), (&json!("hit"), 1));
    let report = stage.view(job).await.job.report.clone();
    assert!(report.cached && report.usage.cost_microusd == 0, "{report:?}");
    // Case is kept: an answer may quote it.
    let other = chat(json!("what is a lantern?"));
    assert!(
        stage.kinds.process.try_cached(&stage.tenant, &stage.kinds.process.read(&other.to_string()).unwrap()).is_none()
    );
}

#[tokio::test]
async fn an_item_is_tried_three_times_although_the_stack_would_try_more_often() {
    let down = |_: &Asked, _: usize| Answer::Json(500, json!({"error": {"message": "down"}}));
    let stage = Stage::new(down).await;
    let error = stage.error(stage.submit("process", &chat(json!("Hi"))).await).await;
    assert_eq!((error.code.as_str(), stage.provider.calls()), ("all_items_failed", 3));
    assert!(error.message.contains("down"), "{error:?}");

    let stage = Stage::new(|asked, number| match number {
        0 | 1 => Answer::Json(503, json!({"error": {"message": "busy"}})),
        _ => said(asked, number),
    })
    .await;
    let result = output(&stage, &chat(json!("Hi"))).await;
    assert_eq!((&result["succeeded"], stage.provider.calls()), (&json!(1), 3));
}

#[tokio::test]
async fn items_fail_alone_and_what_local_can_do_is_degraded_and_not_kept() {
    let stage = Stage::new(|_, _| Answer::Json(400, json!({"error": {"message": "never"}}))).await;
    let items = json!([{"id": "a", "task": "chat", "input": "Hi"}, {"id": "b", "task": "sentiment", "input": "A wonderful day."}]);
    let input = json!({"items": items, "model": "smart"});
    let result = output(&stage, &input).await;
    let (first, second) = (&result["results"][0], &result["results"][1]);
    assert_eq!((&first["id"], &first["status"]), (&json!("a"), &json!("failed")));
    assert!(first["error"]["message"].as_str().unwrap().contains("never"), "{first}");
    assert_eq!((&second["status"], &second["degraded"]), (&json!("succeeded"), &json!(true)));
    assert_eq!(second["output"]["label"], "positive");
    let again = output(&stage, &input).await;
    assert_eq!(again["results"][1]["cache"], "miss", "the model is asked again, for it may be well");
}

#[tokio::test]
async fn an_item_is_tried_three_times_however_many_targets_there_are_and_the_second_has_its_try() {
    let down = |_: &Asked, _: usize| Answer::Json(500, json!({"error": {"message": "down"}}));
    let stage = Stage::with_two_targets(down).await;
    let error = stage.error(stage.submit("process", &chat(json!("Hi"))).await).await;
    assert!(error.message.contains("down"), "{error:?}");
    let asked = stage.provider.ledger();
    let models: Vec<&str> = asked.iter().map(|asked| asked.body["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["scripted", "scripted", "second"]);

    let stage = Stage::with_two_targets(move |asked, number| match asked.body["model"].as_str() {
        Some("second") => said(asked, number),
        _ => down(asked, number),
    })
    .await;
    let result = output(&stage, &chat(json!("Hi"))).await;
    assert_eq!((&result["succeeded"], stage.provider.calls()), (&json!(1), 3), "{result}");
}

#[tokio::test]
async fn answers_that_do_not_fit_are_tries_as_well() {
    let stage = Stage::new(|_, number| match number {
        0 => Answer::Json(500, json!({"error": {"message": "down"}})),
        _ => Answer::text("A poem."),
    })
    .await;
    let input = json!({"items": [{"task": "sentiment", "input": "A wonderful day."}], "model": "smart"});
    let result = output(&stage, &input).await;
    assert_eq!((&result["results"][0]["degraded"], stage.provider.calls()), (&json!(true), 3), "{result}");
}

#[tokio::test]
async fn vectors_and_analyses_come_from_the_models_that_are_for_them() {
    let stage = Stage::new(|asked, _| match asked.path.as_str() {
        "/v1/embeddings" => Answer::Json(
            200,
            json!({
                "object": "list", "model": "scripted", "usage": {"prompt_tokens": 4, "total_tokens": 4},
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
            }),
        ),
        _ => Answer::Text(json!({"summary": "Short."}).to_string()),
    })
    .await;
    let vectors = output(&stage, &json!({"items": [{"task": "embed", "input": "x"}], "model": "vectors"})).await;
    let made = &vectors["results"][0]["output"];
    assert_eq!((&made["dimensions"], &made["vectors"][0]), (&json!(2), &json!([0.5, -0.5])));
    let summary = output(&stage, &json!({"items": [{"task": "summary", "input": "x"}], "model": "smart"})).await;
    assert_eq!(summary["results"][0]["output"], "Short.");
    let found = stage
        .try_submit("process", &json!({"items": [{"task": "embed", "input": "x"}], "model": "smart"}))
        .await
        .unwrap_err();
    assert!(found[0].contains("cannot make embeddings") && found[0].contains("vectors"), "{found:?}");
}

#[tokio::test]
async fn answers_that_gave_an_item_nothing_have_been_paid_for() {
    let stage = Stage::new(|_, _| Answer::text("A poem.")).await;
    let schema = json!({"type": "object", "required": ["city"]});
    let item = json!({"task": "extract", "input": {"text": "Lisbon", "schema": schema}});
    let job = stage.submit("process", &json!({"items": [item], "model": "smart"})).await;
    assert_eq!(stage.error(job).await.code, "all_items_failed");
    assert_eq!(stage.provider.calls(), 3);
    assert_eq!(stage.view(job).await.job.report.usage.cost_microusd, 3 * TOKENS);
}

#[tokio::test]
async fn the_same_question_at_the_same_time_is_asked_once() {
    let stage = Stage::new(|asked, _| {
        Answer::Late(std::time::Duration::from_millis(200), format!("you said: {}", asked.last_text()))
    })
    .await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(stage.submit("process", &chat(json!("Hi"))).await);
    }
    let (mut ways, mut cost) = (Vec::new(), 0);
    for job in jobs {
        ways.push(stage.output(job).await["results"][0]["cache"].as_str().unwrap().to_owned());
        cost += stage.view(job).await.job.report.usage.cost_microusd;
    }
    ways.sort();
    assert_eq!((ways[0].as_str(), ways[3].as_str(), stage.provider.calls()), ("coalesced", "miss", 1), "{ways:?}");
    assert_eq!(cost, TOKENS, "paid for by the one that asked");
}
