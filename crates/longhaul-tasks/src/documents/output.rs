//! The output of `document.ingest`.

use longhaul_core::DocumentId;
use longhaul_documents::Warning;
use serde::{Deserialize, Serialize};

use super::parts::StoredChunk;
use crate::TaskError;

/// What came out of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IngestOutput {
    /// The document.
    pub document_id: DocumentId,
    /// Every page, in order, the failed ones too.
    pub pages: Vec<PageReport>,
    /// What was read with a loss: of the document as a whole; pages say so themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The pieces, in order.
    pub chunks: Vec<OutputChunk>,
    /// The vectors that were made, which are stored with the document; none when they were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<Embedded>,
    /// A shorter text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Why there is no shorter text, when one was asked for and could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary_error: Option<TaskError>,
    /// Where the time went.
    pub timings_ms: Timings,
}

/// How a page fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageReport {
    /// From 1.
    pub page: usize,
    /// How many characters (Unicode scalar values) of text it has.
    pub chars: usize,
    /// Where its text is from.
    pub source: PageSource,
    /// Why it could not be read, when it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// What of it was read with a loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// Where the text of a page is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageSource {
    /// It is written in the document as text.
    Text,
    /// It was read from a picture.
    Ocr,
}

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputChunk {
    /// The document and the place of the piece in it, from 0.
    pub chunk_id: String,
    /// The page that it is from.
    pub page: usize,
    /// Its words.
    pub text: String,
    /// About how many tokens it is.
    pub tokens: usize,
}

/// Which vectors were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedded {
    /// What made them.
    pub model: String,
    /// The length of each.
    pub dimensions: usize,
    /// How many: one for each piece.
    pub count: usize,
}

/// Milliseconds of work, over all attempts; `total` is the last attempt from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Opening the document.
    pub extract: u64,
    /// Reading its pages, one after the other; they are read some at a time.
    pub pages: u64,
    /// Cutting it.
    pub chunk: u64,
    /// Making vectors, batch after batch; they are made some at a time.
    pub embed: u64,
    /// Making the summary.
    pub summary: u64,
    /// The last attempt.
    pub total: u64,
}

impl From<StoredChunk> for OutputChunk {
    fn from(stored: StoredChunk) -> Self {
        let StoredChunk { chunk_id, chunk } = stored;
        Self { chunk_id, page: chunk.page, text: chunk.text, tokens: chunk.tokens }
    }
}
