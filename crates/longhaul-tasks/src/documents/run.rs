//! One attempt at taking a document in, step by step.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use longhaul_core::{JobError, LogLevel, Stage, StepName, Timestamp};
use longhaul_documents::{Chunk, Format, Page, chunk};
use longhaul_engine::{Failure, JobContext};
use longhaul_gateway::{Analysis, AnalysisResult, Model, ModelError, Operation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    DocumentChunks, DocumentText, DocumentVectors, Embedded, Ingest, IngestInput, OcrError, OcrMode, PageReport,
    PageSource, Timings,
    parts::{Packed, PageText, StoredChunk},
    source::Source,
};
use crate::{TaskError, calls::failure};

/// The part of the whole that is done when all pages are read.
const PAGES_DONE: f64 = 0.6;
/// The part of the whole that is done when all vectors are made.
const VECTORS_DONE: f64 = 0.95;

/// Dots per inch of pages that are drawn for OCR: what programs that read pictures are made for.
const OCR_DPI: u32 = 300;

/// A step's output, and how long it took.
#[derive(Serialize, Deserialize)]
struct Timed<T> {
    ms: u64,
    value: T,
}

/// What a document is: the step `extract`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Extracted {
    format: Format,
    title: Option<String>,
    page_count: usize,
}

/// A page: the steps `page:<n>`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReadPage {
    page: Page,
    #[serde(default = "from_text")]
    source: PageSource,
    error: Option<TaskError>,
}

/// Where a page is from whose step says nothing about it: it was stored before pictures were read.
fn from_text() -> PageSource {
    PageSource::Text
}

/// The pieces: the step `chunk`. How many go into a batch is kept with them, so that a setting that has changed does
/// not part the vectors of an earlier attempt from their pieces.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cut {
    pub(super) chunks: Vec<Chunk>,
    pub(super) batch: usize,
}

/// The vectors of some pieces: the steps `embed:<batch>`.
#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    model: String,
    dimensions: usize,
    vectors: Packed,
}

impl ReadPage {
    fn failed(number: usize, error: TaskError) -> Self {
        Self { page: Page { number, ..Page::default() }, source: PageSource::Text, error: Some(error) }
    }

    pub(super) fn report(&self) -> PageReport {
        PageReport {
            page: self.page.number,
            chars: self.page.text.chars().count(),
            source: self.source,
            error: self.error.clone(),
        }
    }
}

/// An attempt.
pub(super) struct Run<'a> {
    ingest: &'a Ingest,
    job: &'a JobContext,
    input: &'a IngestInput,
    started: Timestamp,
}

impl<'a> Run<'a> {
    pub(super) fn new(ingest: &'a Ingest, job: &'a JobContext, input: &'a IngestInput) -> Self {
        Self { ingest, job, input, started: job.clock().now() }
    }

    /// Milliseconds since the attempt began.
    pub(super) fn ms(&self) -> u64 {
        self.ms_since(self.started)
    }

    fn ms_since(&self, then: Timestamp) -> u64 {
        self.job.clock().now().since(then).as_millis()
    }

    /// A step that keeps how long it took.
    async fn step<T, F>(&self, name: &str, work: F) -> Result<Timed<T>, Failure>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, Failure>>,
    {
        let work = async {
            let started = self.job.clock().now();
            let value = work.await?;
            Ok(Timed { ms: self.ms_since(started), value })
        };
        self.job.step(step_name(name)?, work).await
    }

