//! One attempt at taking a document in, step by step: what it is, its pages, its pieces.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use longhaul_core::{JobError, Stage, StepName, Timestamp};
use longhaul_documents::{Chunk, Format, Page, PageError, Warning, chunk_unless};
use longhaul_engine::{Failure, JobContext};
use longhaul_gateway::{CallOptions, Model, ModelError, Operation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    DocumentChunks, DocumentText, Ingest, IngestInput, OcrError, OcrMode, PageReport, PageSource, Timings,
    parts::Fingerprint, room::Room, source::Source,
};
use crate::{TaskError, llm::call};

/// The part of the whole that is done when all pages are read, if vectors follow.
const PAGES_DONE: f64 = 0.6;
/// The part of the whole that is done when all vectors are made, if a summary follows.
pub(super) const VECTORS_DONE: f64 = 0.95;

/// Pieces of one document: each may become a vector of thousands of numbers, and all of them are one output. The default
/// size makes so many of thirty million tokens.
pub(super) const MAX_CHUNKS: usize = 65_536;

/// Dots per inch of pages that are drawn for OCR: what programs that read pictures are made for.
const OCR_DPI: u32 = 300;
/// How often a call is tried, over all targets, by an attempt that follows a failed one: once more, or by the next target.
const TRIES_AGAIN: u32 = 2;

/// Warnings of a document, and of each of its pages, that are kept. There are not that many kinds.
const MAX_WARNINGS: usize = 16;
/// Letters of a warning.
const MAX_WARNING_CHARS: usize = 400;

/// A step's output, and how long it took.
#[derive(Serialize, Deserialize)]
pub(super) struct Timed<T> {
    pub(super) ms: u64,
    pub(super) value: T,
}

/// What a document is: the step `extract`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Extracted {
    format: Format,
    title: Option<String>,
    page_count: usize,
    /// What was read with a loss, for the output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<Warning>,
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

impl ReadPage {
    fn failed(number: usize, error: TaskError) -> Self {
        Self { page: Page { number, ..Page::default() }, source: PageSource::Text, error: Some(error) }
    }

    fn error(error: &PageError, number: usize) -> Self {
        Self::failed(number, TaskError::new(error.code(), error.to_string()))
    }

    fn left_out(number: usize, room: &Room) -> Self {
        Self::error(&PageError::LeftOut { page: number, max: room.max() }, number)
    }

    /// It had no room when it was read.
    fn is_left_out(&self) -> bool {
        let code = PageError::LeftOut { page: 0, max: 0 }.code();
        self.error.as_ref().is_some_and(|error| error.code == code)
    }

    fn chars(&self) -> usize {
        self.page.text.chars().count()
    }

    /// What stands on the page, if it could be read.
    pub(super) fn readable(self) -> Option<Page> {
        self.error.is_none().then_some(self.page)
    }

    pub(super) fn report(&self) -> PageReport {
        PageReport {
            page: self.page.number,
            chars: self.chars(),
            source: self.source,
            error: self.error.clone(),
            warnings: self.page.warnings.clone(),
        }
    }
}

impl Timed<ReadPage> {
    /// The page, if there is room for it behind those before it.
    fn within(mut self, room: &Room) -> Self {
        let number = self.value.page.number;
        if self.value.is_left_out() {
            room.close();
        } else if !room.takes(self.value.chars()) {
            self.value = ReadPage::left_out(number, room);
        }
        self
    }
}

