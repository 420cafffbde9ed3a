//! The executor of `document.ingest`.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::{Clock, KindSpec, Limit, Report};
use longhaul_documents::Page;
use longhaul_engine::{Check, Completed, Executor, Failure, FieldError, JobContext};
use tokio::sync::Semaphore;

use super::{
    Extractor, IngestInput, IngestOutput, Ocr, OutputChunk, Timings,
    lookup::Desk,
    run::{ReadPage, Run},
    schema,
};
use crate::{TaskSettings, analysis::unfit, calls::Calls, spec};

/// The executor of `document.ingest`, and the search over what it has stored.
pub struct Ingest {
    kind: KindSpec,
    pub(super) calls: Calls,
    default_model: Option<String>,
    pub(super) extractor: Arc<dyn Extractor>,
    pub(super) ocr: Arc<dyn Ocr>,
    /// Documents that are open at once: each is in memory as a whole. The limit of the kind keeps most of those that wait
    /// in their queue; it can be set higher, and this holds all the same.
    pub(super) open: Arc<Semaphore>,
    pub(super) page_concurrency: usize,
    pub(super) embed_batch: usize,
    pub(super) embed_concurrency: usize,
    /// Where searches wait for their share of memory.
    pub(super) desk: Desk,
    pub(super) clock: Arc<dyn Clock>,
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
        let mut kind = spec::kind("document.ingest", description, schema::input(), schema::output());
        let concurrency = Some(settings.ingest_concurrency.max(1));
        kind.limits = vec![Limit { key: None, concurrency, rate: None }];
        Self {
            kind,
            calls,
            default_model: settings.document_model.clone(),
            extractor: settings.extractor.clone(),
            ocr: settings.ocr(),
            open: Arc::new(Semaphore::new(settings.open_documents.max(1))),
            page_concurrency: settings.page_concurrency.max(1),
            embed_batch: settings.embed_batch.max(1),
            embed_concurrency: settings.embed_concurrency.max(1),
            desk: Desk::of(settings.search_bytes),
            clock: settings.clock.clone(),
        }
    }

    /// Reads an input, or names everything that is wrong with it.
    pub fn read(&self, input: &str) -> Result<IngestInput, Vec<FieldError>> {
        IngestInput::read(input, &self.calls, self.default_model.as_deref())
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
        let pages = pages.into_iter().filter_map(ReadPage::readable).collect();
        let text = run.keep_text(&what, pages).await?;
        let to_shorten = input.summary.as_ref().map(|model| (model, text.joined()));
        let pages: Vec<Page> = text.pages.into_iter().map(Page::from).collect();
        let cut = run.cut(pages, &mut timings).await?;
        let (chunks, fingerprint) = run.keep_chunks(cut.chunks).await?;
        let (mut embeddings, mut degraded) = (None, false);
        match &input.embed {
            Some(model) => {
                let made = run.embed(model, &chunks, fingerprint, cut.batch, &mut timings).await?;
                (embeddings, degraded) = (Some(made.0), made.1);
            }
            None => run.forget_vectors().await?,
        }
        let (mut summary, mut summary_error) = (None, None);
        if let Some((model, text)) = to_shorten {
            let made = run.summarise(model, text, &mut timings).await?;
            (summary, summary_error, degraded) = (made.text, made.error, degraded || made.degraded);
        }
        timings.total = run.ms();
        let chunks = chunks.chunks.into_iter().map(OutputChunk::from).collect();
        let report = Report { model: input.embed.clone().or(input.summary.clone()), degraded, ..Report::default() };
        let document_id = input.document_id;
        let output = IngestOutput {
            document_id,
            pages: reports,
            warnings: what.warnings,
            chunks,
            embeddings,
            summary,
            summary_error,
            timings_ms: timings,
        };
        Ok(Completed { report, ..Completed::json(&output)? })
    }
}
