//! The port to what reads documents.

use longhaul_documents::{DocumentError, Format, Limits, Page, PageError, Pages, sniff};

/// Opens documents. Blocks: it is called on a thread that may.
pub trait Extractor: Send + Sync + 'static {
    /// The most bytes that a document of any format may have. A larger one is not even fetched.
    fn max_bytes(&self) -> usize;

    /// Says what the bytes are and opens them. Content type and file name are what the sender said: hints.
    ///
    /// # Errors
    /// Whatever makes the whole document unreadable.
    fn open(
        &self,
        bytes: Vec<u8>,
        content_type: Option<&str>,
        file_name: &str,
    ) -> Result<Box<dyn OpenDocument>, DocumentError>;
}

/// A document whose pages can be read, in any order and more than once.
pub trait OpenDocument: Send + Sync {
    /// What it is.
    fn format(&self) -> Format;
    /// Its title, if it says one.
    fn title(&self) -> Option<&str>;
    /// How many pages there are, at least one.
    fn page_count(&self) -> usize;
    /// Reads a page; the first is 1. Blocks.
    ///
    /// # Errors
    /// Whatever is wrong with this page alone.
    fn page(&self, number: usize) -> Result<Page, PageError>;
}

/// Reads the text that is written in a document, and no pictures.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextLayer {
    /// How much of a document is read.
    pub limits: Limits,
}

impl Extractor for TextLayer {
    fn max_bytes(&self) -> usize {
        self.limits.max_pdf_bytes.max(self.limits.max_text_bytes)
    }

    fn open(
        &self,
        bytes: Vec<u8>,
        content_type: Option<&str>,
        file_name: &str,
    ) -> Result<Box<dyn OpenDocument>, DocumentError> {
        let format = sniff(&bytes, content_type, Some(file_name))?;
        Ok(Box::new(Pages::open(bytes, format, &self.limits)?))
    }
}

impl OpenDocument for Pages {
    fn format(&self) -> Format {
        Pages::format(self)
    }

    fn title(&self) -> Option<&str> {
        Pages::title(self)
    }

    fn page_count(&self) -> usize {
        Pages::page_count(self)
    }

    fn page(&self, number: usize) -> Result<Page, PageError> {
        Pages::page(self, number)
    }
}
