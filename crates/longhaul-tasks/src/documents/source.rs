//! The bytes of an upload, opened when they are needed and once per attempt.

use std::sync::Arc;

use longhaul_core::{DocumentId, JobError, Payload};
use longhaul_documents::{DocumentError, Page, PageError};
use longhaul_engine::{Failure, JobContext};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::{Extractor, OpenDocument};
use crate::calls::Calls;

/// What is read here, for those who sent something else.
const READABLE: &str = "PDF, HTML, Markdown and plain text are read";

/// A document that may be open.
pub(super) struct Source<'a> {
    job: &'a JobContext,
    id: DocumentId,
    extractor: &'a Arc<dyn Extractor>,
    calls: &'a Calls,
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
        calls: &'a Calls,
        places: &'a Arc<Semaphore>,
    ) -> Self {
        Self { job, id, extractor, calls, places, open: OnceCell::new() }
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
        let extractor = self.extractor.clone();
        let opened = self
            .calls
            .blocking(move || extractor.open(Vec::from(bytes), document.content_type.as_deref(), &document.file_name));
        let document = opened.await?.map_err(|error| refusal(&error))?;
        Ok(Opened { document: document.into(), _place: place })
    }

    pub(super) async fn page(&self, number: usize) -> Result<Result<Page, PageError>, Failure> {
        let document = self.open().await?.clone();
        Ok(self.calls.blocking(move || document.page(number)).await?)
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