/// An attempt.
pub(super) struct Run<'a> {
    pub(super) ingest: &'a Ingest,
    pub(super) job: &'a JobContext,
    pub(super) input: &'a IngestInput,
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

    /// The part of the whole that is done when all pages are read.
    pub(super) fn pages_done(&self) -> f64 {
        if self.input.embed.is_some() { PAGES_DONE } else { self.vectors_done() }
    }

    /// The part of the whole that is done when all vectors are made.
    pub(super) fn vectors_done(&self) -> f64 {
        if self.input.summary.is_some() { VECTORS_DONE } else { 1.0 }
    }

    /// A step that keeps how long it took.
    pub(super) async fn step<T, F>(&self, name: &str, work: F) -> Result<Timed<T>, Failure>
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

    /// What an earlier attempt has stored of a step, if it has.
    pub(super) async fn stored<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<Timed<T>>, Failure> {
        if !self.job.has_step(&step_name(name)?) {
            return Ok(None);
        }
        let gone = async { Err(Failure::permanent("internal", format!("the step {name} is gone"))) };
        self.step(name, gone).await.map(Some)
    }

    /// How models are asked. The first attempt leaves trying again to the model's own stack; in those that follow because it
    /// failed, a call is tried [`TRIES_AGAIN`] times at most: tries of the job and of the stack add up and do not multiply.
    pub(super) fn options(&self) -> CallOptions {
        let options = call::options(self.job);
        if self.job.failures() == 0 { options } else { options.max_attempts(TRIES_AGAIN) }
    }

    /// What it is and what stands on its pages. Fails when nothing can be read.
    pub(super) async fn read_document(&self, timings: &mut Timings) -> Result<(Extracted, Vec<ReadPage>), Failure> {
        self.job.enter(Stage::Validating).await?;
        let Ingest { extractor, open, .. } = self.ingest;
        let source = Source::new(self.job, self.input.document_id, extractor, open);
        let extract = async {
            let open = source.open().await?;
            let title = open.title().map(str::to_owned);
            let warnings = few(open.warnings());
            Ok(Extracted { format: open.format(), title, page_count: open.page_count(), warnings })
        };
        let Timed { ms, value: what } = self.step("extract", extract).await?;
        timings.extract = ms;
        self.job.enter(Stage::Executing).await?;

        let (done, room) = (AtomicUsize::new(0), Room::of(extractor.max_document_chars()));
        let pages: Vec<_> =
            (1..=what.page_count).map(|number| self.read_page(&source, &what, number, &room, &done)).collect();
        // They come out in their order, in which they have to be judged.
        let pages = stream::iter(pages).buffered(self.ingest.page_concurrency);
        let pages: Vec<Timed<ReadPage>> = pages.map_ok(|page| page.within(&room)).try_collect().await?;
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
        room: &Room,
        done: &AtomicUsize,
    ) -> Result<Timed<ReadPage>, Failure> {
        let name = format!("page:{number}");
        if let Some(known) = self.stored::<ReadPage>(&name).await? {
            // What an earlier attempt has read was told then.
            done.fetch_add(1, Ordering::Relaxed);
            return Ok(known);
        }
        let page = if room.is_full() {
            // Nothing was done that would have to be remembered.
            Timed { ms: 0, value: ReadPage::left_out(number, room) }
        } else {
            let work = async {
                let page = self.page_of(source, what, number).await?;
                // Whatever stands before it, it has no room: it is not stored either.
                Ok(if page.chars() > room.max() { ReadPage::left_out(number, room) } else { page })
            };
            self.step(&name, work).await?
        };
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        let fraction = self.pages_done() * part(done, what.page_count);
        self.job.progress(fraction, format!("page {done}/{}", what.page_count)).await?;
        Ok(page)
    }

    async fn page_of(&self, source: &Source<'_>, what: &Extracted, number: usize) -> Result<ReadPage, Failure> {
        // Only some formats can hold pictures of text; of the others `always` means what is there.
        if self.input.ocr == OcrMode::Always && what.format.has_pictures() {
            return self.picture(source, number).await;
        }
        let read = source.page(number).await?.map(|page| Page { warnings: few(&page.warnings), ..page });
        match read {
            Ok(page) if page.mostly_picture => self.text_or_picture(source, page).await,
            Ok(page) if !page.needs_ocr => Ok(ReadPage { page, source: PageSource::Text, error: None }),
            Ok(_) if self.input.ocr == OcrMode::Never => {
                let message = format!("page {number} has no text that can be read without OCR, and `ocr` is \"never\"");
                Ok(ReadPage::failed(number, TaskError::new("page_needs_ocr", message)))
            }
            Ok(_) => self.picture(source, number).await,
            Err(error) => Ok(ReadPage::error(&error, number)),
        }
    }

    /// Reads a page that has a few letters and pictures over most of it: what is in the pictures, if that is much more. What
    /// cannot be read there costs the page nothing but what is there.
    async fn text_or_picture(&self, source: &Source<'_>, mut page: Page) -> Result<ReadPage, Failure> {
        let why = if self.input.ocr == OcrMode::Never {
            "`ocr` is \"never\"".to_owned()
        } else {
            match self.picture(source, page.number).await? {
                ReadPage { error: Some(error), .. } => error.message,
                seen if letters(&seen.page) * 2 > letters(&page) * 3 => return Ok(seen),
                _ => return Ok(ReadPage { page, source: PageSource::Text, error: None }),
            }
        };
        let message =
            format!("pictures cover most of page {}, and what is written in them was not read: {why}", page.number);
        page.warnings.push(Warning { code: "picture_not_read".to_owned(), message });
        Ok(ReadPage { page, source: PageSource::Text, error: None })
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
            Err(error) => return Ok(ReadPage::error(&error, number)),
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
    pub(super) async fn keep_text(&self, what: &Extracted, pages: Vec<Page>) -> Result<DocumentText, Failure> {
        let Extracted { format, title, page_count, warnings: _ } = what.clone();
        let text = DocumentText { format, title, page_count, pages: pages.into_iter().map(Into::into).collect() };
        self.keep(DocumentText::PART, &text).await?;
        Ok(text)
    }

    /// Cuts the pages into pieces.
    pub(super) async fn cut(&self, pages: Vec<Page>, timings: &mut Timings) -> Result<Cut, Failure> {
        let (options, batch) = (self.input.chunk, self.batch_size());
        let cut = async {
            // Dropped with this future: when the job is cancelled, its place goes to another.
            let waiting = Waiting::default();
            let is_over = waiting.0.clone();
            let stop = move || is_over.load(Ordering::Relaxed);
            let cut = self.ingest.calls.blocking(move || chunk_unless(stop, MAX_CHUNKS, &pages, &options)).await?;
            let chunks = cut.map_err(|error| Failure::permanent(error.code(), error.to_string()))?;
            Ok(Cut { chunks: chunks.ok_or(Failure::Interrupted)?, batch })
        };
        let Timed { ms, value } = self.step("chunk", cut).await?;
        timings.chunk = ms;
        Ok(value)
    }

    fn batch_size(&self) -> usize {
        let models = &self.ingest.calls.models;
        let most = self.input.embed.as_deref().and_then(|model| models.get(Some(model)).ok());
        most.map_or(self.ingest.embed_batch, |model| {
            self.ingest.embed_batch.min(model.capabilities().max_embed_texts).max(1)
        })
    }

    /// Stores the part `chunks`; the pieces, and what tells them from any others.
    pub(super) async fn keep_chunks(&self, chunks: Vec<Chunk>) -> Result<(DocumentChunks, Fingerprint), Failure> {
        let chunks = DocumentChunks::of(self.input.document_id, chunks);
        let json = self.keep(DocumentChunks::PART, &chunks).await?;
        Ok((chunks, Fingerprint::of(&json)))
    }

    pub(super) fn model(&self, name: &str, operation: Operation) -> Result<Arc<dyn Model>, Failure> {
        let model = self.ingest.calls.model_for(Some(name), None, operation);
        model.map_err(|ModelError { code, message, .. }| Failure::permanent(code, message))
    }

    /// Stores a part; the bytes that it has become.
    pub(super) async fn keep<T: Serialize>(&self, part: &'static str, content: &T) -> Result<Bytes, Failure> {
        let json = serde_json::to_vec(content).map_err(|error| Failure::permanent("internal", error.to_string()))?;
        let json = Bytes::from(json);
        self.job.put_document_part(self.input.document_id, part, json.clone()).await?;
        Ok(json)
    }
}

fn letters(page: &Page) -> usize {
    page.text.chars().filter(|c| !c.is_whitespace()).count()
}

/// No more warnings than somebody would read: a reader that has been taken over can make up any number.
fn few(warnings: &[Warning]) -> Vec<Warning> {
    let short = |text: &str| text.chars().take(MAX_WARNING_CHARS).collect();
    let told = warnings.iter().take(MAX_WARNINGS);
    told.map(|warning| Warning { code: short(&warning.code), message: short(&warning.message) }).collect()
}

/// Somebody who waits for a computation. The flag is set when it is dropped.
#[derive(Default)]
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
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
pub(super) fn part(done: usize, all: usize) -> f64 {
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
