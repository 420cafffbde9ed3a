//! How much of a document is read. Every bound of this crate that a user may want to move stands here.

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::error::DocumentError;

/// Bounds on one document. What exceeds them is an error, never a silent cut, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a PDF. Default 256 MiB: it is held in memory, about twice, while it is open.
    pub max_pdf_bytes: usize,
    /// Bytes of HTML, Markdown and text. Default 32 MiB: a thousand novels' chapters, and no log archive.
    pub max_text_bytes: usize,
    /// Bytes of an image. Default 64 MiB: an A3 page at 600 dpi in colour takes 50 when it is well packed.
    pub max_image_bytes: usize,
    /// Bytes of a DOCX file as it is sent; each of its parts may unpack to `max_text_bytes`. Default 64 MiB: most of it is
    /// pictures, which are not unpacked.
    pub max_docx_bytes: usize,
    /// Pages. Default 5,000.
    pub max_pages: usize,
    /// Bytes that one page, or any single stream that it needs, may unpack to. Default 32 MiB: a page of dense vector
    /// drawing takes some; a bomb takes gigabytes.
    pub max_page_bytes: usize,
    /// Unicode scalar values of text on one page of a PDF. Default 1,000,000, two hundred times a dense page.
    pub max_page_chars: usize,
    /// Unicode scalar values of text that are kept of one document. Default 33,554,432: as much as the largest text file
    /// has, and ten thousand printed pages. Each page may be within its own bound and all of them together far beyond:
    /// pages can share what is drawn on them, so a small file can say the same thing five thousand times. The page that
    /// goes beyond it is left out ([`PageError::LeftOut`](crate::PageError::LeftOut)), and so are those after it.
    ///
    /// [`Pages::page`](crate::Pages::page) reads one page and knows of no other: whoever keeps them counts.
    /// [`extract`](crate::extract) does.
    pub max_document_chars: usize,
    /// Pixels of an image, and of a page that is drawn for OCR; a page that would have more is drawn more coarsely.
    /// Default 100,000,000: A3 at 600 dpi is 70 million.
    pub max_pixels: usize,
}

impl Limits {
    /// The most bytes that a document of any format may have.
    pub fn max_bytes(&self) -> usize {
        self.max_pdf_bytes.max(self.max_text_bytes).max(self.max_image_bytes).max(self.max_docx_bytes)
    }
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            max_pdf_bytes: 256 * MIB,
            max_text_bytes: 32 * MIB,
            max_image_bytes: 64 * MIB,
            max_docx_bytes: 64 * MIB,
            max_pages: 5_000,
            max_page_bytes: 32 * MIB,
            max_page_chars: 1_000_000,
            max_document_chars: 32 * MIB,
            max_pixels: 100_000_000,
        }
    }
}

/// Reads at most `max` bytes; more is [`DocumentError::TooLarge`].
pub fn read_bounded(reader: impl Read, max: usize) -> Result<Vec<u8>, DocumentError> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(bound).read_to_end(&mut bytes).map_err(|error| DocumentError::Read { detail: error.to_string() })?;
    if bytes.len() > max { Err(DocumentError::TooLarge { max }) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_read_to_the_bound_and_no_further() {
        assert_eq!(read_bounded(&b"four"[..], 4).unwrap(), b"four");
        assert_eq!(read_bounded(std::io::repeat(0), 1_000).unwrap_err(), DocumentError::TooLarge { max: 1_000 });
    }
}