    /// What it is and what stands on its pages. Fails when nothing can be read.
    pub(super) async fn read_document(&self, timings: &mut Timings) -> Result<(Extracted, Vec<ReadPage>), Failure> {
        self.job.enter(Stage::Validating).await?;
        let Ingest { extractor, open, .. } = self.ingest;
        let source = Source::new(self.job, self.input.document_id, extractor, open);
        let extract = async {
            let open = source.open().await?;
            let title = open.title().map(str::to_owned);
            Ok(Extracted { format: open.format(), title, page_count: open.page_count() })
        };
        let Timed { ms, value: what } = self.step("extract", extract).await?;
        timings.extract = ms;
        self.job.enter(Stage::Executing).await?;

        let done = AtomicUsize::new(0);
        let pages: Vec<_> = (1..=what.page_count).map(|number| self.read_page(&source, &what, number, &done)).collect();
        let pages: Vec<Timed<ReadPage>> =
            stream::iter(pages).buffered(self.ingest.page_concurrency).try_collect().await?;
        timings.pages = pages.iter().map(|page| page.ms).sum();
        let pages: Vec<ReadPage> = pages.into_iter().map(|page| page.value).collect();
        something_to_read(&pages)?;
        Ok((what, pages))
    }

    async fn read_page(
        &self,
        source: &Source<'_>,
        what: &Extracted,
        number: usize,
        done: &AtomicUsize,
    ) -> Result<Timed<ReadPage>, Failure> {
        let name = format!("page:{number}");
        let is_known = self.job.has_step(&step_name(&name)?);
        let page = self.step(&name, self.page_of(source, what, number)).await?;
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        // What an earlier attempt has read was told then.
        if !is_known {
            let fraction = PAGES_DONE * part(done, what.page_count);
            self.job.progress(fraction, format!("page {done}/{}", what.page_count)).await?;
        }
        Ok(page)
    }

    async fn page_of(&self, source: &Source<'_>, what: &Extracted, number: usize) -> Result<ReadPage, Failure> {
        // Only some formats can hold pictures of text; of the others `always` means what is there.
        if self.input.ocr == OcrMode::Always && what.format.has_pictures() {
            return self.picture(source, number).await;
        }
        match source.page(number).await? {
            Ok(page) if !page.needs_ocr => Ok(ReadPage { page, source: PageSource::Text, error: None }),
            Ok(_) if self.input.ocr == OcrMode::Never => {
                let message = format!("page {number} has no text that can be read without OCR, and `ocr` is \"never\"");
                Ok(ReadPage::failed(number, TaskError::new("page_needs_ocr", message)))
            }
            Ok(_) => self.picture(source, number).await,
            Err(error) => Ok(ReadPage::failed(number, TaskError::new(error.code(), error.to_string()))),
        }
    }

    /// Reads a page as a picture of text.
    async fn picture(&self, source: &Source<'_>, number: usize) -> Result<ReadPage, Failure> {
        let (ocr, language) = (&self.ingest.ocr, &self.input.language);
        // First, so that nothing is drawn that nobody can read.
        if let Err(error) = ocr.ready(language).await {
            return unread(number, &error);
        }
        let picture = match source.raster(number, OCR_DPI).await? {
            Ok(picture) => picture,
            Err(error) => return Ok(ReadPage::failed(number, TaskError::new(error.code(), error.to_string()))),
        };
        match ocr.read(&picture, language).await {
            Ok(text) => {
                let page = Page { number, text, ..Page::default() };
                Ok(ReadPage { page, source: PageSource::Ocr, error: None })
            }
            Err(error) => unread(number, &error),
        }
    }

    /// Stores the part `text`.
    pub(super) async fn keep_text(&self, what: &Extracted, pages: &[ReadPage]) -> Result<DocumentText, Failure> {
        let readable = pages.iter().filter(|page| page.error.is_none());
        let text = DocumentText {
            format: what.format,
            title: what.title.clone(),
            page_count: what.page_count,
            pages: readable
                .map(|ReadPage { page, .. }| PageText {
                    page: page.number,
                    text: page.text.clone(),
                    headings: page.headings.clone(),
                })
                .collect(),
        };
        self.keep(DocumentText::PART, &text).await?;
        Ok(text)
    }

