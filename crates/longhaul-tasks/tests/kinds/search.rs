//! Searching a document that was taken in.

use bytes::Bytes;
use longhaul_gateway::Models;
use longhaul_tasks::documents::{DocumentChunks, DocumentVectors, RankedBy, SearchError};
use serde_json::json;

use crate::kit::{FakeModel, Stage};

const TEXT: &str = "The ferry leaves at noon and comes back at four.\n\x0cA lantern burns in the tower through every \
                    storm.\n\x0cBread is baked in the old mill.\n";

async fn parts(stage: &Stage, options: serde_json::Value) -> (Bytes, Option<Bytes>) {
    let (document, job) = stage.upload("story.txt", TEXT.as_bytes(), options).await;
    stage.output(job).await;
    let chunks = stage.part(document, DocumentChunks::PART).await.unwrap();
    (chunks, stage.part(document, DocumentVectors::PART).await)
}

#[tokio::test]
async fn a_document_is_searched_by_words_and_by_vectors() {
    let stage = Stage::new().await;
    let (chunks, vectors) = parts(&stage, json!({})).await;
    let found = stage.kinds.documents.search(chunks, vectors, "lantern storm", 2).await.unwrap();
    assert_eq!(found.ranked_by, [RankedBy::Bm25, RankedBy::Embedding]);
    let best = &found.hits[0];
    assert!(best.text.contains("lantern") && best.page == 2, "{found:?}");
    assert_eq!(best.bm25.unwrap().rank, 1);
    assert_eq!(best.embedding.unwrap().rank, 1);
    assert!(found.hits.len() <= 2);
}

#[tokio::test]
async fn without_vectors_or_without_their_model_words_decide_alone() {
    let stage = Stage::new().await;
    let (chunks, vectors) = parts(&stage, json!({"embed": false})).await;
    assert!(vectors.is_none());
    let found = stage.kinds.documents.search(chunks, vectors, "bread", 10).await.unwrap();
    assert_eq!((found.ranked_by.as_slice(), found.hits.len()), (&[RankedBy::Bm25][..], 1));

    let mut models = Models::default();
    models.insert(std::sync::Arc::new(FakeModel::new()));
    let stage = Stage::with(models, |_| {}).await;
    let (chunks, vectors) = parts(&stage, json!({"embed": {"model": "fake"}, "summary": false})).await;
    let elsewhere = Stage::new().await;
    let found = elsewhere.kinds.documents.search(chunks, vectors, "bread", 10).await.unwrap();
    assert_eq!(found.ranked_by, [RankedBy::Bm25], "the model `fake` is gone");
}

#[tokio::test]
async fn an_empty_query_and_a_damaged_part_are_told_apart() {
    let stage = Stage::new().await;
    let (chunks, _) = parts(&stage, json!({})).await;
    let empty = stage.kinds.documents.search(chunks, None, " ", 10).await.unwrap_err();
    assert_eq!(empty, SearchError::Query("is empty".into()));
    let damaged = stage.kinds.documents.search(Bytes::from_static(b"{"), None, "x", 10).await.unwrap_err();
    assert!(matches!(damaged, SearchError::Damaged(_)));
}
