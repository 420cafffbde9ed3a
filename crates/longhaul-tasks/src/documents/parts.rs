//! What is stored beside a document once it has been taken in: three parts, each a JSON text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use longhaul_core::DocumentId;
use longhaul_documents::{Chunk, Format, Heading, Page};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The part `text`: what is written on the pages that could be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentText {
    /// What it is.
    pub format: Format,
    /// Its title, if it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How many pages it has, those included that could not be read.
    pub page_count: usize,
    /// The pages that could be read, in order.
    pub pages: Vec<PageText>,
}

/// The text of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageText {
    /// From 1.
    pub page: usize,
    /// What is written on it.
    pub text: String,
    /// Headings that are marked as such.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headings: Vec<Heading>,
}

impl From<Page> for PageText {
    fn from(page: Page) -> Self {
        Self { page: page.number, text: page.text, headings: page.headings }
    }
}

impl From<PageText> for Page {
    fn from(PageText { page, text, headings }: PageText) -> Self {
        Self { number: page, text, headings, ..Self::default() }
    }
}

impl DocumentText {
    /// The name of the part.
    pub const PART: &'static str = "text";

    /// Reads a stored part.
    pub fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The text as a whole: pages with something on them, parted by an empty line.
    pub fn joined(&self) -> String {
        let pages = self.pages.iter().map(|page| page.text.trim()).filter(|text| !text.is_empty());
        pages.collect::<Vec<_>>().join("\n\n")
    }
}

/// The part `chunks`: the pieces, as a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DocumentChunks {
    /// The pieces, in order.
    pub chunks: Vec<StoredChunk>,
}

/// A piece, with where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChunk {
    /// The document and the place of the piece in it, from 0.
    pub chunk_id: String,
    /// Place, page, words, section.
    #[serde(flatten)]
    pub chunk: Chunk,
}

impl DocumentChunks {
    /// The name of the part.
    pub const PART: &'static str = "chunks";

    pub(super) fn of(document_id: DocumentId, chunks: Vec<Chunk>) -> Self {
        let stored = |chunk: Chunk| StoredChunk { chunk_id: format!("{document_id}:{}", chunk.index), chunk };
        Self { chunks: chunks.into_iter().map(stored).collect() }
    }

    /// Reads a stored part.
    pub fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

/// What tells the pieces of one cut from those of any other: the SHA-256 of their part as it is stored, in hexadecimal
/// digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of the part `chunks`, by its bytes.
    pub fn of(json: &[u8]) -> Self {
        Self(Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The part `vectors`: one for each piece, in their order.
///
/// It is stored after the part `chunks`, by another write, and a document can be taken in again with other options. So it
/// says of which pieces it is: vectors are used with those pieces or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentVectors {
    /// The model that was asked, by its name in the configuration: a query has to be asked of the same.
    pub asked: String,
    /// What made the vectors. Only vectors of the same maker can be compared.
    pub model: String,
    /// The length of each.
    pub dimensions: usize,
    /// The pieces that they are of; none: nobody knows, and they are not used.
    #[serde(default)]
    pub of_chunks: Option<Fingerprint>,
    /// The numbers.
    pub vectors: Packed,
}

impl DocumentVectors {
    /// The name of the part.
    pub const PART: &'static str = "vectors";

    /// Reads a stored part. None: there were vectors once, and a later job was to make none.
    pub fn read(json: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

/// Vectors of one length as a JSON string: Base64 of their numbers, each a little-endian `f32`. Half the size of
/// decimal digits, and no digit is lost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Packed(pub Vec<f32>);

impl Packed {
    /// Packs vectors one after the other.
    pub fn of(vectors: &[Vec<f32>]) -> Self {
        Self(vectors.concat())
    }

    /// The vectors again.
    pub fn each(&self, dimensions: usize) -> impl Iterator<Item = &[f32]> {
        self.0.chunks_exact(dimensions.max(1))
    }
}

impl From<Packed> for String {
    fn from(packed: Packed) -> Self {
        let bytes: Vec<u8> = packed.0.iter().flat_map(|number| number.to_le_bytes()).collect();
        STANDARD.encode(bytes)
    }
}

impl TryFrom<String> for Packed {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes = STANDARD.decode(text).map_err(|error| format!("the vectors are no Base64: {error}"))?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err("the vectors end in the middle of a number".to_owned());
        }
        Ok(Self(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_vectors_lose_no_digit() {
        let vectors = vec![vec![0.1_f32, -0.0, f32::MIN_POSITIVE], vec![1.0, 2.5, -3.75]];
        let json = serde_json::to_string(&Packed::of(&vectors)).unwrap();
        let read: Packed = serde_json::from_str(&json).unwrap();
        assert_eq!(read.each(3).map(<[f32]>::to_vec).collect::<Vec<_>>(), vectors);
        assert!(serde_json::from_str::<Packed>("\"AAA\"").is_err());
        assert!(serde_json::from_str::<Packed>("\"AAAAAAA=\"").is_err());
    }
}
