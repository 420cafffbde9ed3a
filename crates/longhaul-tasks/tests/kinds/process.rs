//! The kind `process` under the real dispatcher.

use std::sync::Arc;

use longhaul_core::{Span, Status, Tenant};
use longhaul_gateway::{ErrorClass, Models};
use longhaul_tasks::process::{ALL_ITEMS_FAILED, ItemStatus, ProcessInput, Served};
use serde_json::{Value, json};

use crate::kit::{FakeModel, Stage};

fn items() -> Value {
    json!({"items": [
        {"id": "k", "task": "keywords", "input": "The lantern in the lighthouse burns all night."},
        {"task": "sentiment", "input": "What a lovely morning."},
        {"id": "e", "task": "embed", "input": ["one", "two"]},
    ]})
}

fn read(stage: &Stage, input: &Value) -> ProcessInput {
    stage.kinds.process.read(&input.to_string()).unwrap()
}

#[tokio::test]
async fn results_come_in_order_and_the_second_time_from_the_cache_without_a_job() {
    let stage = Stage::new().await;
    let input = read(&stage, &items());
    assert!(stage.kinds.process.try_cached(&stage.tenant, &input).is_none());
    let job = stage.submit("process", &items()).await;
    let output = stage.output(job).await;
    assert_eq!((&output["succeeded"], &output["failed"]), (&json!(3), &json!(0)));
    for (index, id) in ["k", "1", "e"].iter().enumerate() {
        let result = &output["results"][index];
        assert_eq!((&result["id"], &result["cached"], &result["cache"]), (&json!(id), &json!(false), &json!("miss")));
    }
    assert!(output["results"][0]["output"].to_string().contains("lantern"), "{output}");
    assert_eq!(output["results"][2]["output"]["vectors"].as_array().unwrap().len(), 2);

    let cached = stage.kinds.process.try_cached(&stage.tenant, &input).unwrap();
    assert_eq!((cached.served(), cached.succeeded), (Served::Hit, 3));
    let cached = serde_json::to_value(&cached).unwrap();
    for index in 0..3 {
        assert_eq!(cached["results"][index]["output"], output["results"][index]["output"]);
        assert_eq!(cached["results"][index]["cached"], true);
    }
    let again = stage.ended(stage.submit("process", &items()).await).await;
    assert!(again.job.report.cached);
}

#[tokio::test]
async fn answers_are_a_tenants_own_and_grow_old() {
    let stage = Stage::new().await;
    stage.output(stage.submit("process", &items()).await).await;
    let input = read(&stage, &items());
    let process = &stage.kinds.process;
    assert!(process.try_cached(&Tenant::new("bob").unwrap(), &input).is_none());
    stage.clock.advance(Span::from_secs(299));
    assert!(process.try_cached(&stage.tenant, &input).is_some());
    stage.clock.advance(Span::from_secs(1));
    assert!(process.try_cached(&stage.tenant, &input).is_none(), "after 300 s");
}

#[tokio::test]
async fn one_answer_that_is_missing_makes_a_job_in_which_the_others_are_hits() {
    let stage = Stage::new().await;
    stage.output(stage.submit("process", &items()).await).await;
    let mut more = items();
    more["items"].as_array_mut().unwrap().push(json!({"task": "language", "input": "Guten Morgen, liebe Leute."}));
    assert!(stage.kinds.process.try_cached(&stage.tenant, &read(&stage, &more)).is_none());
    let output = stage.output(stage.submit("process", &more).await).await;
    let served: Vec<&str> =
        output["results"].as_array().unwrap().iter().map(|result| result["cache"].as_str().unwrap()).collect();
    assert_eq!(served, ["hit", "hit", "hit", "miss"]);
}

#[tokio::test]
async fn without_the_cache_everything_is_asked_anew_and_kept_for_others() {
    let stage = Stage::new().await;
    let mut anew = items();
    anew["cache"] = json!(false);
    let output = stage.output(stage.submit("process", &anew).await).await;
    assert_eq!(output["results"][0]["cache"], "bypass");
    assert!(stage.kinds.process.try_cached(&stage.tenant, &read(&stage, &anew)).is_none());
    assert!(stage.kinds.process.try_cached(&stage.tenant, &read(&stage, &items())).is_some());
    assert_eq!((stage.kinds.process.purge().await, stage.kinds.process.cached().0), (3, 0));
}

