//! Searching a document that was taken in.

use std::{pin::pin, sync::Arc};

use futures::poll;
use longhaul_core::{DocumentId, Span, Status};
use longhaul_gateway::ErrorClass;
use longhaul_tasks::documents::{DocumentChunks, DocumentVectors, RankedBy, SearchError, SearchOutput};
use serde_json::{Value, json};

use crate::kit::{FakeModel, Stage};

const TEXT: &str = "The ferry leaves at noon and comes back at four. It carries letters, two goats and every third \
                    day a doctor.\n\x0cA lantern burns in the tower through every \
                    storm.\n\x0cBread is baked in the old mill.\n";

const WORDS: &[RankedBy] = &[RankedBy::Bm25];
const BOTH: &[RankedBy] = &[RankedBy::Bm25, RankedBy::Embedding];

async fn taken_in(stage: &Stage, options: Value) -> DocumentId {
    let (document, job) = stage.upload("story.txt", TEXT.as_bytes(), options).await;
    stage.output(job).await;
    document
}

/// Takes a document in once more.
async fn again(stage: &Stage, document: DocumentId, mut options: Value) -> Status {
    options["document_id"] = document.to_string().into();
    let job = stage.submit("document.ingest", &options).await;
    stage.ended_in_time(job).await.job.status()
}

async fn search(stage: &Stage, document: DocumentId, query: &str, limit: usize) -> SearchOutput {
    let found = stage.kinds.documents.search(stage.engine.store(), &stage.tenant, document, query, limit).await;
    found.unwrap().unwrap()
}

async fn stage_with(model: FakeModel) -> (Stage, Arc<FakeModel>) {
    let model = Arc::new(model);
    (Stage::with_model(model.clone()).await, model)
}

const BY_FAKE: fn() -> Value = || json!({"embed": {"model": "fake"}, "summary": false});

#[tokio::test]
async fn a_document_is_searched_by_words_and_by_vectors() {
    let stage = Stage::new().await;
    let document = taken_in(&stage, json!({})).await;
    let found = search(&stage, document, "lantern storm", 2).await;
    assert_eq!(found.ranked_by, BOTH);
    let best = &found.hits[0];
    assert!(best.text.contains("lantern") && best.page == 2, "{found:?}");
    assert_eq!(best.bm25.unwrap().rank, 1);
    assert_eq!(best.embedding.unwrap().rank, 1);
    assert!(found.hits.len() <= 2);
}

#[tokio::test]
async fn without_vectors_or_without_their_model_words_decide_alone() {
    let stage = Stage::new().await;
    let document = taken_in(&stage, json!({"embed": false})).await;
    let found = search(&stage, document, "bread", 10).await;
    assert_eq!((found.ranked_by.as_slice(), found.hits.len()), (WORDS, 1));

    let (stage, _) = stage_with(FakeModel::new()).await;
    let document = taken_in(&stage, BY_FAKE()).await;
    assert_eq!(search(&stage, document, "bread", 10).await.ranked_by, BOTH);
    let elsewhere = Stage::new().await;
    let found = elsewhere.kinds.documents.search(stage.engine.store(), &stage.tenant, document, "bread", 10).await;
    assert_eq!(found.unwrap().unwrap().ranked_by, WORDS, "the model `fake` is gone");
}

#[tokio::test]
async fn a_model_that_is_down_costs_the_vectors_and_not_the_search() {
    for class in [ErrorClass::Transient, ErrorClass::Throttled, ErrorClass::Permanent, ErrorClass::Caller] {
        let (stage, model) = stage_with(FakeModel::new()).await;
        let document = taken_in(&stage, BY_FAKE()).await;
        model.fail_next([class]);
        let found = search(&stage, document, "bread", 10).await;
        assert_eq!((found.ranked_by.as_slice(), found.hits.len()), (WORDS, 1), "{class:?}");
        assert_eq!(search(&stage, document, "bread", 10).await.ranked_by, BOTH, "it is back");
    }
}

#[tokio::test]
async fn a_model_that_takes_too_long_is_not_waited_for() {
    let (stage, model) = stage_with(FakeModel::held()).await;
    model.let_go(1);
    let document = taken_in(&stage, BY_FAKE()).await;
    let mut search = pin!(search(&stage, document, "bread", 10));
    while model.calls() < 2 {
        assert!(poll!(&mut search).is_pending());
        tokio::task::yield_now().await;
    }
    stage.clock.advance(Span::from_millis(1_999));
    assert!(poll!(&mut search).is_pending());
    stage.clock.advance(Span::from_millis(1));
    let found = search.await;
    assert_eq!((found.ranked_by.as_slice(), found.hits.len()), (WORDS, 1));
}

#[tokio::test]
async fn vectors_of_other_pieces_are_not_used() {
    let (stage, model) = stage_with(FakeModel::new()).await;
    let document = taken_in(&stage, BY_FAKE()).await;
    // The pieces are cut anew and stored; then the model fails, and the vectors are those of the pieces before.
    model.fail_next([ErrorClass::Permanent]);
    let mut smaller = BY_FAKE();
    smaller["chunk"] = json!({"tokens": 16, "overlap": 8});
    assert_eq!(again(&stage, document, smaller.clone()).await, Status::Failed);
    assert!(stage.part(document, DocumentVectors::PART).await.unwrap().len() > 10, "they are still there");
    assert_eq!(search(&stage, document, "bread", 10).await.ranked_by, WORDS);
    assert_eq!(again(&stage, document, smaller).await, Status::Succeeded);
    assert_eq!(search(&stage, document, "bread", 10).await.ranked_by, BOTH, "these are of the pieces that are there");
}

#[tokio::test]
async fn who_takes_a_document_in_without_vectors_has_none() {
    let (stage, _) = stage_with(FakeModel::new()).await;
    let document = taken_in(&stage, BY_FAKE()).await;
    assert_eq!(again(&stage, document, json!({"embed": false, "summary": false})).await, Status::Succeeded);
    assert_eq!(stage.part(document, DocumentVectors::PART).await.as_deref(), Some(&b"null"[..]));
    assert_eq!(search(&stage, document, "bread", 10).await.ranked_by, WORDS);
}

#[tokio::test]
async fn an_empty_query_no_pieces_and_a_damaged_part_are_told_apart() {
    let stage = Stage::new().await;
    let search = async |document, query: &str| {
        stage.kinds.documents.search(stage.engine.store(), &stage.tenant, document, query, 10).await
    };
    let document = taken_in(&stage, json!({})).await;
    assert!(matches!(search(document, " ").await, Err(SearchError::Query(why)) if why == "is empty"));
    let (unread, job) = stage.upload("a.pdf", b"%PDF-1.7 and nothing of it", json!({})).await;
    assert_eq!(stage.ended(job).await.job.status(), Status::Failed);
    assert_eq!(search(unread, "x").await.unwrap(), None);
    stage.put_part(document, DocumentChunks::PART, b"{").await;
    assert!(matches!(search(document, "x").await, Err(SearchError::Damaged(_))));
}
