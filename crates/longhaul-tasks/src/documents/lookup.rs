//! Searching a document by what is stored of it.
//!
//! A search has the parts of its document in memory while it lasts, and how many searches there are is for others to
//! decide. So each waits for its share of a number of bytes ([`Desk`]) before it fetches them.
//!
//! The words of a document can always be searched. Its vectors help when they are of the pieces that are there, and when
//! the model that made them makes one of the query within [`PATIENCE`]; whatever is wrong with that is logged and costs
//! the vectors alone.

use std::sync::Arc;

use bytes::Bytes;
use longhaul_core::{DocumentId, Payload, Span, Tenant};
use longhaul_engine::store::{JobStore, StoreError};
use longhaul_gateway::{CallOptions, Operation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{DocumentChunks, DocumentVectors, Fingerprint, Ingest, SearchError, SearchOutput, rank, search::RankedBy};
use crate::calls::Stopped;

/// How long a search waits for the vector of its query. Somebody sits in front of it, and words alone answer most queries
/// well.
const PATIENCE: Span = Span::from_secs(2);
/// How many times the size of a stored part it takes in memory: as it came, and taken apart, with its index.
const UNFOLDED: u64 = 4;
/// The unit in which memory is shared out.
const SHARE: u64 = 1_024;

/// Memory that searches share.
#[derive(Debug)]
pub(super) struct Desk {
    shares: Arc<Semaphore>,
    all: u32,
}

impl Desk {
    pub(super) fn of(bytes: usize) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let all = u32::try_from(bytes as u64 / SHARE).unwrap_or(u32::MAX).clamp(1, most);
        Self { shares: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Waits for room for parts of so many bytes. What is larger than the desk has it alone.
    async fn room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, SearchError> {
        let shares = u32::try_from(bytes.saturating_mul(UNFOLDED) / SHARE + 1).unwrap_or(u32::MAX).min(self.all);
        // The semaphore is never closed.
        let room = self.shares.clone().acquire_many_owned(shares).await;
        room.map_err(|_| SearchError::Stopped("the server is shutting down"))
    }
}

impl Ingest {
    /// Searches a document of the tenant. None: it has no pieces, because no job has come so far.
    ///
    /// # Errors
    /// An empty query, a part that cannot be fetched or read.
    pub async fn search(
        &self,
        store: &Arc<dyn JobStore>,
        tenant: &Tenant,
        document: DocumentId,
        query: &str,
        limit: usize,
    ) -> Result<Option<SearchOutput>, SearchError> {
        if query.trim().is_empty() {
            return Err(SearchError::Query("is empty".to_owned()));
        }
        let Some(chunks) = store.document_part(tenant, document, DocumentChunks::PART).await? else { return Ok(None) };
        let vectors = store.document_part(tenant, document, DocumentVectors::PART).await?;
        let size = chunks.size().saturating_add(vectors.as_ref().map_or(0, Payload::size));
        let _room = self.desk.room(size).await?;
        let chunks = fetch(store, chunks).await?;
        let vectors = match vectors {
            Some(vectors) => Some(fetch(store, vectors).await?),
            None => None,
        };
        let read = self.calls.blocking(move || parts(&chunks, vectors.as_deref()));
        let (chunks, vectors) = read.await.map_err(stopped)??;
        let vectors = match vectors {
            Some(vectors) => self.vector_of(tenant, query, &vectors).await.map(|of_query| (vectors, of_query)),
            None => None,
        };
        let query = query.to_owned();
        let ranked = self.calls.blocking(move || {
            let vectors = vectors.as_ref().map(|(vectors, of_query)| (vectors, of_query.as_slice()));
            let hits = rank(&chunks, vectors, &query, limit);
            let mut ranked_by = vec![RankedBy::Bm25];
            ranked_by.extend(vectors.map(|_| RankedBy::Embedding));
            SearchOutput { query, ranked_by, hits }
        });
        ranked.await.map(Some).map_err(stopped)
    }

    /// The query as a vector that can be compared with these; none when that cannot be had, or not in time.
    async fn vector_of(&self, tenant: &Tenant, query: &str, vectors: &DocumentVectors) -> Option<Vec<f32>> {
        let made = tokio::select! {
            biased;
            made = self.made_of(tenant, query, vectors) => made,
            () = self.clock.sleep(PATIENCE) => Err(("timeout", format!("nothing came within {} s", PATIENCE.as_secs()))),
        };
        match made {
            Ok(vector) => Some(vector),
            Err((code, why)) => {
                tracing::warn!(model = vectors.asked, code, why, "a document is searched by words alone");
                None
            }
        }
    }

    async fn made_of(
        &self,
        tenant: &Tenant,
        query: &str,
        vectors: &DocumentVectors,
    ) -> Result<Vec<f32>, (&'static str, String)> {
        let calls = &self.calls;
        let model = calls.model_for(Some(&vectors.asked), None, Operation::Embed);
        let model = model.map_err(|error| (error.code, error.message))?;
        let texts: Arc<[String]> = [query.to_owned()].into();
        let made = match calls.models.gateway_of(model.name()) {
            Some(gateway) => {
                let options = CallOptions::for_tenant(tenant.as_str()).timeout(PATIENCE.into());
                let made = calls.embed_configured(gateway, &model, texts, &options).await;
                made.map_err(|error| (error.code(), error.to_string()))?.0
            }
            None => calls.embed(&model, texts).await.map_err(|error| (error.code, error.message))?,
        };
        if made.model != vectors.model || made.dimensions != vectors.dimensions {
            let why = format!("`{}` answered, and `{}` made the document's vectors", made.model, vectors.model);
            return Err(("embedding_model_changed", why));
        }
        made.vectors.into_iter().next().ok_or(("embedding_incomplete", "there is no vector in the answer".to_owned()))
    }
}

/// The pieces, and the vectors if they are of these pieces.
fn parts(chunks: &[u8], vectors: Option<&[u8]>) -> Result<(DocumentChunks, Option<DocumentVectors>), SearchError> {
    let damaged = |error: serde_json::Error| SearchError::Damaged(error.to_string());
    let vectors = match vectors {
        Some(vectors) => DocumentVectors::read(vectors).map_err(damaged)?,
        None => None,
    };
    let fits = |vectors: &DocumentVectors| vectors.of_chunks.as_ref() == Some(&Fingerprint::of(chunks));
    let vectors = vectors.filter(fits);
    Ok((DocumentChunks::read(chunks).map_err(damaged)?, vectors))
}

/// The bytes of a part.
async fn fetch(store: &Arc<dyn JobStore>, part: Payload) -> Result<Bytes, StoreError> {
    let blob = match part {
        Payload::Inline(json) => return Ok(json),
        Payload::Blob(blob) => blob,
    };
    let store = store.clone();
    let read = tokio::task::spawn_blocking(move || store.blobs().get(&blob)).await;
    // A part that is replaced at this moment takes its blob with it: the next search finds the new one.
    read.map_err(|error| StoreError::Unavailable(error.to_string()))?
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

fn stopped(stopped: Stopped) -> SearchError {
    match stopped {
        Stopped::Panicked => SearchError::Stopped("the code that searches failed unexpectedly"),
        Stopped::ShuttingDown => SearchError::Stopped("the server is shutting down"),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn searches_wait_for_their_share_and_the_largest_has_it_alone() {
        let desk = Desk::of(64 * 1_024);
        let small = desk.room(1_000).await.unwrap();
        let large = desk.room(1 << 40);
        tokio::pin!(large);
        assert!(large.as_mut().now_or_never().is_none(), "somebody sits there");
        drop(small);
        let large = large.await.unwrap();
        assert!(desk.room(1).now_or_never().is_none(), "it has the desk alone");
        drop(large);
        assert!(desk.room(1).now_or_never().is_some());
    }
}