    /// Cuts the pages into pieces.
    pub(super) async fn cut(&self, pages: Vec<ReadPage>, timings: &mut Timings) -> Result<Cut, Failure> {
        let (options, batch) = (self.input.chunk, self.batch_size());
        let cut = async {
            let pages: Vec<Page> =
                pages.into_iter().filter(|page| page.error.is_none()).map(|read| read.page).collect();
            let cut = self.ingest.calls.blocking(move || chunk(&pages, &options)).await?;
            let chunks = cut.map_err(|error| Failure::permanent(error.code(), error.to_string()))?;
            Ok(Cut { chunks, batch })
        };
        let Timed { ms, value } = self.step("chunk", cut).await?;
        timings.chunk = ms;
        Ok(value)
    }

    /// Stores the part `chunks`.
    pub(super) async fn keep_chunks(&self, chunks: Vec<Chunk>) -> Result<DocumentChunks, Failure> {
        let chunks = DocumentChunks::of(self.input.document_id, chunks);
        self.keep(DocumentChunks::PART, &chunks).await?;
        Ok(chunks)
    }

    fn batch_size(&self) -> usize {
        let models = &self.ingest.calls.models;
        let most = self.input.embed.as_deref().and_then(|model| models.get(Some(model)).ok());
        most.map_or(self.ingest.embed_batch, |model| {
            self.ingest.embed_batch.min(model.capabilities().max_embed_texts).max(1)
        })
    }

    /// Makes a vector of each piece, and stores the part `vectors`.
    pub(super) async fn embed(
        &self,
        model: &str,
        chunks: &DocumentChunks,
        batch: usize,
        timings: &mut Timings,
    ) -> Result<Embedded, Failure> {
        let asked = self.model(model, Operation::Embed)?;
        let texts = |batch: &[StoredChunk]| batch.iter().map(|stored| stored.chunk.text.clone()).collect();
        let batches: Vec<Arc<[String]>> = chunks.chunks.chunks(batch.max(1)).map(texts).collect();
        let (done, count) = (AtomicUsize::new(0), batches.len());
        let made = batches.into_iter().enumerate().map(|(index, texts)| {
            let (asked, done) = (&asked, &done);
            async move {
                let made = self.step(&format!("embed:{}", index + 1), self.embed_batch(asked, texts)).await?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                let fraction = PAGES_DONE + (VECTORS_DONE - PAGES_DONE) * part(done, count);
                self.job.progress(fraction, format!("vectors {done}/{count}")).await?;
                Ok::<_, Failure>(made)
            }
        });
        let made: Vec<_> = made.collect();
        let made: Vec<Timed<Batch>> = stream::iter(made).buffered(self.ingest.embed_concurrency).try_collect().await?;
        timings.embed = made.iter().map(|batch| batch.ms).sum();
        let makers: BTreeSet<(&str, usize)> =
            made.iter().map(|batch| (batch.value.model.as_str(), batch.value.dimensions)).collect();
        let vectors = Packed(made.iter().flat_map(|batch| batch.value.vectors.0.iter().copied()).collect());
        let (maker, dimensions) = match makers.iter().collect::<Vec<_>>()[..] {
            [(maker, dimensions)] => ((*maker).to_owned(), *dimensions),
            [] => (asked.name().to_owned(), asked.capabilities().embedding_dimensions.unwrap_or(1)),
            _ => {
                return Err(Failure::permanent(
                    "embedding_model_changed",
                    "the model was replaced while this job ran, and its vectors cannot be compared; submit it again",
                ));
            }
        };
        if vectors.0.len() != dimensions * chunks.chunks.len() {
            return Err(Failure::permanent("embedding_incomplete", "the model did not give one vector for each piece"));
        }
        let stored = DocumentVectors { asked: asked.name().to_owned(), model: maker.clone(), dimensions, vectors };
        self.keep(DocumentVectors::PART, &stored).await?;
        Ok(Embedded { model: maker, dimensions, count: chunks.chunks.len() })
    }

