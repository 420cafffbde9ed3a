//! PDF to text: structure by `lopdf`, letters and their order by this module.
//!
//! `lopdf` finds objects, undoes compression and encryption, and reads content streams. What the letters mean ([`font`],
//! [`cmap`]), where they stand ([`content`]) and how they form lines ([`layout`]) is done here, because the crate's own
//! text extraction knows no positions, so it neither joins the cells of a table row nor parts words that are parted only
//! by a gap, and because its reading of a font's letter table is unbounded.
//!
//! A page that is a picture of text has no text, and says so by [`Page::needs_ocr`](crate::Page::needs_ocr); [`draw`]
//! shows it as a picture.

mod cmap;
mod content;
mod draw;
mod font;
mod layout;
mod symbols;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use content::{Annotation, Rectangle};
use lopdf::{DecompressError, Dictionary, Document, Error, LoadOptions, Object, ObjectId};

use crate::error::{DocumentError, PageError};
use crate::format::Format;
use crate::html::one_line;
use crate::limits::Limits;
use crate::normalise::{normalise, tidy_lines};
use crate::page::{Page, Warning};
use crate::raster::Raster;

/// Parents that are asked for what a page inherits.
const MAX_TREE_DEPTH: usize = 64;
/// Letters of a parser's complaint that are passed on.
const MAX_DETAIL_CHARS: usize = 120;
/// The part of a page that pictures cover when it may be a scan.
const MOSTLY_PICTURE: f64 = 0.7;
/// Fewer letters than this are what was put on a scan rather than what was typed: numbers, a stamp, the head of a fax.
const FEW_LETTERS: usize = 150;
/// A PDF may have rubbish before its mark.
const MARK_WITHIN: usize = 1_024;

/// An open PDF.
pub(crate) struct Pdf {
    document: Document,
    pages: Vec<ObjectId>,
    limits: Limits,
    bytes: Arc<Vec<u8>>,
    /// The document once more, for who wants to see it; most are never looked at.
    drawing: OnceLock<Option<draw::Drawing>>,
}

impl fmt::Debug for Pdf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pdf").field("pages", &self.pages.len()).finish_non_exhaustive()
    }
}

impl Pdf {
    /// Reads the structure. An encrypted document is opened with the empty password, which is what viewers do.
    pub(crate) fn open(bytes: Arc<Vec<u8>>, limits: &Limits) -> Result<Self, DocumentError> {
        let head = &bytes[..bytes.len().min(MARK_WITHIN)];
        let mark = head.windows(5).position(|window| window == b"%PDF-");
        let Some(start) = mark else {
            return Err(DocumentError::Broken { format: Format::Pdf, detail: "it does not begin as a PDF".to_owned() });
        };
        let options = LoadOptions { max_decompressed_size: Some(limits.max_page_bytes), ..LoadOptions::default() };
        let document = match Document::load_mem_with_options(&bytes[start..], options) {
            Ok(document) => document,
            Err(error) => return Err(open_error(error)),
        };
        if document.is_encrypted() {
            return Err(DocumentError::PasswordProtected);
        }
        let pages = pages_of(&document);
        if pages.is_empty() && document.catalog().is_err() {
            return Err(DocumentError::Broken { format: Format::Pdf, detail: "it has no catalog of pages".to_owned() });
        }
        Ok(Self { document, pages, limits: *limits, bytes, drawing: OnceLock::new() })
    }

    pub(crate) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// The title of the information dictionary.
    pub(crate) fn title(&self) -> Option<String> {
        let info = self.document.trailer.get_deref(b"Info", &self.document).ok()?.as_dict().ok()?;
        let title = info.get_deref(b"Title", &self.document).ok()?;
        let words = normalise(&lopdf::decode_text_string(title).ok()?);
        let title = one_line(&words);
        (!title.is_empty()).then_some(title)
    }

