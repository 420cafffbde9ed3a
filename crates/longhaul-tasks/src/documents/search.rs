//! Search within one document: two rankings and their fusion.
//!
//! BM25 ranks pieces by the words of the query that stand in them, vectors by nearness. Scores of the two cannot be
//! compared, ranks can: reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009) adds `1 / (60 + rank)` over the
//! rankings in which a piece appears. Every hit says how it came to its place.

use longhaul_engine::store::StoreError;
use longhaul_gateway::Bm25;
use serde::{Deserialize, Serialize};

use super::parts::{DocumentChunks, DocumentVectors, StoredChunk};

/// Ranks beyond this one weigh little and are not looked at.
const MAX_RANKED: usize = 100;
/// Damps the first ranks, as in the paper.
const FUSION: f64 = 60.0;
/// Vectors that are farther apart have nothing to do with each other.
const MIN_SIMILARITY: f64 = 0.1;

/// The answer to a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchOutput {
    /// The query.
    pub query: String,
    /// The rankings that were used: `bm25`, and `embedding` when the document has vectors and their model has made one of
    /// the query in time.
    pub ranked_by: Vec<RankedBy>,
    /// The pieces that fit, best first.
    pub hits: Vec<SearchHit>,
}

/// A ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankedBy {
    /// By words.
    Bm25,
    /// By vectors.
    Embedding,
}

/// A piece that fits the query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchHit {
    /// The piece.
    pub chunk_id: String,
    /// Its page.
    pub page: usize,
    /// Its words.
    pub text: String,
    /// The headings above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// By which it is placed; comparable within one answer only.
    pub score: f64,
    /// Its place and score by words, if it has a word of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bm25: Option<Place>,
    /// Its place and nearness by vectors, if it is near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Place>,
}

/// A place in a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// From 1.
    pub rank: usize,
    /// By which the ranking placed it.
    pub score: f64,
}

/// Why a search gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The query cannot be worked on.
    #[error("the query {0}")]
    Query(String),
    /// The document could not be fetched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The search was broken off.
    #[error("the search was broken off: {0}")]
    Stopped(&'static str),
    /// What is stored cannot be read: a mistake of ours.
    #[error("a stored part of the document is damaged: {0}")]
    Damaged(String),
}

/// Ranks the pieces of a document. `query_vector` must come from the maker of `vectors`.
pub fn rank(
    chunks: &DocumentChunks,
    vectors: Option<(&DocumentVectors, &[f32])>,
    query: &str,
    limit: usize,
) -> Vec<SearchHit> {
    let index = Bm25::of(chunks.chunks.iter().map(words_of));
    let by_words: Vec<(usize, f64)> =
        index.search(query, MAX_RANKED).into_iter().map(|hit| (hit.text, hit.score)).collect();
    let by_vectors = vectors.map(|(vectors, query)| nearest(vectors, query)).unwrap_or_default();
    let mut hits: Vec<(usize, SearchHit)> = Vec::new();
    for (ranking, is_words) in [(&by_words, true), (&by_vectors, false)] {
        for (index, (chunk, score)) in ranking.iter().enumerate() {
            let place = Place { rank: index + 1, score: *score };
            let at = match hits.iter().position(|(known, _)| known == chunk) {
                Some(at) => at,
                None => {
                    let Some(stored) = chunks.chunks.get(*chunk) else { continue };
                    hits.push((*chunk, hit(stored)));
                    hits.len() - 1
                }
            };
            let hit = &mut hits[at].1;
            hit.score += 1.0 / (FUSION + f64::from(u32::try_from(place.rank).unwrap_or(u32::MAX)));
            if is_words { hit.bm25 = Some(place) } else { hit.embedding = Some(place) }
        }
    }
    hits.sort_by(|(a_at, a), (b_at, b)| b.score.total_cmp(&a.score).then(a_at.cmp(b_at)));
    hits.into_iter().take(limit).map(|(_, hit)| SearchHit { score: rounded(hit.score), ..hit }).collect()
}