    async fn embed_batch(&self, model: &Arc<dyn Model>, texts: Arc<[String]>) -> Result<Batch, Failure> {
        let made = self.ingest.calls.embed(model, texts).await.map_err(|error| failure(model, error))?;
        if made.vectors.iter().any(|vector| vector.len() != made.dimensions) {
            return Err(Failure::permanent("embedding_incomplete", "the model gave vectors of different lengths"));
        }
        Ok(Batch { model: made.model, dimensions: made.dimensions, vectors: Packed::of(&made.vectors) })
    }

    /// The summary. One that cannot be made is told in the job's history and does not fail what has been reached.
    pub(super) async fn summarise(
        &self,
        model: &str,
        text: String,
        timings: &mut Timings,
    ) -> Result<Option<String>, Failure> {
        let model = self.model(model, Operation::Summary)?;
        let ask = async {
            match self.ingest.calls.analyse(&model, text.into(), Analysis::Summary).await {
                Ok(AnalysisResult::Summary(summary)) => Ok(summary),
                Ok(_) => Err(Failure::permanent("internal", "the model answered another question")),
                Err(error) => Err(failure(&model, error)),
            }
        };
        match self.step("summary", ask).await {
            Ok(Timed { ms, value }) => {
                timings.summary = ms;
                Ok(Some(value))
            }
            Err(Failure::Job { error, .. }) if !error.retryable || self.job.is_last_attempt() => {
                self.job.log(LogLevel::Warn, format!("no summary: {}", error.message)).await?;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn model(&self, name: &str, operation: Operation) -> Result<Arc<dyn Model>, Failure> {
        let model = self.ingest.calls.model_for(Some(name), None, operation);
        model.map_err(|ModelError { code, message, .. }| Failure::permanent(code, message))
    }

    async fn keep<T: Serialize>(&self, part: &'static str, content: &T) -> Result<(), Failure> {
        let json = serde_json::to_vec(content).map_err(|error| Failure::permanent("internal", error.to_string()))?;
        self.job.put_document_part(self.input.document_id, part, Bytes::from(json)).await
    }
}

/// A page whose picture could not be read; the failure of the attempt, if it may go better another time.
fn unread(number: usize, error: &OcrError) -> Result<ReadPage, Failure> {
    let message = format!("page {number} is a picture of text: {error}");
    if error.is_transient() {
        return Err(Failure::from(JobError { retryable: true, ..JobError::permanent(error.code(), message) }));
    }
    Ok(ReadPage::failed(number, TaskError::new(error.code(), message)))
}

fn step_name(name: &str) -> Result<StepName, Failure> {
    StepName::new(name).map_err(|error| Failure::permanent("internal", format!("the step {name}: {error}")))
}

#[allow(clippy::cast_precision_loss, reason = "there are not that many pages")]
fn part(done: usize, all: usize) -> f64 {
    done as f64 / all.max(1) as f64
}

/// Fails when no page could be read, or nothing stands on any.
fn something_to_read(pages: &[ReadPage]) -> Result<(), Failure> {
    if pages.iter().any(|page| page.error.is_none() && !page.page.text.trim().is_empty()) {
        return Ok(());
    }
    let errors: Vec<&TaskError> = pages.iter().filter_map(|page| page.error.as_ref()).collect();
    let count = pages.len();
    if errors.len() < count {
        let failed = match errors.len() {
            0 => String::new(),
            failed => format!(", and {failed} of its {count} pages could not be read"),
        };
        let message = format!("the document has no text: it can be opened, and nothing is written in it{failed}");
        return Err(Failure::permanent("document_without_text", message));
    }
    let codes: BTreeSet<&str> = errors.iter().map(|error| error.code.as_str()).collect();
    let code = if codes.len() == 1 { errors[0].code.as_str() } else { "no_page_readable" };
    let first = errors.first().map(|error| error.message.as_str()).unwrap_or_default();
    let message = match count {
        1 => format!("the only page could not be read: {first}"),
        count => format!("none of the {count} pages could be read: {first}"),
    };
    Err(Failure::permanent(code, message))
}
