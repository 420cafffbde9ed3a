//! The port to what reads text in pictures.

use async_trait::async_trait;
use longhaul_documents::Raster;

/// Reads text in pictures.
#[async_trait]
pub trait Ocr: Send + Sync + 'static {
    /// Says whether pictures in these languages (`eng`, `eng+deu`) can be read. Asked once for each document that has
    /// pictures to read.
    ///
    /// # Errors
    /// That the program or a language is missing, and how to get it.
    async fn ready(&self, languages: &str) -> Result<(), OcrError>;

    /// Reads a picture. Dropping the call ends what it had begun.
    ///
    /// # Errors
    /// Whatever keeps this picture from being read.
    async fn read(&self, picture: &Raster, languages: &str) -> Result<String, OcrError>;
}

/// Why pictures, or one of them, cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OcrError {
    /// There is nothing here that reads pictures.
    #[error("text in pictures cannot be read here: {why}")]
    Unavailable {
        /// What is missing, and how to get it.
        why: String,
    },
    /// The language is not there.
    #[error("text in pictures cannot be read in `{wanted}`: {why}")]
    Language {
        /// What was asked for.
        wanted: String,
        /// What is there, and how to get more.
        why: String,
    },
    /// The picture took too long.
    #[error("the picture was not read within {max_s} s")]
    OutOfTime {
        /// The limit.
        max_s: u64,
    },
    /// The program failed on the picture.
    #[error("the picture could not be read: {why}")]
    Failed {
        /// What the program says.
        why: String,
    },
    /// The program could not be started or spoken to, which may go better another time.
    #[error("the program that reads pictures could not be used: {why}")]
    Unusable {
        /// What the system says.
        why: String,
    },
}

impl OcrError {
    /// A stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "ocr_unavailable",
            Self::Language { .. } => "ocr_language_unavailable",
            Self::OutOfTime { .. } => "ocr_time_exceeded",
            Self::Failed { .. } => "ocr_failed",
            Self::Unusable { .. } => "ocr_unusable",
        }
    }

    /// True if reading the same picture again may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unusable { .. })
    }
}

/// Reads no pictures, and says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOcr;

#[async_trait]
impl Ocr for NoOcr {
    async fn ready(&self, _: &str) -> Result<(), OcrError> {
        Err(OcrError::Unavailable { why: "this program was set up without OCR".to_owned() })
    }

    async fn read(&self, _: &Raster, languages: &str) -> Result<String, OcrError> {
        self.ready(languages).await.map(|()| String::new())
    }
}
