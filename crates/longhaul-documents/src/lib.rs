//! Text out of documents: PDF, DOCX, HTML, Markdown and plain text, and its chunks; pages and images as pictures for OCR.
//!
//! The way of a document: [`sniff`] says what the bytes are, [`Pages::open`] reads its structure once, [`Pages::page`]
//! gives the text of one page, [`chunk`] cuts pages into pieces for embedding. A caller that wants to remember how far it
//! came does so between pages; a page that fails does so alone. A page that is a picture of text says so, and
//! [`Pages::raster`] shows it to a program that can read it.
//!
//! Documents come from strangers. Nothing here trusts one: sizes, counts and depths are bounded by [`Limits`], a parser
//! that panics is caught, and a file name is a hint about the format and never a path. Nothing here opens a file, reads a
//! clock or starts a thread, and the same bytes give the same text. Reading is synchronous work for a blocking thread.
//!
//! A bound is as good as the parser that keeps it. [`isolated`] is for those who want more: the same reading in a process
//! of its own, which the operating system holds to its share of memory and time and to no files and no network.
//!
//! ```
//! use longhaul_documents::{ChunkOptions, Limits, Pages, chunk, sniff};
//!
//! let bytes = b"# Tides\n\nThe tide turns twice a day.".to_vec();
//! let format = sniff(&bytes, None, Some("tides.md"))?;
//! let pages = Pages::open(bytes, format, &Limits::default())?;
//! let page = pages.page(1)?;
//! let chunks = chunk([&page], &ChunkOptions::default())?;
//! assert_eq!(chunks[0].section.as_deref(), Some("Tides"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod charset;
mod chunk;
mod docx;
mod error;
mod format;
mod html;
mod images;
pub mod isolated;
mod limits;
mod markdown;
mod normalise;
mod page;
mod pages;
mod pdf;
mod plain;
mod raster;
mod tokens;

pub use chunk::{Chunk, ChunkOptions, InvalidChunkOptions, chunk, chunk_at_most, chunk_unless};
pub use error::{DocumentError, PageError};
pub use format::{Format, sniff};
pub use limits::{Limits, read_bounded};
pub use normalise::read_in_picture;
pub use page::{Document, Heading, Page, Warning};
pub use pages::{Pages, extract};
pub use raster::Raster;
pub use tokens::{TOKEN_ESTIMATE, estimate_tokens};