    /// The text of a page by its index from 0, which the caller has checked.
    pub(crate) fn page(&self, index: usize) -> Result<Page, PageError> {
        let number = index + 1;
        let id = self.pages[index];
        let broken = |detail: String| PageError::Broken { page: number, detail };
        let dictionary = self.document.get_dictionary(id).map_err(|error| broken(detail(&error)))?;
        let max = self.limits.max_page_bytes;
        let stream = self.document.get_page_content_with_limit(id, max).map_err(|error| match error {
            Error::Decompress(DecompressError::MemoryLimitExceeded { .. }) => {
                PageError::TooLarge { page: number, what: "bytes of content".into(), max }
            }
            other => broken(detail(&other)),
        })?;
        let resources = inherited(&self.document, dictionary, b"Resources").and_then(|object| object.as_dict().ok());
        let paper = self.paper(dictionary);
        let annotations = Annotation::of_page(&self.document, dictionary);
        let drawn = content::read(&self.document, stream, resources, &annotations, paper, &self.limits)
            .map_err(|excess| PageError::TooLarge { page: number, what: excess.what.into(), max: excess.max })?;
        let text = tidy_lines(&normalise(&layout::text(&drawn.spans)));
        // One letter may stand for a whole phrase: dissolved, the text can be many times what was counted.
        let max = self.limits.max_page_chars;
        if text.chars().count() > max {
            return Err(PageError::TooLarge { page: number, what: "letters".into(), max });
        }
        let mut warnings = Vec::new();
        if drawn.damaged {
            let message = format!("page {number} is damaged; what stands after the damage is missing");
            warnings.push(Warning::new("page_damaged", message));
        }
        if drawn.unmapped > 0 {
            let message =
                format!("{} letters of page {number} have no meaning in the file and are missing", drawn.unmapped);
            warnings.push(Warning::new("unmapped_letters", message));
        }
        let read = text.chars().filter(|c| !c.is_whitespace()).count();
        let needs_ocr = (read == 0 && (drawn.pictures > 0 || drawn.unmapped > 0)) || drawn.unmapped > read;
        let covered = drawn.pictured >= paper.area() * MOSTLY_PICTURE;
        let mostly_picture = !needs_ocr && read < FEW_LETTERS && covered && paper.area() > 0.0;
        Ok(Page { number, text, headings: Vec::new(), needs_ocr, mostly_picture, warnings })
    }

    /// The part of a page that is seen.
    fn paper(&self, page: &Dictionary) -> Rectangle {
        let stated = |key| Rectangle::read(&self.document, inherited(&self.document, page, key)?);
        let whole = stated(b"MediaBox").unwrap_or(Rectangle::A4);
        stated(b"CropBox").map_or(whole, |seen| seen.within(whole))
    }

    /// A page as a picture, by its index from 0, which the caller has checked.
    pub(crate) fn raster(&self, index: usize, dpi: u32) -> Result<Raster, PageError> {
        let broken = |detail: &str| PageError::Broken { page: index + 1, detail: detail.to_owned() };
        let drawing = self.drawing.get_or_init(|| draw::Drawing::open(self.bytes.clone()));
        let drawing = drawing.as_ref().ok_or_else(|| broken("it cannot be drawn"))?;
        // Two parsers that disagree about what a page is must not be mixed.
        if drawing.page_count() != self.pages.len() {
            return Err(broken("the document is damaged, so that its pages cannot be drawn"));
        }
        drawing.page(index, dpi, &self.limits)
    }
}

/// The pages of the page tree, in order. Each inner node is visited once, so that a tree that bites its own tail ends; a
/// leaf that is missing keeps its place, so that the pages after it keep their numbers.
fn pages_of(document: &Document) -> Vec<ObjectId> {
    let root = document.catalog().and_then(|catalog| catalog.get(b"Pages")).and_then(Object::as_reference);
    let Ok(root) = root else { return Vec::new() };
    let mut pages = Vec::new();
    let mut visited = HashSet::new();
    let mut waiting = vec![root];
    while let Some(id) = waiting.pop() {
        let node = document.get_dictionary(id).ok();
        let kids = node.and_then(|node| node.get_deref(b"Kids", document).ok()?.as_array().ok());
        match kids {
            Some(kids) if visited.insert(id) => {
                waiting.extend(kids.iter().rev().filter_map(|kid| kid.as_reference().ok()));
            }
            Some(_) => {}
            None if id == root => {}
            None => pages.push(id),
        }
    }
    pages
}

/// What a page has of its own or from the nodes above it.
fn inherited<'a>(document: &'a Document, page: &'a Dictionary, key: &[u8]) -> Option<&'a Object> {
    let mut node = page;
    for _ in 0..MAX_TREE_DEPTH {
        if let Ok(found) = node.get_deref(key, document) {
            return Some(found);
        }
        node = node.get_deref(b"Parent", document).ok()?.as_dict().ok()?;
    }
    None
}

fn open_error(error: Error) -> DocumentError {
    match error {
        Error::InvalidPassword => DocumentError::PasswordProtected,
        Error::Decryption(lopdf::encryption::DecryptionError::IncorrectPassword) => DocumentError::PasswordProtected,
        Error::Decryption(_) | Error::UnsupportedSecurityHandler(_) => {
            DocumentError::UnsupportedEncryption { detail: detail(&error) }
        }
        other => DocumentError::Broken { format: Format::Pdf, detail: detail(&other) },
    }
}

/// What the parser says, short enough to be shown.
fn detail(error: &Error) -> String {
    error.to_string().chars().take(MAX_DETAIL_CHARS).collect()
}
