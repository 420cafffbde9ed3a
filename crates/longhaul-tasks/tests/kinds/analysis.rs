//! The kind `analysis` under the real dispatcher.

use std::sync::Arc;

use longhaul_core::{Span, Status};
use longhaul_gateway::ErrorClass::{Caller, Transient};
use serde_json::json;

use crate::kit::{FakeModel, Stage};

const STORY: &str = "Rosa Lindner loved the bright harbour of Lisbon. The harbour was wonderful. Ships came in.";

#[tokio::test]
async fn echo_gives_back_the_very_bytes_that_came() {
    let stage = Stage::new().await;
    let odd = " {\"b\" : 1.0e2,\"a\":[ ] ,\"b\":2}\n";
    let request = longhaul_engine::JobRequest::of("echo", odd);
    let job = stage.engine.submit(&stage.tenant, vec![request], None).await.unwrap().jobs[0];
    let view = stage.ended(job).await;
    assert_eq!(stage.engine.payload(view.output.as_ref().unwrap()).await.unwrap(), odd);
}

#[tokio::test]
async fn every_analysis_is_a_step_and_has_its_result() {
    let stage = Stage::new().await;
    let input = json!({"text": STORY, "analyses": [
        "summary", "keywords", "sentiment", "entities", "language", {"classify": {"labels": ["harbour", "tax"]}}
    ]});
    let job = stage.submit("analysis", &input).await;
    let output = stage.output(job).await;
    let results = &output["results"];
    assert!(STORY.contains(results["summary"].as_str().unwrap().split('.').next().unwrap()), "{output}");
    assert!(results["keywords"].to_string().contains("harbour"), "{output}");
    assert_eq!(results["sentiment"]["label"], "positive");
    assert_eq!(results["entities"][0]["text"], "Rosa Lindner");
    assert_eq!(results["language"]["code"], "en");
    assert_eq!(results["classify"]["label"], "harbour");
    assert_eq!((&output["errors"], &output["degraded"], &output["model"]), (&json!({}), &json!([]), &json!("local")));
    let mut steps = stage.steps(job).await;
    steps.sort();
    assert_eq!(steps, ["classify", "entities", "keywords", "language", "sentiment", "summary"]);
    let view = stage.ended(job).await;
    assert_eq!(view.job.progress.as_ref().unwrap().message.as_deref(), Some("6 of 6 analyses"));
    assert_eq!(view.job.report.model.as_deref(), Some("local"));
}

#[tokio::test]
async fn without_a_list_it_is_summary_keywords_and_sentiment() {
    let stage = Stage::new().await;
    let output = stage.output(stage.submit("analysis", &json!({"text": STORY})).await).await;
    let names: Vec<&String> = output["results"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["keywords", "sentiment", "summary"]);
}

#[tokio::test]
async fn what_the_model_cannot_do_is_an_error_beside_the_results_or_fails_the_job() {
    let stage = Stage::new().await;
    let analyses = json!(["language", {"extract": {"schema": {"type": "object"}}}]);
    let partial = stage.submit("analysis", &json!({"text": STORY, "analyses": analyses})).await;
    let output = stage.output(partial).await;
    assert_eq!(output["results"]["language"]["code"], "en");
    assert_eq!(output["errors"]["extract"]["code"], "unsupported_operation", "{output}");

    let input = json!({"text": STORY, "analyses": analyses, "on_failure": "fail"});
    let (code, message, retryable) = stage.failure(stage.submit("analysis", &input).await).await;
    assert_eq!((code.as_str(), retryable), ("unsupported_operation", false));
    assert!(message.starts_with("extract: the local provider cannot extract"), "{message}");
}

