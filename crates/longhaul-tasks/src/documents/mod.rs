//! `document.ingest`: from the bytes of an upload to text, pieces, vectors and a summary; and the search over them.
//!
//! The steps of a job are `extract` (what it is, how many pages), `page:<n>`, `chunk`, `embed:<batch>` and `summary` (of a long text `summary:<level>:<part>` before it). A
//! step that is done is not done again on a later attempt; a document is opened again only when a page is missing. What
//! comes out is stored beside the document as [`parts`], each as soon as it is complete, so that the text can be used
//! while vectors are still being made.
//!
//! Calls to configured models are the job's: its tenant, its deadline, its history, its cost. A provider that says when to
//! come again puts the job aside until then.
//!
//! A page that cannot be read is an entry with an `error`; the job fails only when no page can be read or nothing is
//! written on any. Two ports stand between a job and the world: an [`Extractor`] opens documents, in this process
//! ([`InProcess`]) or each in a confined process of its own ([`Isolated`]); an [`Ocr`] reads the text of pages that are
//! pictures ([`Tesseract`]).

mod extractor;
mod ingest;
mod input;
mod isolated;
mod lookup;
mod ocr;
mod output;
pub mod parts;
mod room;
mod run;
mod schema;
mod search;
mod source;
mod summary;
mod tesseract;
mod together;
mod vectors;

pub use extractor::{Extractor, InProcess, OpenDocument, Upload};
pub use ingest::Ingest;
pub use input::{IngestInput, OcrMode};
pub use isolated::{Isolated, IsolatedOptions, MAX_DEATHS};
pub use ocr::{NoOcr, Ocr, OcrError};
pub use output::{Embedded, IngestOutput, OutputChunk, PageReport, PageSource, Timings};
pub use parts::{DocumentChunks, DocumentText, DocumentVectors, Fingerprint};
pub use search::{Place, RankedBy, SearchError, SearchHit, SearchOutput, rank};
pub use tesseract::{Tesseract, TesseractOptions};
