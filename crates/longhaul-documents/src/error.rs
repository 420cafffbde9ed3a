//! How documents fail. Every error has a stable code for machines and a sentence for the person who sent the document.
//!
//! Errors are data: they cross from the process that reads a document to the one that asked for it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::format::Format;

/// Why a document cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum DocumentError {
    /// There are no bytes, or nothing but white space.
    #[error("the document is empty")]
    Empty,
    /// The document is of a known kind that is not read.
    #[error("this is {what}: {why}")]
    UnsupportedFormat {
        /// What it is, with its article.
        what: Cow<'static, str>,
        /// Why it is not read, or what to send instead.
        why: Cow<'static, str>,
    },
    /// The bytes are no text and of no known kind.
    #[error(
        "this is not a document that can be read: it is neither PDF, DOCX, HTML, Markdown nor plain text, nor an image (PNG, JPEG, TIFF, WebP)"
    )]
    UnknownFormat,
    /// The content type or the file name promised a format that the bytes are not.
    #[error("this was sent as {declared}, but it is not: {found}")]
    FormatMismatch {
        /// The promised format.
        declared: Cow<'static, str>,
        /// What is there instead.
        found: Cow<'static, str>,
    },
    /// The document is above the limit of bytes.
    #[error("the document has more than {max} bytes, the most that is read of this format")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// The document is above the limit of pages.
    #[error("the document has {pages} pages; at most {max} are read")]
    TooManyPages {
        /// How many it has.
        pages: usize,
        /// The limit.
        max: usize,
    },
    /// A password is needed to open it.
    #[error("this PDF is protected by a password; remove the protection and send it again")]
    PasswordProtected,
    /// It is encrypted in a way that is not known here.
    #[error("this PDF is encrypted in a way that cannot be read ({detail})")]
    UnsupportedEncryption {
        /// What the parser says.
        detail: String,
    },
    /// Its structure cannot be read: cut off, damaged, or never a PDF.
    #[error("this {format} is damaged or cut off and cannot be opened ({detail})")]
    Broken {
        /// What it was taken for.
        format: Format,
        /// What the parser says.
        detail: String,
    },
    /// It can be opened and has no page.
    #[error("this PDF has no pages")]
    NoPages,
    /// The parser panicked or crashed. The document is at least unusual, and the parser has a fault.
    #[error("the parser failed on this document")]
    ParserFailed,
    /// Opening it took more memory than a parser may have.
    #[error("opening this document takes more memory than the {max_mib} MiB that reading it may take")]
    OutOfMemory {
        /// The limit, in MiB.
        max_mib: u64,
    },
    /// Opening it took longer than a parser may take.
    #[error("opening this document takes longer than the {max_s} s that it may take")]
    OutOfTime {
        /// The limit, in seconds.
        max_s: u64,
    },
    /// The process that reads documents could not be started or spoken to.
    #[error("the process that reads documents could not be used: {detail}")]
    ReaderUnavailable {
        /// What the system says.
        detail: String,
    },
    /// The bytes could not be read from where they come from.
    #[error("the document could not be read: {detail}")]
    Read {
        /// What the system says.
        detail: String,
    },
}

impl DocumentError {
    /// A stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "document_empty",
            Self::UnsupportedFormat { .. } => "document_format_unsupported",
            Self::UnknownFormat => "document_format_unknown",
            Self::FormatMismatch { .. } => "document_format_mismatch",
            Self::TooLarge { .. } => "document_too_large",
            Self::TooManyPages { .. } => "document_too_many_pages",
            Self::PasswordProtected => "document_password_protected",
            Self::UnsupportedEncryption { .. } => "document_encryption_unsupported",
            Self::Broken { .. } => "document_broken",
            Self::NoPages => "document_no_pages",
            Self::ParserFailed => "document_parser_failed",
            Self::OutOfMemory { .. } => "document_memory_exceeded",
            Self::OutOfTime { .. } => "document_time_exceeded",
            Self::ReaderUnavailable { .. } => "document_reader_unavailable",
            Self::Read { .. } => "document_read_failed",
        }
    }

    /// True if reading the same bytes again may succeed. Only where they come from, and who reads them, can fail by
    /// accident.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::ReaderUnavailable { .. })
    }
}

/// Why one page cannot be read. Other pages of the document are not touched by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum PageError {
    /// The document has no page of this number.
    #[error("there is no page {page}; the document has {count}")]
    OutOfRange {
        /// What was asked for.
        page: usize,
        /// How many there are.
        count: usize,
    },
    /// The page, or what it needs, is damaged.
    #[error("page {page} is damaged ({detail})")]
    Broken {
        /// Which page.
        page: usize,
        /// What the parser says.
        detail: String,
    },
    /// The page unpacks to more than [`Limits::max_page_bytes`](crate::Limits::max_page_bytes), or has more operations
    /// or text than a page may have.
    #[error("page {page} has more {what} than a page may have ({max})")]
    TooLarge {
        /// Which page.
        page: usize,
        /// What there is too much of.
        what: Cow<'static, str>,
        /// The limit.
        max: usize,
    },
    /// The parser panicked or crashed on this page.
    #[error("the parser failed on page {page}")]
    ParserFailed {
        /// Which page.
        page: usize,
    },
    /// The page took more memory than a parser may have.
    #[error("page {page} takes more memory than the {max_mib} MiB that reading it may take")]
    OutOfMemory {
        /// Which page.
        page: usize,
        /// The limit, in MiB.
        max_mib: u64,
    },
    /// The page took longer than a parser may take.
    #[error("page {page} takes longer than the {max_s} s that it may take")]
    OutOfTime {
        /// Which page.
        page: usize,
        /// The limit, in seconds.
        max_s: u64,
    },
    /// The page cannot be shown as a picture: its format has none.
    #[error("page {page} cannot be shown as a picture: {format} has no pages to look at")]
    NoPicture {
        /// Which page.
        page: usize,
        /// The document's format.
        format: Format,
    },
    /// With this page, or one before it, the document would have more text than is kept of one
    /// ([`Limits::max_document_chars`](crate::Limits::max_document_chars)).
    #[error("page {page} was left out: no more than {max} letters of text are kept of one document")]
    LeftOut {
        /// Which page.
        page: usize,
        /// The limit.
        max: usize,
    },
    /// So many pages of the document killed the parser that the rest is left.
    #[error("page {page} was not read: {failures} pages before it made the parser crash or run out of memory or time")]
    GivenUp {
        /// Which page.
        page: usize,
        /// How many pages did so.
        failures: usize,
    },
}

impl PageError {
    /// A stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "page_out_of_range",
            Self::Broken { .. } => "page_broken",
            Self::TooLarge { .. } => "page_too_large",
            Self::ParserFailed { .. } => "page_parser_failed",
            Self::OutOfMemory { .. } => "page_memory_exceeded",
            Self::OutOfTime { .. } => "page_time_exceeded",
            Self::NoPicture { .. } => "page_no_picture",
            Self::LeftOut { .. } => "page_left_out",
            Self::GivenUp { .. } => "page_given_up",
        }
    }
}