#[tokio::test]
async fn nothing_but_errors_is_a_failed_job() {
    let stage = Stage::new().await;
    let input = json!({"text": STORY, "analyses": [{"extract": {"schema": {}}}]});
    let (code, ..) = stage.failure(stage.submit("analysis", &input).await).await;
    assert_eq!(code, "unsupported_operation");
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_what_succeeded_is_not_asked_twice() {
    let model = Arc::new(FakeModel::new().failing([Transient]));
    let stage = Stage::with_model(model.clone()).await;
    let input = json!({"text": STORY, "analyses": ["summary", "keywords"], "model": "fake"});
    let job = stage.submit("analysis", &input).await;
    let view = stage.ended_in_time(job).await;
    assert_eq!((view.job.status(), view.job.attempt), (Status::Succeeded, 2));
    assert_eq!(model.calls(), 3, "one of the two was asked again");
}

#[tokio::test]
async fn a_failure_that_does_not_pass_ends_beside_the_results_after_the_last_attempt() {
    let model = Arc::new(FakeModel::new().failing([Transient; 5]));
    let stage = Stage::with_model(model.clone()).await;
    let job = stage.submit("analysis", &json!({"text": STORY, "analyses": ["summary"], "model": "fake"})).await;
    let view = stage.ended_in_time(job).await;
    assert_eq!((view.job.status(), view.job.attempt, model.calls()), (Status::Failed, 5, 5), "there are no results");

    let model = Arc::new(FakeModel::new().failing([Caller]));
    let stage = Stage::with_model(model.clone()).await;
    let input = json!({"text": STORY, "analyses": ["summary", "keywords"], "model": "fake"});
    let view = stage.ended(stage.submit("analysis", &input).await).await;
    let output = stage.output_of(&view).await;
    assert_eq!((&output["errors"]["summary"]["code"], view.job.attempt), (&json!("told_to"), 1), "{output}");
    assert!(output["results"]["keywords"].is_array(), "{output}");
}

#[tokio::test]
async fn a_document_is_analysed_once_its_text_is_there_and_waiting_costs_no_attempt() {
    let stage = Stage::new().await;
    // Its job is held up at the very beginning: the queue of its kind gives out nothing.
    let id = longhaul_core::QueueName::new("held").unwrap();
    stage.engine.pause_queue(id.clone(), true).await.unwrap();
    let (document, ingest) = stage.upload_to(&id, "story.txt", STORY.as_bytes(), json!({})).await;
    let analysis = stage.submit("analysis", &json!({"document_id": document, "analyses": ["keywords"]})).await;
    loop {
        let view = stage.engine.job(&stage.tenant, analysis).await.unwrap();
        if view.job.error.as_ref().is_some_and(|error| error.code == "document_not_ready" && error.retryable) {
            break;
        }
        tokio::task::yield_now().await;
    }
    stage.clock.advance(Span::from_secs(10));
    stage.engine.pause_queue(id, false).await.unwrap();
    let ended = stage.ended_in_time(ingest).await;
    assert_eq!(ended.job.status(), Status::Succeeded, "{:?}", ended.job.error);
    let view = stage.ended_in_time(analysis).await;
    assert_eq!((view.job.status(), view.job.attempt), (Status::Succeeded, 1));
    assert!(stage.output_of(&view).await["results"]["keywords"].to_string().contains("harbour"));
}

#[tokio::test]
async fn a_document_that_is_unknown_or_could_not_be_read_is_a_clear_failure() {
    let stage = Stage::new().await;
    let unknown = json!({"document_id": "doc_0190d4a4c6f07a6cb8a2d0fd4a3bb3c1"});
    let (code, message, retryable) = stage.failure(stage.submit("analysis", &unknown).await).await;
    assert_eq!((code.as_str(), retryable), ("document_not_found", false));
    assert!(message.contains("doc_0190d4a4"), "{message}");

    let (document, ingest) = stage.upload("empty.txt", b" \n ", json!({})).await;
    assert_eq!(stage.ended(ingest).await.job.status(), Status::Failed);
    let (code, message, retryable) =
        stage.failure(stage.submit("analysis", &json!({"document_id": document})).await).await;
    assert_eq!((code.as_str(), retryable), ("document_without_text", false));
    assert!(message.contains("has failed"), "{message}");
}
