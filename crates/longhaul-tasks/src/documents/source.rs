//! The bytes of an upload, opened when they are needed and once per attempt.

use std::sync::Arc;

use longhaul_core::{DocumentId, JobError, Payload};
use longhaul_documents::{DocumentError, Page, PageError, Raster};
use longhaul_engine::{Failure, JobContext};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::{Extractor, OpenDocument, Upload};

/// What is read here, for those who sent something else.
const READABLE: &str = "PDF, HTML, DOCX, Markdown, plain text and images (PNG, JPEG, TIFF, WebP) are read";

/// A document that may be open.
pub(super) struct Source<'a> {
    job: &'a JobContext,
    id: DocumentId,
    extractor: &'a Arc<dyn Extractor>,
    places: &'a Arc<Semaphore>,
    open: OnceCell<Opened>,
}

struct Opened {
    document: Arc<dyn OpenDocument>,
    _place: OwnedSemaphorePermit,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        job: &'a JobContext,
        id: DocumentId,
        extractor: &'a Arc<dyn Extractor>,
        places: &'a Arc<Semaphore>,
    ) -> Self {
        Self { job, id, extractor, places, open: OnceCell::new() }
    }

    pub(super) async fn open(&self) -> Result<&Arc<dyn OpenDocument>, Failure> {
        let opened = self.open.get_or_try_init(|| self.opened()).await?;
        Ok(&opened.document)
    }

    async fn opened(&self) -> Result<Opened, Failure> {
        // Waited for before the bytes are read: whoever waits here takes no memory.
        let place = self.places.clone().acquire_owned().await.map_err(|_| Failure::Interrupted)?;
        let Some(document) = self.job.document(self.id).await? else {
            return Err(Failure::permanent("document_not_found", format!("there is no document {}", self.id)));
        };
        let max = self.extractor.max_bytes();
        if document.content.size > max as u64 {
            return Err(refusal(&DocumentError::TooLarge { max }));
        }
        let bytes = self.job.read(&Payload::Blob(document.content)).await?;
        let upload = Upload { bytes, content_type: document.content_type, file_name: document.file_name };
        let document = self.extractor.open(upload).await.map_err(|error| refusal(&error))?;
        Ok(Opened { document: document.into(), _place: place })
    }

    pub(super) async fn page(&self, number: usize) -> Result<Result<Page, PageError>, Failure> {
        self.open().await?.page(number).await.map_err(|error| refusal(&error))
    }

    pub(super) async fn raster(&self, number: usize, dpi: u32) -> Result<Result<Raster, PageError>, Failure> {
        self.open().await?.raster(number, dpi).await.map_err(|error| refusal(&error))
    }
}

/// The failure of a job whose document cannot be read at all.
fn refusal(error: &DocumentError) -> Failure {
    let code = match error {
        DocumentError::PasswordProtected | DocumentError::UnsupportedEncryption { .. } => "document_encrypted",
        other => other.code(),
    };
    let message = match error {
        DocumentError::UnsupportedFormat { .. } | DocumentError::UnknownFormat => format!("{error}; {READABLE}"),
        other => other.to_string(),
    };
    Failure::from(JobError { retryable: error.is_transient(), ..JobError::permanent(code, message) })
}
