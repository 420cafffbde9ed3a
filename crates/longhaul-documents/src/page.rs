//! What comes out of a document: plain data.

use serde::{Deserialize, Serialize};

use crate::error::PageError;
use crate::format::Format;

/// The text of one page. HTML and Markdown have one page; text has one for each form feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// From 1.
    pub number: usize,
    /// Lines end with `\n`, paragraphs with an empty line, cells of a table row are parted by a tab.
    pub text: String,
    /// The headings that are marked as such, in order. A PDF has none: there a heading is only larger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headings: Vec<Heading>,
    /// There is something to see on the page and no text to read: a scan, or letters without a meaning.
    #[serde(default)]
    pub needs_ocr: bool,
    /// Pictures cover most of the page and there are few letters: a scan that was given a number, perhaps, or a title on a
    /// photograph. What is written in the pictures is not in `text`.
    #[serde(default)]
    pub mostly_picture: bool,
    /// What was read with a loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// A heading, and where what it heads begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// Where it stands, in bytes of the page's text.
    pub at: usize,
    /// From 1, the highest.
    pub level: u8,
    /// Its words, on one line.
    pub text: String,
}

/// Something that was read with a loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable name.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Warning {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// A document read as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub format: Format,
    /// Its title, if it says one.
    pub title: Option<String>,
    /// The pages that could be read, in order.
    pub pages: Vec<Page>,
    /// The pages that could not.
    pub failures: Vec<PageError>,
    /// What was read with a loss, the document's and every page's.
    pub warnings: Vec<Warning>,
}
