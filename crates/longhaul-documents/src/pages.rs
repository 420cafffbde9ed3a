//! A document opened once and read page by page.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{DocumentError, PageError};
use crate::format::Format;
use crate::limits::Limits;
use crate::page::{Document, Page, Warning};
use crate::{html, markdown, pdf, plain};

/// An open document.
///
/// Pages can be read in any order and any number of times; each reading gives the same text. A process that comes back
/// after a crash opens the document again and goes on with the page that is missing.
#[derive(Debug)]
pub struct Pages {
    format: Format,
    title: Option<String>,
    warnings: Vec<Warning>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Pdf(Box<pdf::Pdf>),
    /// Formats without pages of their own are read when they are opened.
    Read(Vec<Page>),
}

impl Pages {
    /// Reads the structure of a document; of a PDF no page yet.
    ///
    /// # Errors
    ///
    /// Whatever makes the whole document unreadable: too large, protected, damaged, or without a page.
    pub fn open(bytes: Vec<u8>, format: Format, limits: &Limits) -> Result<Self, DocumentError> {
        let max = match format {
            Format::Pdf => limits.max_pdf_bytes,
            Format::Html | Format::Markdown | Format::Text => limits.max_text_bytes,
        };
        if bytes.len() > max {
            return Err(DocumentError::TooLarge { max });
        }
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_unguarded(&bytes, format, limits)));
        let pages = opened.unwrap_or(Err(DocumentError::ParserFailed))?;
        match pages.page_count() {
            0 => Err(DocumentError::NoPages),
            count if count > limits.max_pages => {
                Err(DocumentError::TooManyPages { pages: count, max: limits.max_pages })
            }
            _ => Ok(pages),
        }
    }

    fn open_unguarded(bytes: &[u8], format: Format, limits: &Limits) -> Result<Self, DocumentError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(DocumentError::Empty);
        }
        let single = |(page, title, warnings)| (title, warnings, Body::Read(vec![page]));
        let (title, warnings, body) = match format {
            Format::Pdf => {
                let pdf = pdf::Pdf::open(bytes, limits)?;
                (pdf.title(), Vec::new(), Body::Pdf(Box::new(pdf)))
            }
            Format::Html => single(html::read(bytes)),
            Format::Markdown => single(markdown::read(bytes)),
            Format::Text => {
                let (pages, warnings) = plain::read(bytes);
                (None, warnings, Body::Read(pages))
            }
        };
        Ok(Self { format, title, warnings, body })
    }

    /// What the document is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its title, if it says one.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// What was read with a loss so far: of the document, not of its pages.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How many pages there are, at least one.
    pub fn page_count(&self) -> usize {
        match &self.body {
            Body::Pdf(pdf) => pdf.page_count(),
            Body::Read(pages) => pages.len(),
        }
    }

    /// Reads one page; the first is 1.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with this page; other pages are not touched by it.
    pub fn page(&self, number: usize) -> Result<Page, PageError> {
        let count = self.page_count();
        let index = number.checked_sub(1).filter(|&index| index < count);
        let index = index.ok_or(PageError::OutOfRange { page: number, count })?;
        match &self.body {
            Body::Read(pages) => Ok(pages[index].clone()),
            // Reading changes nothing in the open document, so that a panic leaves nothing half done.
            Body::Pdf(pdf) => catch_unwind(AssertUnwindSafe(|| pdf.page(index)))
                .unwrap_or(Err(PageError::ParserFailed { page: number })),
        }
    }
}

/// Reads a whole document. Pages that fail are listed, and fail alone.
pub fn extract(bytes: Vec<u8>, format: Format, limits: &Limits) -> Result<Document, DocumentError> {
    let open = Pages::open(bytes, format, limits)?;
    let (mut pages, mut failures, mut warnings) = (Vec::new(), Vec::new(), open.warnings.clone());
    for number in 1..=open.page_count() {
        match open.page(number) {
            Ok(page) => {
                warnings.extend(page.warnings.iter().cloned());
                pages.push(page);
            }
            Err(error) => failures.push(error),
        }
    }
    Ok(Document { format, title: open.title, pages, failures, warnings })
}
