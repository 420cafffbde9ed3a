//! The archive around a Word document, opened with mistrust: entries are counted, and unpacked no further than to a bound,
//! whatever they claim about their size.

use std::io::{Cursor, Read as _};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::charset;
use crate::error::DocumentError;
use crate::format::Format;
use crate::limits::Limits;

/// A document of many pictures has hundreds of entries.
const MAX_ENTRIES: usize = 20_000;
/// Letters of a complaint that are passed on.
const MAX_DETAIL_CHARS: usize = 120;

pub(super) struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// What may still be unpacked, over all parts.
    left: usize,
    max: usize,
}

impl<'a> Package<'a> {
    pub(super) fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, DocumentError> {
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error.to_string()))?;
        if archive.len() > MAX_ENTRIES {
            return Err(broken(&format!("it has {} entries; at most {MAX_ENTRIES} are looked at", archive.len())));
        }
        Ok(Self { archive, left: limits.max_text_bytes, max: limits.max_text_bytes })
    }

    /// The text of a part; none when there is no such part.
    pub(super) fn part(&mut self, name: &str) -> Result<Option<String>, DocumentError> {
        let entry = match self.archive.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(broken(&error.to_string())),
        };
        let mut bytes = Vec::new();
        let bound = u64::try_from(self.left).unwrap_or(u64::MAX).saturating_add(1);
        entry.take(bound).read_to_end(&mut bytes).map_err(|error| broken(&error.to_string()))?;
        self.left = self.left.checked_sub(bytes.len()).ok_or(DocumentError::TooLarge { max: self.max })?;
        Ok(Some(charset::decode(&bytes, &["utf-8"]).text.into_owned()))
    }
}

pub(super) fn broken(detail: &str) -> DocumentError {
    DocumentError::Broken { format: Format::Docx, detail: detail.chars().take(MAX_DETAIL_CHARS).collect() }
}
