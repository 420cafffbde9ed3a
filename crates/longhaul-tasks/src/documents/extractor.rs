//! The port to what reads documents, and the reading in this process.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longhaul_documents::{DocumentError, Format, Limits, Page, PageError, Pages, Raster, Warning};
use tokio::sync::Semaphore;

/// A document as it came.
#[derive(Debug, Clone)]
pub struct Upload {
    /// What it is made of.
    pub bytes: Bytes,
    /// What the sender declared: a hint.
    pub content_type: Option<String>,
    /// What the sender called it: a hint.
    pub file_name: String,
}

/// Opens documents.
#[async_trait]
pub trait Extractor: Send + Sync + 'static {
    /// The most bytes that a document of any format may have. A larger one is not even fetched.
    fn max_bytes(&self) -> usize;

    /// The most letters (Unicode scalar values) of text that are kept of one document.
    fn max_document_chars(&self) -> usize {
        Limits::default().max_document_chars
    }

    /// Says what the bytes are and opens them.
    ///
    /// # Errors
    /// Whatever makes the whole document unreadable.
    async fn open(&self, upload: Upload) -> Result<Box<dyn OpenDocument>, DocumentError>;
}

/// A document whose pages can be read, in any order and more than once. Dropping a call ends what it had begun.
#[async_trait]
pub trait OpenDocument: Send + Sync {
    /// What it is.
    fn format(&self) -> Format;
    /// Its title, if it says one.
    fn title(&self) -> Option<&str>;
    /// How many pages there are, at least one.
    fn page_count(&self) -> usize;
    /// What was read with a loss: of the document, not of its pages, which say so themselves.
    fn warnings(&self) -> &[Warning] {
        &[]
    }
    /// Reads a page; the first is 1. The inner error is of this page alone.
    ///
    /// # Errors
    /// When the document cannot be read any more, for a reason that is not in the page.
    async fn page(&self, number: usize) -> Result<Result<Page, PageError>, DocumentError>;
    /// Shows a page as a picture, with so many dots per inch where that can be chosen. The inner error is of this page
    /// alone.
    ///
    /// # Errors
    /// As [`OpenDocument::page`].
    async fn raster(&self, number: usize, dpi: u32) -> Result<Result<Raster, PageError>, DocumentError>;
}

/// Reads documents in this process, on threads that may block.
///
/// A document that makes a parser panic fails alone; one that makes it overflow its stack takes the process with it, and
/// its bounds on memory are those of the parsers. Who takes in documents of strangers reads them in a process of its own:
/// [`Isolated`](super::Isolated).
#[derive(Debug, Clone)]
pub struct InProcess {
    limits: Limits,
    /// More readers than cores only make each other late.
    places: Arc<Semaphore>,
}

impl InProcess {
    /// Reads so much of a document, and so many pages at once over all documents.
    pub fn new(limits: Limits, at_once: usize) -> Self {
        Self { limits, places: Arc::new(Semaphore::new(at_once.max(1))) }
    }

    /// Runs work that computes on a blocking thread, when there is a place for it. The place is held until the work is
    /// over, also when nobody waits for it any more.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, DocumentError> {
        let stopped = |why: &str| DocumentError::ReaderUnavailable { detail: why.to_owned() };
        // The semaphore is never closed.
        let place = self.places.clone().acquire_owned().await.map_err(|_| stopped("shutting down"))?;
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        // Panics of parsers are caught further down; what is left is a runtime that goes away.
        done.await.map_err(|_| stopped("the thread that reads was stopped"))
    }
}

impl Default for InProcess {
    /// Default limits, a page at once for each core.
    fn default() -> Self {
        Self::new(Limits::default(), std::thread::available_parallelism().map_or(2, usize::from))
    }
}

#[async_trait]
impl Extractor for InProcess {
    fn max_bytes(&self) -> usize {
        self.limits.max_bytes()
    }

    fn max_document_chars(&self) -> usize {
        self.limits.max_document_chars
    }

    async fn open(&self, upload: Upload) -> Result<Box<dyn OpenDocument>, DocumentError> {
        let limits = self.limits;
        let opened = self.blocking(move || {
            let Upload { bytes, content_type, file_name } = upload;
            Pages::open_as_sent(Vec::from(bytes), content_type.as_deref(), Some(&file_name), &limits)
        });
        let pages = Arc::new(opened.await??);
        Ok(Box::new(Open { reader: self.clone(), pages }))
    }
}

struct Open {
    reader: InProcess,
    pages: Arc<Pages>,
}

#[async_trait]
impl OpenDocument for Open {
    fn format(&self) -> Format {
        self.pages.format()
    }

    fn title(&self) -> Option<&str> {
        self.pages.title()
    }

    fn page_count(&self) -> usize {
        self.pages.page_count()
    }

    fn warnings(&self) -> &[Warning] {
        self.pages.warnings()
    }

    async fn page(&self, number: usize) -> Result<Result<Page, PageError>, DocumentError> {
        let pages = self.pages.clone();
        self.reader.blocking(move || pages.page(number)).await
    }

    async fn raster(&self, number: usize, dpi: u32) -> Result<Result<Raster, PageError>, DocumentError> {
        let pages = self.pages.clone();
        self.reader.blocking(move || pages.raster(number, dpi)).await
    }
}
