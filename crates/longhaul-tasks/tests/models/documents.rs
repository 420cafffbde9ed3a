//! `document.ingest` through configured models: its calls are the job's, with all that follows from that.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use longhaul_core::{EventKind, Status, StatusReason};
use longhaul_documents::estimate_tokens;
use longhaul_engine::JobRequest;
use longhaul_tasks::{TaskSettings, documents::RankedBy};
use longhaul_testkit::fixture::prose;
use longhaul_testkit::script::{Answer, Asked, INPUT_TOKENS, OUTPUT_TOKENS};
use serde_json::{Value, json};

use crate::kit::Stage;

/// Tokens that a call for vectors is said to have taken.
const EMBED_TOKENS: u64 = 4;
/// Three pages, of which each is a piece.
const STORY: &str = "The ferry leaves at noon.\n\x0cA lantern burns in the tower.\n\x0cBread is baked in the mill.\n";

fn is_embedding(asked: &Asked) -> bool {
    asked.path.ends_with("/embeddings")
}

/// The texts that vectors are asked for.
fn texts(asked: &Asked) -> Vec<String> {
    serde_json::from_value(asked.body["input"].clone()).unwrap()
}

/// A vector for each text.
fn vectors(asked: &Asked) -> Answer {
    let data = (0..texts(asked).len())
        .map(|index| json!({"object": "embedding", "index": index, "embedding": [0.5, -0.5]}))
        .collect::<Vec<_>>();
    let usage = json!({"prompt_tokens": EMBED_TOKENS, "total_tokens": EMBED_TOKENS});
    Answer::Json(200, json!({"object": "list", "model": asked.body["model"], "usage": usage, "data": data}))
}

fn summary(text: &str) -> Answer {
    Answer::Text(json!({"summary": text}).to_string())
}

fn broken(status: u16) -> Answer {
    Answer::Json(status, json!({"error": {"message": "out of order"}}))
}

