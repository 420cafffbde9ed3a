//! Messages between who wants a document read and the process that reads it.
//!
//! A message is a head of twelve bytes (length of the JSON as four, length of the bytes as eight, little endian), the JSON,
//! and bytes that JSON would be wasted on: a document, a picture. Both sides bound what they take: the reader may have been
//! taken over by the document.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Confined, Confinement};
use crate::error::{DocumentError, PageError};
use crate::format::Format;
use crate::limits::Limits;
use crate::page::{Page, Warning};

/// Bytes of a head.
pub const HEAD: usize = 12;

/// Bytes of the JSON of a message at most: a page of text has 32 MiB, and JSON may write a letter in six.
pub const MAX_JSON: usize = 256 << 20;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// The document, whose bytes come with it. Comes first, and once.
    Open {
        /// What the sender declared.
        content_type: Option<String>,
        /// What the sender called it.
        file_name: String,
        /// How much of it is read.
        limits: Limits,
        /// What the process may use.
        confinement: Confinement,
    },
    /// The text of a page; the first is 1.
    Page {
        /// Which.
        number: usize,
    },
    /// A page as a picture.
    Raster {
        /// Which.
        number: usize,
        /// How fine.
        dpi: u32,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The document is open.
    Opened {
        /// What it is.
        format: Format,
        /// Its title.
        title: Option<String>,
        /// How many pages it has.
        page_count: usize,
        /// What was read with a loss: of the document, not of its pages.
        #[serde(default)]
        warnings: Vec<Warning>,
        /// What the system granted of the confinement.
        confined: Confined,
    },
    /// The document cannot be read.
    Refused {
        /// Why.
        error: DocumentError,
    },
    /// A page.
    Page {
        /// The page.
        page: Page,
    },
    /// A page as a picture; its pixels come with it.
    Raster {
        /// Pixels of a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Dots per inch, where it is known.
        dpi: Option<u32>,
    },
    /// A page cannot be read or shown.
    PageRefused {
        /// Why.
        error: PageError,
    },
}

/// The head and the JSON of a message; its bytes, `more` of them, follow.
///
/// # Errors
/// When the message cannot be written as JSON.
pub fn head<T: Serialize>(message: &T, more: usize) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(message)?;
    let mut bytes = Vec::with_capacity(HEAD + json.len());
    bytes.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&(more as u64).to_le_bytes());
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// The lengths in a head: of the JSON and of the bytes behind it.
///
/// # Errors
/// When one is above its bound, in words.
pub fn lengths(head: &[u8; HEAD], max_bytes: usize) -> Result<(usize, usize), String> {
    let (json, bytes) = head.split_at(4);
    let json = json.iter().rev().fold(0_usize, |sum, &byte| (sum << 8) | usize::from(byte));
    let bytes = bytes.iter().rev().fold(0_u64, |sum, &byte| (sum << 8) | u64::from(byte));
    if json > MAX_JSON {
        return Err(format!("a message has {json} bytes of JSON; at most {MAX_JSON} are taken"));
    }
    match usize::try_from(bytes).ok().filter(|bytes| *bytes <= max_bytes) {
        Some(bytes) => Ok((json, bytes)),
        None => Err(format!("a message has {bytes} bytes; at most {max_bytes} are taken")),
    }
}

/// Reads a message's JSON.
///
/// # Errors
/// When it is none, or not of this message, in words.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| format!("a message is not understood: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let ask = Ask::Raster { number: 3, dpi: 300 };
        let bytes = head(&ask, 70_000).unwrap();
        let (json, more) = lengths(bytes[..HEAD].try_into().unwrap(), 70_000).unwrap();
        assert_eq!((HEAD + json, more), (bytes.len(), 70_000));
        assert_eq!(read::<Ask>(&bytes[HEAD..]), Ok(ask));
    }

    #[test]
    fn a_message_above_its_bounds_is_refused_before_it_is_read() {
        let bytes = head(&Ask::Page { number: 1 }, 11).unwrap();
        let refused = lengths(bytes[..HEAD].try_into().unwrap(), 10).unwrap_err();
        assert_eq!(refused, "a message has 11 bytes; at most 10 are taken");
        assert!(lengths(&[0xff; HEAD], usize::MAX).is_err());
    }

    #[test]
    fn errors_cross_as_data() {
        let errors = [
            DocumentError::FormatMismatch { declared: "a PDF".into(), found: "it is text".into() },
            DocumentError::Broken { format: Format::WebP, detail: "torn".into() },
            DocumentError::Empty,
        ];
        for error in errors {
            let json = serde_json::to_vec(&Answer::Refused { error: error.clone() }).unwrap();
            assert_eq!(read::<Answer>(&json), Ok(Answer::Refused { error }));
        }
        let error = PageError::TooLarge { page: 2, what: "letters".into(), max: 5 };
        let json = serde_json::to_vec(&Answer::PageRefused { error: error.clone() }).unwrap();
        assert_eq!(read::<Answer>(&json), Ok(Answer::PageRefused { error }));
    }
}
