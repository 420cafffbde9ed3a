//! What goes into a job and what comes out of it, as bytes of JSON that are never rewritten.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Payloads above this many bytes stand in the blob store; smaller ones beside the job. 64 KiB: a row that large still
/// fits a handful of pages, and moving smaller ones out would cost a file and two syncs each.
pub const INLINE_LIMIT: usize = 64 * 1024;

/// Bytes that the job row does not hold: a JSON text, or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The JSON text itself.
    Inline(Bytes),
    /// Too large to stand in a row: the JSON text is in the blob store.
    Blob(BlobRef),
}

impl Payload {
    /// A JSON text that is known to be small.
    pub fn inline(json: impl Into<Bytes>) -> Self {
        Payload::Inline(json.into())
    }

    /// The blob, when there is one.
    pub fn blob(&self) -> Option<&BlobRef> {
        match self {
            Payload::Inline(_) => None,
            Payload::Blob(blob) => Some(blob),
        }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Payload::Inline(json) => json.len() as u64,
            Payload::Blob(blob) => blob.size,
        }
    }
}

/// Names bytes by what they are: their SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobRef {
    /// SHA-256 of the bytes.
    pub digest: [u8; 32],
    /// How many bytes there are.
    pub size: u64,
}

impl std::fmt::Debug for BlobRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("blob ")?;
        self.digest.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "… of {} bytes", self.size)
    }
}