#[tokio::test]
async fn the_same_question_at_the_same_time_is_asked_once() {
    let model = Arc::new(FakeModel::held());
    let stage = Stage::with_model(model.clone()).await;
    let same = json!({"task": "summary", "input": "What  is a lantern?"});
    let folded = json!({"task": "summary", "input": "What is a lantern? "});
    let job = stage.submit("process", &json!({"items": [same, folded], "model": "fake"})).await;
    let (engine, tenant) = (stage.engine.clone(), stage.tenant.clone());
    stage.until(|| model.calls() > 0).await;
    assert_eq!(engine.job(&tenant, job).await.unwrap().job.status(), Status::Running);
    model.let_go(2);
    let output = stage.output(job).await;
    let served: Vec<&Value> = output["results"].as_array().unwrap().iter().map(|result| &result["cache"]).collect();
    assert_eq!(served, ["miss", "coalesced"]);
    assert_eq!(model.calls(), 1);
    assert_eq!(stage.steps(job).await, ["item:0", "item:1"], "paid answers outlive a crash");
}

#[tokio::test]
async fn an_item_is_tried_three_times_and_fails_alone() {
    let model = Arc::new(FakeModel::new().failing([ErrorClass::Transient, ErrorClass::Throttled]));
    let stage = Stage::with_model(model.clone()).await;
    let one = json!({"items": [{"task": "summary", "input": "x"}], "model": "fake"});
    let view = stage.ended_in_time(stage.submit("process", &one).await).await;
    assert_eq!((view.job.status(), view.job.attempt, model.calls()), (Status::Succeeded, 1, 3));

    let model = Arc::new(FakeModel::new().failing([ErrorClass::Caller]));
    let stage = Stage::with_model(model.clone()).await;
    let two = json!({"items": [{"task": "summary", "input": "x"}, {"task": "summary", "input": "y"}], "model": "fake"});
    let output = stage.output(stage.submit("process", &two).await).await;
    assert_eq!((&output["succeeded"], &output["failed"], model.calls()), (&json!(1), &json!(1), 2));
    assert_eq!(output["results"][0]["error"], json!({"code": "told_to", "message": "as it was told"}));
    assert_eq!(output["results"][1]["status"], "succeeded");
}

#[tokio::test]
async fn a_job_of_which_every_item_fails_has_failed_and_says_why() {
    let model = Arc::new(FakeModel::new().failing([ErrorClass::Transient; 3]));
    let stage = Stage::with_model(model.clone()).await;
    let one = json!({"items": [{"task": "summary", "input": "x"}], "model": "fake"});
    let view = stage.ended_in_time(stage.submit("process", &one).await).await;
    let error = view.job.error.clone().unwrap();
    assert_eq!((error.code.as_str(), view.job.attempt, model.calls()), (ALL_ITEMS_FAILED, 1, 3));
    assert_eq!(error.message, "the only item failed: /items/0: as it was told");
    assert!(stage.kinds.process.try_cached(&stage.tenant, &read(&stage, &one)).is_none(), "failures are not kept");
}

#[tokio::test]
async fn a_hundred_items_are_answered_a_few_at_a_time() {
    let model = Arc::new(FakeModel::held());
    let mut models = Models::default();
    models.insert(model.clone());
    let stage = Stage::with(models, |settings| settings.process_concurrency = 8).await;
    let item = |n: usize| json!({"task": "summary", "input": format!("text {n}")});
    let input = json!({"items": (0..100).map(item).collect::<Vec<_>>(), "model": "fake"});
    let job = stage.submit("process", &input).await;
    for begun in 8..100 {
        stage.until(|| model.calls() >= begun).await;
        model.let_go(1);
    }
    model.let_go(8);
    let output = stage.output(job).await;
    assert_eq!((&output["succeeded"], model.calls(), model.most_at_once()), (&json!(100), 100, 8));
    assert_eq!(output["results"][99]["output"], "in short: text 99");
    let typed: longhaul_tasks::ProcessOutput = serde_json::from_value(output).unwrap();
    assert!(typed.results.iter().all(|result| result.status == ItemStatus::Succeeded));
}