/// What a piece is found by: its words and the headings above it.
fn words_of(stored: &StoredChunk) -> String {
    match &stored.chunk.section {
        Some(section) => format!("{section}\n{}", stored.chunk.text),
        None => stored.chunk.text.clone(),
    }
}

fn hit(stored: &StoredChunk) -> SearchHit {
    SearchHit {
        chunk_id: stored.chunk_id.clone(),
        page: stored.chunk.page,
        text: stored.chunk.text.clone(),
        section: stored.chunk.section.clone(),
        score: 0.0,
        bm25: None,
        embedding: None,
    }
}

/// Pieces by cosine similarity, nearest first.
fn nearest(vectors: &DocumentVectors, query: &[f32]) -> Vec<(usize, f64)> {
    if query.len() != vectors.dimensions {
        return Vec::new();
    }
    let similarity = |(index, vector): (usize, &[f32])| (index, rounded(cosine(vector, query)));
    let mut near: Vec<(usize, f64)> = vectors.vectors.each(vectors.dimensions).enumerate().map(similarity).collect();
    near.retain(|(_, similarity)| *similarity >= MIN_SIMILARITY);
    near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    near.truncate(MAX_RANKED);
    near
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let length = (dot(a, a) * dot(b, b)).sqrt();
    if length > 0.0 { dot(a, b) / length } else { 0.0 }
}

/// Six decimals: enough to compare, and the same digits on every machine.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use longhaul_core::DocumentId;
    use longhaul_documents::Chunk;

    use super::*;
    use crate::documents::parts::Packed;

    fn chunks(texts: &[&str]) -> DocumentChunks {
        let chunk = |(index, text): (usize, &&str)| Chunk {
            index,
            page: index + 1,
            text: (*text).to_owned(),
            tokens: 1,
            start: 0,
            end: text.len(),
            section: None,
        };
        DocumentChunks::of(DocumentId::from_bytes([7; 16]), texts.iter().enumerate().map(chunk).collect())
    }

    fn vectors(each: &[Vec<f32>]) -> DocumentVectors {
        let (dimensions, vectors) = (each[0].len(), Packed::of(each));
        DocumentVectors { asked: "m".into(), model: "m".into(), dimensions, of_chunks: None, vectors }
    }

    #[test]
    fn a_piece_that_both_rankings_find_comes_first_and_says_why() {
        let chunks = chunks(&["the ferry at noon", "a lantern in the storm", "storm over the bay"]);
        let vectors = vectors(&[vec![1.0, 0.0], vec![0.0, 1.0], vec![0.5, 0.9]]);
        let hits = rank(&chunks, Some((&vectors, &[0.1, 1.0])), "storm lantern", 10);
        assert!(hits[0].text.contains("lantern"), "{hits:?}");
        assert_eq!(hits[0].bm25.map(|place| place.rank), Some(1));
        assert_eq!(hits[0].embedding.map(|place| place.rank), Some(1));
        let expected = 2.0 / 61.0;
        assert!((hits[0].score - expected).abs() < 1e-6, "{}", hits[0].score);
        assert_eq!(hits.len(), 2, "the ferry has no word of it and is far away: {hits:?}");
    }

    #[test]
    fn without_vectors_words_decide_and_a_limit_holds() {
        let chunks = chunks(&["storm", "storm storm", "calm"]);
        let hits = rank(&chunks, None, "storm", 1);
        assert_eq!(hits.len(), 1);
        assert!(hits[0].embedding.is_none() && hits[0].chunk_id.starts_with("doc_"), "{hits:?}");
        assert_eq!(rank(&chunks, None, "?!", 10), []);
    }

    #[test]
    fn vectors_of_another_length_are_not_compared() {
        let vectors = vectors(&[vec![1.0, 0.0]]);
        assert_eq!(rank(&chunks(&["a"]), Some((&vectors, &[1.0, 0.0, 0.0])), "b", 10), []);
    }
}
