//! A document opened once and read page by page.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{DocumentError, PageError};
use crate::format::{Format, sniff};
use crate::limits::Limits;
use crate::page::{Document, Page, Warning};
use crate::raster::Raster;
use crate::{charset, docx, html, images, markdown, pdf, plain};

/// An open document.
///
/// Pages can be read in any order and any number of times; each reading gives the same text. A process that comes back
/// after a crash opens the document again and goes on with the page that is missing.
#[derive(Debug)]
pub struct Pages {
    format: Format,
    title: Option<String>,
    warnings: Vec<Warning>,
    limits: Limits,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Pdf(Box<pdf::Pdf>),
    Images(images::Images),
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
        Self::open_declared(bytes, format, None, limits)
    }

    /// Says what a document is ([`sniff`](crate::sniff)) and opens it. Of a text, the encoding that `content_type` declares
    /// (`text/plain; charset=shift_jis`) is taken where its bytes do not speak against it.
    ///
    /// # Errors
    ///
    /// As [`Pages::open`], and that the bytes are nothing that can be read.
    pub fn open_as_sent(
        bytes: Vec<u8>,
        content_type: Option<&str>,
        file_name: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, DocumentError> {
        let format = sniff(&bytes, content_type, file_name)?;
        Self::open_declared(bytes, format, content_type.and_then(charset::of_content_type), limits)
    }

    fn open_declared(
        bytes: Vec<u8>,
        format: Format,
        declared: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, DocumentError> {
        let max = match format {
            Format::Pdf => limits.max_pdf_bytes,
            Format::Html | Format::Markdown | Format::Text => limits.max_text_bytes,
            Format::Docx => limits.max_docx_bytes,
            Format::Png | Format::Jpeg | Format::Tiff | Format::WebP => limits.max_image_bytes,
        };
        if bytes.len() > max {
            return Err(DocumentError::TooLarge { max });
        }
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_unguarded(bytes, format, declared, limits)));
        let pages = opened.unwrap_or(Err(DocumentError::ParserFailed))?;
        match pages.page_count() {
            0 => Err(DocumentError::NoPages),
            count if count > limits.max_pages => {
                Err(DocumentError::TooManyPages { pages: count, max: limits.max_pages })
            }
            _ => Ok(pages),
        }
    }

    fn open_unguarded(
        bytes: Vec<u8>,
        format: Format,
        declared: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, DocumentError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(DocumentError::Empty);
        }
        let single = |(page, title, warnings)| (title, warnings, Body::Read(vec![page]));
        let (title, warnings, body) = match format {
            Format::Pdf => {
                let pdf = pdf::Pdf::open(Arc::new(bytes), limits)?;
                (pdf.title(), Vec::new(), Body::Pdf(Box::new(pdf)))
            }
            Format::Png | Format::Jpeg | Format::Tiff | Format::WebP => {
                (None, Vec::new(), Body::Images(images::Images::open(bytes, format, limits)?))
            }
            Format::Docx => single(docx::read(&bytes, limits)?),
            Format::Html => single(html::read(&bytes, declared)),
            Format::Markdown => single(markdown::read(&bytes, declared)),
            Format::Text => {
                let (pages, warnings) = plain::read(&bytes, declared);
                (None, warnings, Body::Read(pages))
            }
        };
        Ok(Self { format, title, warnings, limits: *limits, body })
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
            Body::Images(images) => images.page_count(),
            Body::Read(pages) => pages.len(),
        }
    }

    /// Reads one page; the first is 1.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with this page; other pages are not touched by it.
    pub fn page(&self, number: usize) -> Result<Page, PageError> {
        let index = self.index(number)?;
        match &self.body {
            Body::Read(pages) => Ok(pages[index].clone()),
            Body::Images(images) => Ok(images.page(index)),
            // Reading changes nothing in the open document, so that a panic leaves nothing half done.
            Body::Pdf(pdf) => catch_unwind(AssertUnwindSafe(|| pdf.page(index)))
                .unwrap_or(Err(PageError::ParserFailed { page: number })),
        }
    }

    /// Shows one page as a picture; the first is 1. A page of a PDF is drawn with so many dots per inch, or with fewer if
    /// there would be too many ([`Limits::max_pixels`]); 300 is what OCR programs are made for. An image comes as it is.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with this page, and that its format has nothing to look at.
    pub fn raster(&self, number: usize, dpi: u32) -> Result<Raster, PageError> {
        let index = self.index(number)?;
        let drawn = catch_unwind(AssertUnwindSafe(|| match &self.body {
            Body::Read(_) => Err(PageError::NoPicture { page: number, format: self.format }),
            Body::Images(images) => images.raster(index, &self.limits),
            Body::Pdf(pdf) => pdf.raster(index, dpi),
        }));
        drawn.unwrap_or(Err(PageError::ParserFailed { page: number }))
    }

    fn index(&self, number: usize) -> Result<usize, PageError> {
        let count = self.page_count();
        let index = number.checked_sub(1).filter(|&index| index < count);
        index.ok_or(PageError::OutOfRange { page: number, count })
    }
}

/// Reads a whole document. Pages that fail are listed, and fail alone; those beyond [`Limits::max_document_chars`] are not
/// kept.
pub fn extract(bytes: Vec<u8>, format: Format, limits: &Limits) -> Result<Document, DocumentError> {
    let open = Pages::open(bytes, format, limits)?;
    let (mut pages, mut failures, mut warnings) = (Vec::new(), Vec::new(), open.warnings.clone());
    let mut room = Some(limits.max_document_chars);
    for number in 1..=open.page_count() {
        let page = match room {
            Some(_) => open.page(number),
            None => Err(PageError::LeftOut { page: number, max: limits.max_document_chars }),
        };
        match page {
            Ok(page) => {
                room = room.and_then(|room| room.checked_sub(page.text.chars().count()));
                if room.is_none() {
                    failures.push(PageError::LeftOut { page: number, max: limits.max_document_chars });
                    continue;
                }
                warnings.extend(page.warnings.iter().cloned());
                pages.push(page);
            }
            Err(error) => failures.push(error),
        }
    }
    Ok(Document { format, title: open.title, pages, failures, warnings })
}