/// One piece to a call.
async fn stage(script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Stage {
    Stage::with(script, |settings| settings.embed_batch = 1).await
}

fn by(model: &str) -> Value {
    json!({"embed": {"model": model}, "summary": false})
}

#[tokio::test]
async fn what_the_calls_of_a_document_took_is_told_by_its_job() {
    let stage = stage(|asked, _| if is_embedding(asked) { vectors(asked) } else { summary("All is well.") }).await;
    let options = json!({"embed": {"model": "vectors"}, "summary": {"model": "smart"}});
    let (_, job) = stage.upload(STORY, options).await;
    let output = stage.output(job).await;
    assert_eq!(output["embeddings"], json!({"model": "scripted", "dimensions": 2, "count": 3}));
    assert_eq!(output["summary"], "All is well.");
    let report = stage.view(job).await.job.report.clone();
    assert_eq!(report.usage.input_tokens, 3 * EMBED_TOKENS + INPUT_TOKENS);
    assert_eq!(report.usage.output_tokens, OUTPUT_TOKENS);
    assert_eq!(report.usage.cost_microusd, 3 * EMBED_TOKENS + INPUT_TOKENS + OUTPUT_TOKENS);
    assert!(!report.degraded);
    let events = stage.events(job).await;
    let layers = events.iter().filter(|event| matches!(event.kind, EventKind::Layer { .. })).count();
    assert_eq!(layers, 4, "each call tells what its layers decided");
}

#[tokio::test]
async fn a_provider_that_says_when_puts_the_job_aside_with_what_it_has() {
    let stage = stage(|asked, number| match number {
        1 => Answer::Busy(1),
        _ => vectors(asked),
    })
    .await;
    let (_, job) = stage.upload(STORY, by("vectors")).await;
    stage.waits(job, StatusReason::Parked).await;
    assert_eq!(stage.output(job).await["embeddings"]["count"], 3);
    assert_eq!(stage.provider.calls(), 4, "what has been made is not asked for again");
    assert_eq!(stage.view(job).await.job.attempt, 1, "that was no failure");
}

#[tokio::test]
async fn calls_in_the_air_are_finished_and_kept_when_one_of_them_fails() {
    let stage = stage(|asked, number| if number == 0 { broken(400) } else { vectors(asked) }).await;
    let (_, job) = stage.upload(&format!("{STORY}\x0cA fourth page.\n"), by("vectors")).await;
    let error = stage.error(job).await;
    assert!(!error.retryable && error.provider.is_some(), "{error:?}");
    assert_eq!(stage.provider.calls(), 4);
    let kept = stage.steps(job).await.into_iter().filter(|step| step.starts_with("embed:")).count();
    assert_eq!(kept, 3, "they were paid for");
}

#[tokio::test]
async fn tries_of_the_job_and_of_the_models_stack_add_up_and_do_not_multiply() {
    let stage = stage(|_, _| broken(500)).await;
    let twice = |request| JobRequest { max_attempts: Some(2), ..request };
    let (_, job) = stage.upload_with("One page.", by("frail"), twice).await;
    let error = stage.error(job).await;
    assert_eq!((error.attempt, error.retryable), (2, true), "{error:?}");
    assert_eq!(stage.provider.calls(), 4 + 2, "three retries by the stack, and two more calls by the second attempt");
}

#[tokio::test]
async fn vectors_of_another_model_are_not_mixed_in_and_are_asked_for_again() {
    let broken_off = Arc::new(AtomicUsize::new(0));
    let counted = broken_off.clone();
    let script = move |asked: &Asked, _| {
        let is_bread = texts(asked)[0].contains("Bread");
        // The first target fails once, and the second steps in.
        if asked.body["model"] == "scripted" && is_bread && counted.fetch_add(1, Ordering::SeqCst) == 0 {
            return broken(500);
        }
        vectors(asked)
    };
    let one_by_one = |settings: &mut TaskSettings| (settings.embed_batch, settings.embed_concurrency) = (1, 1);
    let stage = Stage::with(script, one_by_one).await;
    let (_, job) = stage.upload(STORY, by("two")).await;
    let output = stage.output(job).await;
    assert_eq!(output["embeddings"], json!({"model": "scripted", "dimensions": 2, "count": 3}));
    let view = stage.view(job).await;
    assert_eq!((view.job.attempt, view.job.report.degraded), (2, false));
    let ledger = stage.provider.ledger();
    let second = ledger.iter().filter(|asked| asked.body["model"] == "second").count();
    assert_eq!((ledger.len(), second), (5, 1), "three, one that failed, and one in its place");
    let told = format!("{:?}", stage.events(job).await);
    assert!(told.contains("`two` answered with vectors of `second`"), "{told}");
}

#[tokio::test]
async fn a_document_that_another_model_takes_in_as_a_whole_is_degraded_and_whole() {
    let stage = stage(|asked, _| if asked.body["model"] == "scripted" { broken(500) } else { vectors(asked) }).await;
    let (_, job) = stage.upload(STORY, by("two")).await;
    assert_eq!(stage.output(job).await["embeddings"], json!({"model": "second", "dimensions": 2, "count": 3}));
    let view = stage.view(job).await;
    assert_eq!((view.job.attempt, view.job.report.degraded), (1, true));
}

#[tokio::test]
async fn a_long_text_is_summarised_part_by_part_and_then_as_a_whole() {
    let stage = Stage::new(|asked, _| {
        let words = asked.last_text().split_whitespace().count();
        summary(&format!("In short: {words} words."))
    })
    .await;
    let text = prose(7, 14_000);
    let (_, job) = stage.upload(&text, json!({"embed": false, "summary": {"model": "smart"}})).await;
    let output = stage.output(job).await;
    let ledger = stage.provider.ledger();
    let (last, parts) = ledger.split_last().unwrap();
    assert!(parts.len() > 1, "{} tokens are too many for one call", estimate_tokens(&text));
    let of = |asked: &Asked| asked.last_text().split_whitespace().count();
    assert!(ledger.iter().all(|asked| estimate_tokens(asked.last_text()) <= 8_000));
    assert_eq!(parts.iter().map(of).sum::<usize>(), 14_000, "no word is left out and none is told twice");
    assert_eq!(last.last_text().matches("In short").count(), parts.len());
    assert_eq!(output["summary"], format!("In short: {} words.", of(last)));
    let steps = stage.steps(job).await;
    let of_parts = steps.iter().filter(|step| step.starts_with("summary:1:")).count();
    assert!(of_parts == parts.len() && steps.contains(&"summary".to_owned()), "{steps:?}");
    let calls = ledger.len() as u64;
    assert_eq!(stage.view(job).await.job.report.usage.input_tokens, calls * INPUT_TOKENS);
}

#[tokio::test]
async fn parts_of_a_summary_that_cannot_be_made_have_been_paid_for() {
    let in_parts = json!({"embed": false, "summary": {"model": "smart"}});
    // The last call fails.
    let stage = Stage::new(|asked, _| match asked.last_text().contains("In short") {
        true => broken(403),
        false => summary("In short: much."),
    })
    .await;
    let (_, job) = stage.upload(&prose(7, 14_000), in_parts.clone()).await;
    assert_eq!(stage.output(job).await["summary_error"]["code"], "provider_permission");
    let parts = stage.provider.calls() as u64 - 1;
    assert!(parts > 1);
    assert_eq!(stage.view(job).await.job.report.usage.input_tokens, parts * INPUT_TOKENS);

    // One part is put off, and then fails.
    let failures = AtomicUsize::new(0);
    let stage = Stage::new(move |asked, _| match asked.last_text().contains("marmalade") {
        true if failures.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Busy(1),
        true => broken(403),
        false => summary("In short: much."),
    })
    .await;
    let text = format!("{} Then there is marmalade.", prose(7, 14_000));
    let (_, job) = stage.upload(&text, in_parts).await;
    assert_eq!(stage.output(job).await["summary_error"]["code"], "provider_permission");
    let made = stage.steps(job).await.iter().filter(|step| step.starts_with("summary:1:")).count() as u64;
    assert!(made > 1);
    assert_eq!(stage.view(job).await.job.report.usage.input_tokens, made * INPUT_TOKENS, "each counts once");
}

#[tokio::test]
async fn a_summary_that_cannot_be_made_is_told_in_the_output_and_costs_nothing_else() {
    let stage = Stage::new(|asked, _| if is_embedding(asked) { vectors(asked) } else { broken(403) }).await;
    let options = json!({"embed": {"model": "vectors"}, "summary": {"model": "smart"}});
    let (_, job) = stage.upload(STORY, options).await;
    let output = stage.output(job).await;
    assert_eq!((&output["summary"], &output["embeddings"]["count"]), (&Value::Null, &json!(3)));
    assert_eq!(output["summary_error"]["code"], "provider_permission", "{output}");
    // Answers of no use are told, and paid for all the same.
    let stage = Stage::new(|_, _| Answer::text("A poem.")).await;
    let (_, job) = stage.upload(STORY, json!({"embed": false, "summary": {"model": "smart"}})).await;
    assert_eq!(stage.output(job).await["summary_error"]["code"], "answer_unfit");
    assert_eq!(stage.view(job).await.job.report.usage.input_tokens, 3 * INPUT_TOKENS);
}

#[tokio::test]
async fn a_provider_that_is_down_leaves_the_search_its_words() {
    let is_down = Arc::new(AtomicBool::new(false));
    let told = is_down.clone();
    let stage =
        Stage::new(move |asked, _| if told.load(Ordering::SeqCst) { broken(500) } else { vectors(asked) }).await;
    let (document, job) = stage.upload(STORY, by("vectors")).await;
    stage.output(job).await;
    let search = async || {
        let found = stage.kinds.documents.search(stage.engine.store(), &stage.tenant, document, "bread", 10).await;
        found.unwrap().unwrap()
    };
    assert_eq!(search().await.ranked_by, [RankedBy::Bm25, RankedBy::Embedding]);
    is_down.store(true, Ordering::SeqCst);
    let found = search().await;
    assert_eq!(found.ranked_by, [RankedBy::Bm25]);
    assert!(found.hits[0].text.contains("Bread"), "{found:?}");
}

#[tokio::test]
async fn a_cancelled_document_lets_its_calls_go() {
    let stage = stage(|_, _| Answer::Stall("{".into())).await;
    let (_, job) = stage.upload(STORY, by("vectors")).await;
    stage.provider.called(1).await;
    stage.engine.cancel(&stage.tenant, job).await.unwrap();
    assert_eq!(stage.ended(job).await.job.status(), Status::Cancelled);
}
