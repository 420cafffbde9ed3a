//! The executor of `document.ingest`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::{KindSpec, Report};
use longhaul_engine::{Check, Completed, Executor, Failure, FieldError, JobContext};
use longhaul_gateway::Operation;
use tokio::sync::Semaphore;

use super::{
    DocumentChunks, DocumentVectors, Extractor, IngestInput, IngestOutput, Ocr, OutputChunk, SearchError, SearchOutput,
    Timings, rank,
    run::{ReadPage, Run},
    schema,
    search::RankedBy,
};
use crate::{
    TaskSettings,
    analysis::unfit,
    calls::{Calls, Stopped},
    spec,
};

/// The executor of `document.ingest`, and the search over what it has stored.
pub struct Ingest {
    kind: KindSpec,
    pub(super) calls: Calls,
    default_model: Option<String>,
    pub(super) extractor: Arc<dyn Extractor>,
    pub(super) ocr: Arc<dyn Ocr>,
    /// Documents that are open at once: each is in memory as a whole.
    pub(super) open: Arc<Semaphore>,
    pub(super) page_concurrency: usize,
    pub(super) embed_batch: usize,
    pub(super) embed_concurrency: usize,
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Ingest {
    pub(crate) fn new(calls: Calls, settings: &TaskSettings) -> Self {
        let description = "Takes in an uploaded document (PDF, DOCX, HTML, Markdown, plain text, images): its text page \
                           by page, read by OCR where it is a picture, pieces for retrieval, vectors, a summary.";
        Self {
            kind: spec::kind("document.ingest", description, schema::input(), schema::output()),
            calls,
            default_model: settings.document_model.clone(),
            extractor: settings.extractor.clone(),
            ocr: settings.ocr(),
            open: Arc::new(Semaphore::new(settings.open_documents.max(1))),
            page_concurrency: settings.page_concurrency.max(1),
            embed_batch: settings.embed_batch.max(1),
            embed_concurrency: settings.embed_concurrency.max(1),
        }
    }

    /// Reads an input, or names everything that is wrong with it.
    pub fn read(&self, input: &str) -> Result<IngestInput, Vec<FieldError>> {
        IngestInput::read(input, &self.calls, self.default_model.as_deref())
    }

    /// Searches a document by its stored parts: `chunks`, and `vectors` if it has them.
    ///
    /// # Errors
    /// An empty query, a model that fails on it, a part that cannot be read. A model that is no longer there is none:
    /// words alone decide then.
    pub async fn search(
        &self,
        chunks: Bytes,
        vectors: Option<Bytes>,
        query: &str,
        limit: usize,
    ) -> Result<SearchOutput, SearchError> {
        if query.trim().is_empty() {
            return Err(SearchError::Query("is empty".to_owned()));
        }
        let damaged = |error: serde_json::Error| SearchError::Damaged(error.to_string());
        let read = move || -> Result<_, SearchError> {
            let chunks = DocumentChunks::read(&chunks).map_err(damaged)?;
            let vectors = vectors.map(|vectors| DocumentVectors::read(&vectors)).transpose().map_err(damaged)?;
            Ok((chunks, vectors))
        };
        let stopped = |stopped| SearchError::Model(Stopped::into(stopped));
        let (chunks, vectors) = self.calls.blocking(read).await.map_err(stopped)??;
        let vectors = match vectors {
            Some(vectors) => self.vector_of(query, &vectors).await?.map(|of_query| (vectors, of_query)),
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
        ranked.await.map_err(stopped)
    }

    /// The query as a vector of the same maker; none when that maker is not there any more.
    async fn vector_of(&self, query: &str, vectors: &DocumentVectors) -> Result<Option<Vec<f32>>, SearchError> {
        let Ok(model) = self.calls.model_for(Some(&vectors.asked), None, Operation::Embed) else { return Ok(None) };
        let made = self.calls.embed(&model, [query.to_owned()].into()).await?;
        let comparable = made.model == vectors.model && made.dimensions == vectors.dimensions;
        Ok(made.vectors.into_iter().next().filter(|_| comparable))
    }
}

impl Check for Ingest {
    fn check(&self, input: &str) -> Vec<FieldError> {
        self.read(input).err().unwrap_or_default()
    }
}

#[async_trait]
impl Executor for Ingest {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    fn check(&self) -> Option<&dyn Check> {
        Some(self)
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let input = self.read(&String::from_utf8_lossy(job.input())).map_err(unfit)?;
        let run = Run::new(self, job, &input);
        let mut timings = Timings::default();

        let (what, pages) = run.read_document(&mut timings).await?;
        let reports = pages.iter().map(ReadPage::report).collect();
        let text = run.keep_text(&what, &pages).await?;
        let cut = run.cut(pages, &mut timings).await?;
        let chunks = run.keep_chunks(cut.chunks).await?;
        let embeddings = match &input.embed {
            Some(model) => Some(run.embed(model, &chunks, cut.batch, &mut timings).await?),
            None => None,
        };
        let summary = match &input.summary {
            Some(model) => run.summarise(model, text.joined(), &mut timings).await?,
            None => None,
        };
        timings.total = run.ms();
        let chunks = chunks.chunks.into_iter().map(OutputChunk::from).collect();
        let model = input.embed.clone().or(input.summary.clone());
        let document_id = input.document_id;
        let output = IngestOutput { document_id, pages: reports, chunks, embeddings, summary, timings_ms: timings };
        Ok(Completed { report: Report { model, ..Report::default() }, ..Completed::json(&output)? })
    }
}
